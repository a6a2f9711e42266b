"""The event study: what is planted is found, and what is chance is not."""

import numpy as np
import polars as pl
import pytest
from fakes.chart_plan import plan_candles

from cryptoai_assets.lib.charts.study import (
    AROUND_BARS,
    BROWNIAN,
    LEAST_EVENTS,
    MARKET,
    Confirmed,
    StudySettings,
    brownian_series,
    confirmed,
    holm,
    like_windows,
    market_study,
    pattern_study,
    study_figure,
)
from cryptoai_assets.lib.charts.windows import Series, series_of
from cryptoai_assets.lib.scoring import BootstrapSettings
from edge_bundle.chart import CHART_60
from edge_bundle.chart_rule import RULE
from edge_bundle.detection import Pattern

SETTINGS = StudySettings((6, 24), 46.0, BootstrapSettings(5, 1000, 1, 0.95))


@pytest.fixture(scope="module")
def chance() -> Series:
    return brownian_series(
        series_of(plan_candles(), interval="30m", every="30m", bars=CHART_60.bars)[0], seed=2
    )


@pytest.fixture(scope="module")
def held(chance: Series) -> Confirmed:
    return confirmed(chance, CHART_60, RULE)


def planted(held: Confirmed, pattern: Pattern, *, bars: int, log_return: float) -> Confirmed:
    """Same labels on bars that rise by so much after each window of a pattern."""
    bars_of = held.series.bars.copy()
    rise = np.zeros(len(bars_of))
    events = held.events()
    for last in held.series.last[events[held.labels.pattern[events] == pattern]]:
        rise[last + 1 : last + 1 + bars] += log_return / bars
    bars_of[:, :4] *= np.exp(np.cumsum(rise))[:, None]
    series = held.series
    return Confirmed(
        Series(series.symbol, series.interval, bars_of, series.open_time, series.last), held.labels
    )


def test_chance_holds_no_pattern_that_pays(held: Confirmed) -> None:
    table = pattern_study([held], SETTINGS, data=BROWNIAN)
    assert table.height == 10 * len(SETTINGS.horizons)
    assert table["p_adjusted"].min() > 0.05
    assert table.filter(pl.col("events") < LEAST_EVENTS)["p_value"].null_count() > 0


def test_planted_rise_after_a_pattern_is_found_with_its_size(held: Confirmed) -> None:
    found = pattern_study([planted(held, Pattern.DOUBLE_BOTTOM, bars=6, log_return=0.03)], SETTINGS, data="")
    row = found.row(
        by_predicate=(pl.col("pattern") == "double_bottom") & (pl.col("horizon") == 6), named=True
    )
    assert row["p_adjusted"] < 0.05
    assert row["lower"] < 300.0 < row["upper"]
    assert row["net_bps"] - row["matched_bps"] == pytest.approx(row["difference_bps"])
    sold = pattern_study([planted(held, Pattern.DOUBLE_TOP, bars=6, log_return=0.03)], SETTINGS, data="")
    row = sold.row(by_predicate=(pl.col("pattern") == "double_top") & (pl.col("horizon") == 6), named=True)
    assert row["upper"] < 0.0


def test_costs_lower_both_sides_alike(held: Confirmed) -> None:
    free = StudySettings(SETTINGS.horizons, 0.0, SETTINGS.bootstrap)
    with_costs, without = (pattern_study([held], own, data="") for own in (SETTINGS, free))
    for column in ("net_bps", "matched_bps"):
        np.testing.assert_allclose((without[column] - with_costs[column]).drop_nulls(), 46.0)
    assert without["difference_bps"].equals(with_costs["difference_bps"])


def test_like_windows_hold_nothing_and_share_no_bar(held: Confirmed) -> None:
    events = held.events()[:50]
    like = like_windows(held, events)
    assert (held.labels.pattern[like] == Pattern.NONE).all()
    away = np.abs(like - events[:, None])
    assert (away >= CHART_60.bars).all()
    assert (away <= AROUND_BARS).all()


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    adjusted = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.9]))
    np.testing.assert_allclose(adjusted, [0.04, 0.09, np.nan, 0.09, 0.9])


def test_study_of_a_market_stands_beside_chance() -> None:
    table, shares = market_study(plan_candles(), interval="30m", chart=CHART_60, rule=RULE, settings=SETTINGS)
    assert set(table["data"]) == {MARKET, BROWNIAN}
    assert shares[MARKET] == pytest.approx(shares[BROWNIAN], abs=0.03)  # the candles are a walk too
    assert len(study_figure(table).axes) == len(SETTINGS.horizons)
