"""The candlestick network: what it is taught, how it learns, and what its graph says."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from fakes.candle_reader import NETWORK, candle_problem, walk_examples, written_reader
from fakes.chart_problem import walk_pool

from cryptoai_assets.lib.candle_patterns.examples import examples_of, made_bars, noisy
from cryptoai_assets.lib.candle_patterns.network import SEEN_BARS, CandleModule, CandleSolver, candle_graph
from cryptoai_assets.lib.candle_patterns.scores import candle_scores, f1_intervals, said_of
from cryptoai_assets.lib.models.networks.problem import Epoch
from cryptoai_assets.lib.quantization import QuantizationError, labels_precision
from cryptoai_assets.lib.scoring import BootstrapSettings
from edge_bundle.candle_reader import PRESENT, WINDOW_BARS, CandleReader
from edge_bundle.chart import CLOSE, HIGH, LOW, OPEN, Float64Array
from edge_bundle.features import candlesticks
from edge_bundle.features.catalog import feature_frame
from edge_bundle.session import ModelSession
from edge_bundle.windows import MarketWindow, window_grid


class StoppedError(Exception):
    """The training is stopped between two epochs."""


def silent(_: Epoch) -> None:
    """Nobody listens."""


def grid_of(bars: Float64Array) -> pl.DataFrame:
    times = pl.datetime_range(
        pl.datetime(2020, 1, 1), pl.datetime(2021, 1, 1), "1h", time_unit="us", time_zone="UTC", eager=True
    )
    candles = pl.DataFrame(bars, ["open", "high", "low", "close", "volume"]).with_columns(
        open_time=times.head(len(bars)), symbol=pl.lit("BTCUSD")
    )
    return window_grid(MarketWindow(candles), interval="1h", max_missing_bars=0)


def test_examples_say_what_the_features_of_the_catalog_say() -> None:
    bars = made_bars(walk_pool(), 400, np.random.default_rng(4))
    found = examples_of(bars)
    names = [pattern.name for pattern in candlesticks.patterns()]
    expected = feature_frame(grid_of(bars), names).select(names).tail(len(found)).to_numpy() != 0
    np.testing.assert_array_equal(found.present, expected)
    np.testing.assert_allclose(found.windows[7], bars[7 : 7 + WINDOW_BARS], rtol=1e-6)


def test_last_bars_of_a_window_decide_its_patterns_alone() -> None:
    bars = made_bars(walk_pool(), 600, np.random.default_rng(5))
    whole = examples_of(bars)
    [own] = examples_of(bars[100 : 100 + WINDOW_BARS]).present
    np.testing.assert_array_equal(own, whole.present[100])


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_made_and_noisy_bars_are_candles(noise: float) -> None:
    bars = noisy(made_bars(walk_pool(), 2_000, np.random.default_rng(6)), noise, np.random.default_rng(7))
    assert (bars[:, LOW] > 0).all()
    assert (bars[:, HIGH] >= bars[:, [OPEN, CLOSE]].max(axis=1)).all()
    assert (bars[:, LOW] <= bars[:, [OPEN, CLOSE]].min(axis=1)).all()


def test_bars_are_measured_in_the_sizes_that_the_features_have() -> None:
    bars = made_bars(walk_pool(), 300, np.random.default_rng(8))
    names = ["body_size", "upper_size", "lower_size"]
    sizes = feature_frame(grid_of(bars), names).select(names).to_numpy()
    module = CandleModule(NETWORK)
    measured: list[torch.Tensor] = []
    module.levels.register_forward_pre_hook(lambda _, inputs: measured.append(inputs[0]))
    module(torch.from_numpy(examples_of(bars).windows))
    [found] = measured
    last = np.arange(WINDOW_BARS - 1, len(bars))
    for back in range(SEEN_BARS):
        np.testing.assert_allclose(found[:, : len(names), -1 - back], sizes[last - back], atol=5e-4)


def test_epoch_reads_all_windows_with_a_rare_pattern_and_a_share_of_the_others() -> None:
    problem = candle_problem()
    lessons, order = problem.epoch(1)
    rare = lessons.present[:, problem.rare_patterns()].any(axis=1)
    assert rare.any()
    assert set(np.flatnonzero(rare)) <= set(order)
    assert len(set(order)) == len(order)
    read = (len(order) - rare.sum()) / (~rare).sum()
    assert read == pytest.approx(NETWORK.common_share, abs=0.05)
    again, same_order = problem.epoch(1)
    np.testing.assert_array_equal(again.windows, lessons.windows)
    np.testing.assert_array_equal(same_order, order)
    assert not np.array_equal(problem.epoch(2)[0].windows, lessons.windows)


def test_share_of_the_made_windows_is_noisy() -> None:
    # A walk opens nearer to where it closed than noise does.
    lessons, _ = candle_problem().epoch(1)
    gap = np.abs(lessons.windows[:, 1:, OPEN] - lessons.windows[:, :-1, CLOSE]).mean(axis=1)
    made = gap[: round(NETWORK.made_share * NETWORK.windows) - 100]
    quiet = round((1 - NETWORK.noisy_share) * NETWORK.made_share * NETWORK.windows)
    assert np.median(made[quiet:]) > 2 * np.median(made[: quiet - 100])


def test_training_that_was_stopped_becomes_what_it_would_have_become(tmp_path: Path) -> None:
    problem = candle_problem()
    whole = CandleSolver(1, None)(problem, after_epoch=silent)

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        CandleSolver(1, tmp_path)(problem, after_epoch=stop)
    again = CandleSolver(1, tmp_path)(problem, after_epoch=silent)
    ours, other = whole.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], other[name]) for name in ours)


def test_network_learns_what_it_is_taught() -> None:
    losses: list[float] = []
    CandleSolver(1, None)(candle_problem(), after_epoch=lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < 0.8 * losses[0]


def test_graph_says_what_the_network_says(tmp_path: Path) -> None:
    module = CandleModule(NETWORK).eval()
    (tmp_path / "model.onnx").write_bytes(candle_graph(module).SerializeToString())
    windows = walk_examples().windows[:9]
    with torch.no_grad():
        expected = torch.sigmoid(module(torch.from_numpy(windows))).numpy()
    said = ModelSession.open(tmp_path / "model.onnx").run(windows)[PRESENT]
    np.testing.assert_allclose(said, expected, atol=1e-5)


def test_scores_are_counted_by_pattern(tmp_path: Path) -> None:
    reader, data = CandleReader.load(written_reader(tmp_path)), walk_examples()
    scores = candle_scores(reader, data)
    said = said_of(reader, data.windows) > 0.5
    row = scores.classes.row(0, named=True)
    both = (said[:, 0] & data.present[:, 0]).sum()
    assert row["windows"] == data.present[:, 0].sum()
    assert row["recall"] == pytest.approx(both / data.present[:, 0].sum())
    assert scores.windows == len(data)


def test_intervals_are_of_the_same_scores_and_wider_for_longer_blocks(tmp_path: Path) -> None:
    reader, data = CandleReader.load(written_reader(tmp_path)), walk_examples()
    scores, slots = candle_scores(reader, data), pl.Series(np.arange(len(data)))
    settings = BootstrapSettings(block_bars=1, resamples=200, seed=1, confidence=0.95)
    macro, patterns = f1_intervals(reader, data, settings.over(slots))
    assert macro.value == pytest.approx(scores.macro_f1)
    assert macro.lower < macro.value < macro.upper
    told = [None if np.isnan(one.value) else one.value for one in patterns]
    assert [one.name for one in patterns] == scores.classes["pattern"].to_list()
    assert told == pytest.approx(scores.classes["f1"].to_list())
    stretches, _ = f1_intervals(reader, data, settings.over(slots // (len(data) // 8)))
    assert stretches.upper - stretches.lower > macro.upper - macro.lower


def test_precision_is_chosen_on_windows_enough() -> None:
    data = walk_examples()
    graph = candle_graph(CandleModule(NETWORK).eval())
    with pytest.raises(QuantizationError):
        labels_precision(graph, data.windows[:500], data.present[:500], PRESENT)
    chosen = labels_precision(graph, data.windows, data.present, PRESENT)
    assert {variant.name for variant in chosen.table} == {"fp32", "int8_dynamic", "int8_static"}
    assert next(v for v in chosen.table if v.name == "fp32").accuracy_lost == 0.0
