"""Windows of series and the packed dataset: no hole, no border and no event is crossed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.chart_problem import SETTINGS, walk_pool
from fakes.chart_walks import walk
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.lib.charts.dataset import (
    NATURAL,
    RARE,
    TEST,
    TRAINING,
    VALIDATION,
    ChartAmounts,
    ChartDatasetError,
    ChartSet,
    ChartSplit,
    chart_set,
    packed,
    unpacked,
)
from cryptoai_assets.lib.charts.labels import picture_labels
from cryptoai_assets.lib.charts.problem import ChartProblem
from cryptoai_assets.lib.charts.windows import LabelledSeries, labelled, series_of
from edge_bundle.chart import CHART_20, CHART_60, chart_images
from edge_bundle.chart_rule import RULE
from edge_bundle.detection import Pattern

START, BAR = datetime(2018, 1, 1, tzinfo=UTC), timedelta(minutes=30)
BARS = 12_000
SPLIT = ChartSplit("ETHUSD", START + 5_500 * BAR, START + 9_500 * BAR)
AMOUNTS = ChartAmounts(patterns=60, none_share=0.6, drawings=40)
WINDOW = (CHART_60.bars - 1) * np.timedelta64(30, "m")


@pytest.fixture(scope="module")
def candles() -> pl.DataFrame:
    return walk_candles(["BTCUSD", "ETHUSD"], bars=BARS, interval="30m", seed=11, start=START)


@pytest.fixture(scope="module")
def series(candles: pl.DataFrame) -> list[LabelledSeries]:
    return [
        labelled(one, CHART_60, RULE)
        for one in series_of(candles, interval="30m", every="30m", bars=CHART_60.bars)
    ]


@pytest.fixture(scope="module")
def made(series: list[LabelledSeries]) -> ChartSet:
    return made_of(series, seed=1)


def made_of(series: list[LabelledSeries], seed: int) -> ChartSet:
    return chart_set(series, chart=CHART_60, rule=RULE, split=SPLIT, amounts=AMOUNTS, seed=seed)


def test_longer_bars_are_those_of_their_parts(candles: pl.DataFrame) -> None:
    [btc, _] = series_of(candles, interval="30m", every="2h", bars=60)
    four = candles.filter(symbol="BTCUSD").slice(8, 4)
    bar = btc.bars[2]
    assert btc.open_time[2] == np.datetime64("2018-01-01T04:00")
    assert bar[0] == four["open"][0]
    assert bar[1] == four["high"].max()
    assert bar[2] == four["low"].min()
    assert bar[3] == four["close"][-1]
    assert bar[4] == pytest.approx(four["volume"].sum())


def test_no_window_reaches_across_a_hole(candles: pl.DataFrame) -> None:
    own = candles.filter(symbol="BTCUSD").head(300)
    holed = pl.concat([own.head(100), own.slice(110, 100), own.slice(212, 88)])
    [short] = series_of(holed, interval="30m", every="30m", bars=60)
    ends = short.open_time[short.last]
    # A hole of ten bars parts the series; one of two is bridged.
    assert len(ends) == (100 - 59) + (190 - 59)
    for end in short.last:
        times = short.open_time[end - 59 : end + 1]
        assert (np.diff(times) == np.timedelta64(30, "m")).all()
    [hours] = series_of(holed, interval="30m", every="1h", bars=60)
    assert (np.diff(hours.open_time) >= np.timedelta64(60, "m")).all()
    assert all(
        hours.open_time[end] - hours.open_time[end - 59] == np.timedelta64(59, "h") for end in hours.last
    )


def test_event_is_a_window_that_confirms_first(series: list[LabelledSeries]) -> None:
    one = series[0]
    events = one.events()
    seen = set()
    for window in np.flatnonzero(one.labels.pattern != Pattern.NONE):
        end = one.series.last[window] - CHART_60.bars + 1 + one.labels.key_points[window].max()
        key = (one.labels.pattern[window], end)
        assert (window in events) is (key not in seen)
        seen.add(key)
    assert 0 < len(events) < (one.labels.pattern != Pattern.NONE).sum() / 2


def test_near_miss_is_none_that_a_neighbour_calls_a_pattern(series: list[LabelledSeries]) -> None:
    one = series[0]
    assert one.near_miss.any()
    assert (one.labels.pattern[one.near_miss] == Pattern.NONE).all()
    assert not (one.near_miss & one.stable).any()


def test_pictures_come_back_from_their_bits() -> None:
    for chart in (CHART_20, CHART_60):
        images = chart_images(walk(5, chart.bars, seed=3), chart)
        np.testing.assert_array_equal(unpacked(packed(images), chart), images)


def test_held_out_symbol_and_period_are_in_no_training_window(made: ChartSet) -> None:
    training = made.part == TRAINING
    assert set(made.symbol[training]) == {"BTCUSD"}
    borders = [
        np.datetime64(moment.replace(tzinfo=None)) for moment in (SPLIT.validation_start, SPLIT.test_start)
    ]
    assert made.window_end[training].max() < borders[0]
    validation = made.window_end[made.part == VALIDATION]
    assert validation.min() - WINDOW >= borders[0]
    assert validation.max() < borders[1]
    tested = np.isin(made.part, [TEST, NATURAL]) & (made.symbol == "BTCUSD")
    assert made.window_end[tested].min() - WINDOW >= borders[1]
    assert set(made.symbol[made.part == TEST]) == {"BTCUSD", "ETHUSD"}


def test_each_part_has_every_pattern_and_none(made: ChartSet) -> None:
    for part in (TRAINING, VALIDATION, TEST):
        assert set(made.pattern[made.part == part]) == set(Pattern)
        none = (made.part == part) & (made.pattern == Pattern.NONE)
        assert 0.4 < made.near_miss[none].mean() <= 0.5
        assert none.sum() == round(0.6 * ((made.part == part) & (made.pattern > 0) & ~made.drawn).sum())


def test_test_windows_are_separate_events(made: ChartSet) -> None:
    rows = (made.part == TEST) & (made.pattern != Pattern.NONE)
    step = np.timedelta64(30, "m")
    end = made.window_end[rows] + made.key_points[rows].max(axis=1) * step
    keys = list(zip(made.symbol[rows], made.pattern[rows], end, strict=True))
    assert len(set(keys)) == len(keys)


def test_labels_are_those_of_the_pictures_own_candles(made: ChartSet, series: list[LabelledSeries]) -> None:
    generator = np.random.default_rng(2)
    by_symbol = {one.series.symbol: one.series for one in series}
    for row in generator.choice(np.flatnonzero(~made.drawn), 50, replace=False):
        own = by_symbol[made.symbol[row]]
        last = int(np.searchsorted(own.open_time, made.window_end[row]))
        window = own.bars[None, last - CHART_60.bars + 1 : last + 1]
        np.testing.assert_array_equal(made.images(np.array([row]), CHART_60), chart_images(window, CHART_60))
        labels = picture_labels(window, CHART_60, RULE)
        assert labels.pattern[0] == made.pattern[row]
        np.testing.assert_array_equal(labels.turns[0], made.turns[row])


def test_drawings_are_of_rare_patterns_in_training_only(made: ChartSet) -> None:
    assert made.drawn.sum() > len(RARE)
    assert set(made.part[made.drawn]) == {TRAINING}
    assert set(made.pattern[made.drawn]) == set(RARE)


def test_same_seed_makes_the_same_set_and_a_file_keeps_it(
    made: ChartSet, series: list[LabelledSeries], tmp_path: Path
) -> None:
    again, other = made_of(series, seed=1), made_of(series, seed=2)
    np.testing.assert_array_equal(made.planes, again.planes)
    assert not np.array_equal(made.planes[: len(other)], other.planes[: len(made)])
    made.save(tmp_path / "charts" / "set.npz")
    read = ChartSet.load(tmp_path / "charts" / "set.npz")
    assert [path.name for path in (tmp_path / "charts").iterdir()] == ["set.npz"]
    for name in ("planes", "pattern", "turns", "symbol", "window_end", "part"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))


def test_series_too_short_for_the_split_have_no_such_part_and_are_not_trained_on(
    candles: pl.DataFrame,
) -> None:
    short = series_of(candles.group_by("symbol").head(400), interval="30m", every="30m", bars=60)
    data = made_of([labelled(one, CHART_60, RULE) for one in short], seed=1)
    assert (data.part == TRAINING).any()
    assert not (data.part == VALIDATION).any()
    with pytest.raises(ChartDatasetError, match="no training window of"):
        ChartProblem(SETTINGS["vit"], CHART_60, RULE, data, walk_pool(), 1).epoch(1)


def test_series_without_a_window_are_refused(candles: pl.DataFrame) -> None:
    short = series_of(candles.group_by("symbol").head(59), interval="30m", every="30m", bars=60)
    with pytest.raises(ChartDatasetError, match="60 bars without a hole"):
        made_of([labelled(one, CHART_60, RULE) for one in short], seed=1)
