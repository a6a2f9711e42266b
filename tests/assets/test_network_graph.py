"""The graph of a network says what the network's definition says, on real windows, in one file."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from fakes.untrained_network import TINY_LSTM, TINY_TRANSFORMER, untrained_network
from fakes.walk_rows import FEW_FEATURES, HORIZONS
from onnx import numpy_helper

from cryptoai_assets.lib.bundle_checks import bundle_checks
from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.export import (
    AGREEMENT_TOLERANCE,
    agreement,
    exported,
    float32_rounding,
    forecaster_graph,
    graph_agreement,
    session_predictions,
    verify_agreement,
    write_bundle,
)
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.networks.fitted import Calibration, FittedNetwork
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import candle_frame
from edge_bundle.features.catalog import feature_frame
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.session import ModelSession
from edge_bundle.windows import MarketWindow, window_grid

MARKET = market_preset("sample")
AT = datetime(2019, 10, 1, tzinfo=UTC)
WHOLE = (LstmSettings.start(), TransformerSettings.start())
BUNDLED = (WHOLE[0], replace(WHOLE[1], width=64, layers=1, inner=128))


@pytest.fixture(scope="module")
def window() -> MarketWindow:
    """Real candles of two coins."""
    candles = candle_frame(pl.read_parquet(sample_file()))
    two = pl.col("symbol").is_in(["BTCUSD", "XRPUSD"])
    return MarketWindow(
        candles.filter(two & (pl.col("open_time") > pl.datetime(2019, 8, 1, time_zone="UTC")))
    )


@pytest.fixture(scope="module")
def data(window: MarketWindow) -> Dataset:
    grid = window_grid(window, interval=MARKET.interval, max_missing_bars=MARKET.max_missing_bars)
    targets = target_frame(grid, horizons=HORIZONS)
    return dataset(feature_frame(grid, FEW_FEATURES), targets, FEW_FEATURES, lookback=60, bar=MARKET.bar)


def session_of(graph: onnx.ModelProto, folder: Path) -> ModelSession:
    onnx.save(graph, folder / GRAPH_NAME)
    return ModelSession.open(folder / GRAPH_NAME)


@pytest.mark.parametrize(
    "settings", [TINY_LSTM, TINY_TRANSFORMER, *WHOLE], ids=lambda s: f"{s.kind}-{s.width}"
)
def test_graph_agrees_with_the_definition_on_real_windows(
    tmp_path: Path, data: Dataset, settings: NetworkSettings
) -> None:
    fitted = untrained_network(settings, data, horizons=HORIZONS, seed=1)
    asked = data.between(data.times[-500], None)
    said = fitted.predict(asked)
    exported = session_predictions(session_of(forecaster_graph(fitted), tmp_path), asked, settings.lookback)
    found = agreement(said, exported)
    assert verify_agreement(found).largest_difference < AGREEMENT_TOLERANCE
    assert said.probability_up.std(axis=0).min() > 1e-3


@pytest.mark.parametrize("settings", [TINY_LSTM, TINY_TRANSFORMER], ids=lambda s: s.kind)
def test_every_weight_is_read_by_the_graph(tmp_path: Path, data: Dataset, settings: NetworkSettings) -> None:
    fitted = untrained_network(settings, data, horizons=HORIZONS, seed=1)
    asked = data.between(data.times[-100], None)
    before = fitted.predict(asked)
    for name in fitted.weights:
        other = np.roll(fitted.weights[name], 1) * np.float32(1.1) + np.float32(0.02)
        changed = replace(fitted, weights={**fitted.weights, name: other})
        graph = session_of(forecaster_graph(changed), tmp_path)
        assert agreement(before, session_predictions(graph, asked, settings.lookback)).share < 0.5, name
        told = session_predictions(graph, asked, settings.lookback)
        # A weight that is read in another place makes a difference of about one.
        assert agreement(changed.predict(asked), told).largest_difference < 1e-4, name


def test_early_bars_of_the_window_are_read(data: Dataset) -> None:
    for settings in (TINY_LSTM, TINY_TRANSFORMER):
        fitted = untrained_network(settings, data, horizons=HORIZONS, seed=1)
        windows = fitted.scaling.scaled(data.windows(settings.lookback, np.arange(50)))
        assert windows.shape == (50, settings.lookback, len(FEW_FEATURES))
        [first, *_], [changed, *_] = (
            replace(fitted, settings=settings).head_outputs(part)
            for part in (data.between(None, data.times[20]), data.between(data.times[1], data.times[21]))
        )
        assert not np.array_equal(first, changed)


def test_graph_answers_one_window_as_it_answers_many(tmp_path: Path, data: Dataset) -> None:
    for settings in (TINY_LSTM, TINY_TRANSFORMER):
        session = session_of(
            forecaster_graph(untrained_network(settings, data, horizons=HORIZONS, seed=1)), tmp_path
        )
        windows = data.windows(settings.lookback, np.arange(5))
        together, alone = session.run(windows), session.run(windows[3:4])
        for name, values in together.items():
            np.testing.assert_allclose(values[3:4], alone[name], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("settings", BUNDLED, ids=lambda s: s.kind)
def test_bundle_says_how_its_precision_was_chosen_and_passes_its_checks(
    tmp_path: Path, data: Dataset, window: MarketWindow, settings: NetworkSettings
) -> None:
    fitted = untrained_network(settings, data, horizons=HORIZONS, seed=1)
    forecaster = write_bundle(
        tmp_path,
        fitted,
        chosen=exported(fitted, data),
        market=MARKET,
        kind=settings.kind,
        golden=data,
        window=window,
        trained_until=AT,
        as_of=AT,
        git_commit="0" * 40,
    )
    manifest = forecaster.manifest
    assert manifest.lookback == 60
    assert [entry["name"] for entry in manifest.quantization["table"]] == [
        "fp32",
        "int8_dynamic",
        "int8_static",
    ]
    assert manifest.quantization["windows"] >= 2000
    assert all(check.passed for check in bundle_checks(forecaster, for_devices=True)), bundle_checks(
        forecaster, for_devices=True
    )
    assert forecaster.selftest().passed
    # Whatever precision was chosen, the FP32 graph is what is held against the original.
    assert graph_agreement(forecaster, fitted, data.between(data.times[-300], None)).share == 1


@pytest.mark.parametrize("slope", [0.0, 1e-3])
def test_network_that_knows_nothing_of_a_horizon_is_exported_all_the_same(
    tmp_path: Path, data: Dataset, slope: float
) -> None:
    """Its probability hardly moves: the nearest float32 is what a graph can say, and it says that one."""
    fitted = untrained_network(TINY_LSTM, data, horizons=HORIZONS, seed=1)
    calibration = (Calibration(slope, slope, 0.02), *fitted.calibration[1:])
    fitted = replace(fitted, calibration=calibration)
    asked = data.between(data.times[-500], None)
    exported = session_predictions(session_of(forecaster_graph(fitted), tmp_path), asked, fitted.lookback)
    said = fitted.predict(asked)
    assert said.probability_up[:, 0].std() < 1e-3
    rounding = float32_rounding(fitted, said)
    found = agreement(said, exported, rounding=rounding)
    assert verify_agreement(found).largest_difference < AGREEMENT_TOLERANCE
    step = np.spacing(np.float32(0.5))
    off = replace(exported, probability_up=exported.probability_up + step)
    assert agreement(said, off, rounding=rounding).share < 0.1


def test_feature_that_is_constant_in_training_is_not_read(data: Dataset) -> None:
    values = data.values.copy()
    values[:, :, 2] = 7
    flat = Dataset(data.keys, values, data.names, data.targets)
    fitted = untrained_network(replace(TINY_LSTM, lookback=1), flat, horizons=HORIZONS, seed=1)
    assert fitted.scaling.inverse[2] == 0
    assert (np.delete(fitted.scaling.inverse, 2) > 0).all()
    values = values.copy()
    values[:, :, 2] = 99
    other = Dataset(data.keys, values, data.names, data.targets)
    assert np.array_equal(fitted.predict(flat).probability_up, fitted.predict(other).probability_up)
    assert fitted.importance()[FEW_FEATURES[2]] == 0


def test_constants_of_the_scaling_are_in_the_graph(data: Dataset) -> None:
    fitted: FittedNetwork = untrained_network(TINY_LSTM, data, horizons=HORIZONS, seed=1)
    held = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in forecaster_graph(fitted).graph.initializer
    }
    assert np.array_equal(held["centre"], np.median(data.values[:, 0], axis=0))
