"""Chart-pattern features: each event of the rule once, on the bar that confirms it, with its side."""

from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles, write_tiny_bundle

from cryptoai_assets.lib.charts.study import confirmed
from cryptoai_assets.lib.charts.windows import series_of
from edge_bundle.candles import bar_grid
from edge_bundle.chart import CHART_60
from edge_bundle.chart_rule import RULE
from edge_bundle.detection import Pattern
from edge_bundle.facts import empty_facts
from edge_bundle.features.catalog import catalog, feature_frame, short_memory
from edge_bundle.features.chart_patterns import CONFIRMED, RECENT_BARS, WARMUP, confirmed_patterns, features
from edge_bundle.features.sources import with_sources
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow, window_features

BARS = 3_000
NAMES = [feature.name for feature in features()]


@cache
def candles() -> pl.DataFrame:
    return walk_candles(["BTCUSD"], bars=BARS, interval="30m", seed=13)


@cache
def grid() -> pl.DataFrame:
    bars = bar_grid(candles(), interval="30m", max_missing_bars=3)
    return bars.with_columns(confirmed_patterns(bars))


@cache
def frame() -> pl.DataFrame:
    return feature_frame(grid(), NAMES)


def test_bars_that_confirm_are_those_of_the_events_that_labels_have() -> None:
    [series] = series_of(candles(), interval="30m", every="30m", bars=CHART_60.bars)
    labelled = confirmed(series, CHART_60, RULE)
    events = labelled.events()
    wanted = np.zeros(BARS)
    wanted[series.last[events]] = labelled.labels.pattern[events]
    assert set(wanted) == {float(pattern) for pattern in Pattern}
    np.testing.assert_array_equal(grid()[CONFIRMED], wanted)


@pytest.mark.parametrize("pattern", [one for one in Pattern if one is not Pattern.NONE])
def test_top_is_minus_one_and_bottom_is_one_of_its_own_shape_alone(pattern: Pattern) -> None:
    own = frame().filter(grid()[CONFIRMED] == pattern)[NAMES[:-1]]
    assert own.height > 0
    side = -1.0 if pattern.starts_at_top else 1.0
    [column] = [name for name in NAMES[:-1] if name.removeprefix("chart_") in pattern.name.lower()]
    assert own[column].drop_nulls().unique().to_list() == [side]
    assert own.drop(column).drop_nulls().unique().rows() == [(0.0,) * (len(NAMES) - 2)]


def test_tail_of_the_warmup_and_one_bar_confirms_what_the_whole_history_confirms() -> None:
    """Also where a pattern is there again that was confirmed three bars before: row 1,305."""
    rows = range(900, 1_400)
    found = [confirmed_patterns(grid()[row - WARMUP : row + 1])[-1] for row in rows]
    assert found == grid()[CONFIRMED][900:1_400].to_list()


def test_no_pattern_lies_across_a_hole() -> None:
    holed = bar_grid(
        pl.concat([candles().head(1_000), candles().tail(-1_010)]), interval="30m", max_missing_bars=3
    )
    found = with_sources(holed, NAMES, facts=empty_facts(), greatest_age={}, bar=timedelta(minutes=30))
    for segment in (0, 1):
        own = found.filter(segment=segment)
        assert own[CONFIRMED].equals(confirmed_patterns(own))


def test_bundle_forecasts_from_the_patterns_that_it_was_trained_on(tmp_path: Path) -> None:
    names = ("log_return_1", *NAMES)
    forecaster = Forecaster.load(write_tiny_bundle(tmp_path / "bundle", features=names, seed=3))
    assert forecaster.selftest().passed
    confirming = int((grid()[CONFIRMED] != 0).arg_true()[-1])
    window = MarketWindow(candles().head(confirming + 1))
    whole = window_features(window, names, interval="30m", max_missing_bars=3)
    assert any(whole[-1][NAMES[:-1]].row(0))
    newest = forecaster.newest_window(window, "BTCUSD")
    np.testing.assert_array_equal(newest.values[-1, -1], whole[-1][names].to_numpy()[0].astype(np.float32))
    [answer] = forecaster.forecast(window)
    assert answer.abstention is None


def test_side_counts_the_patterns_of_the_last_bars() -> None:
    shapes = frame().select(pl.sum_horizontal(NAMES[:-1], ignore_nulls=False)).to_series()
    recent = frame()[NAMES[-1]]
    assert recent[-1] == shapes[-RECENT_BARS:].sum()
    assert recent.equals(shapes.rolling_sum(RECENT_BARS), check_names=False)
    assert recent.n_unique() > 3


def test_chart_patterns_are_in_no_model_that_does_not_ask_for_them() -> None:
    assert not {*catalog(), *short_memory()} & set(NAMES)
