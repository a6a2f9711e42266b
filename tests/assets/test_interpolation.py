"""Interpolated series: named when between two releases they know the next one, and only then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline, PchipInterpolator

from cryptoai_assets.lib.interpolation import FEWEST_VALUES, Float64Array, interpolated_lookahead
from edge_bundle.facts import FACT_SCHEMA

START = datetime(2018, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 900


def facts_of(values: Float64Array, name: str = "gdp", symbol: str | None = None) -> pl.DataFrame:
    times = [START + place * DAY for place in range(len(values))]
    columns = {
        "symbol": [symbol] * len(times),
        "event_time": times,
        "known_at": [time + DAY for time in times],
        "source": ["test"] * len(times),
        "name": [name] * len(times),
        "value": values,
    }
    return pl.DataFrame(columns, schema=FACT_SCHEMA)


def releases(seed: int, every: int) -> tuple[Float64Array, Float64Array]:
    days = np.arange(0, DAYS + every, every, dtype=np.float64)
    return days, 300 + np.cumsum(np.random.default_rng(seed).standard_normal(len(days)) * 5)


def walk(seed: int) -> Float64Array:
    return 300 + np.cumsum(np.random.default_rng(seed).standard_normal(DAYS))


GRID = np.arange(DAYS, dtype=np.float64)
WAYS = {
    "line": lambda days, values: np.interp(GRID, days, values),
    "spline": lambda days, values: CubicSpline(days, values)(GRID),
    "monotone": lambda days, values: PchipInterpolator(days, values)(GRID),
    "rounded line": lambda days, values: np.round(np.interp(GRID, days, values), 5),
}


# A monotone cubic is flat at each turn, and six days are too few to see it beside its knots.
@pytest.mark.parametrize(
    ("way", "every"), [case for case in product(WAYS, (7, 30, 91)) if case != ("monotone", 7)]
)
@given(seed=st.integers(0, 2**32 - 1))
def test_series_between_releases_is_named_however_it_was_filled(way: str, every: int, seed: int) -> None:
    (found,) = interpolated_lookahead(facts_of(WAYS[way](*releases(seed, every))))
    assert found.name == "gdp"
    assert "knows the next one" in found.sentence


@given(seed=st.integers(0, 2**32 - 1), every=st.sampled_from([7, 30, 91]))
def test_value_kept_until_the_next_release_is_honest(seed: int, every: int) -> None:
    days, values = releases(seed, every)
    steps = values[np.searchsorted(days, GRID, side="right") - 1]
    assert interpolated_lookahead(facts_of(steps)) == []


@given(seed=st.integers(0, 2**32 - 1), decimals=st.integers(0, 6), mean=st.sampled_from([1, 5, 30, 200]))
def test_walk_and_its_trailing_mean_are_honest_at_any_rounding(seed: int, decimals: int, mean: int) -> None:
    smooth = np.convolve(walk(seed), np.ones(mean) / mean, "valid")
    assert interpolated_lookahead(facts_of(np.round(smooth, decimals))) == []


def test_each_series_is_judged_by_itself() -> None:
    line = np.interp(GRID, *releases(1, 30))
    facts = pl.concat([facts_of(line), facts_of(walk(1), "vix"), facts_of(line, "hash_rate", "BTCUSDT")])
    found = interpolated_lookahead(facts.sample(fraction=1, shuffle=True, seed=3))
    assert [(series.name, series.symbol) for series in found] == [("gdp", None), ("hash_rate", "BTCUSDT")]


def test_line_over_days_without_weekends_is_named() -> None:
    facts = facts_of(np.interp(GRID, *releases(2, 30)))
    assert len(interpolated_lookahead(facts.filter(pl.col("event_time").dt.weekday() <= 5))) == 1


def test_first_version_of_a_value_counts() -> None:
    honest = facts_of(walk(4))
    revised = facts_of(np.interp(GRID, *releases(4, 30))).with_columns(pl.col("known_at") + 400 * DAY)
    assert interpolated_lookahead(pl.concat([honest, revised])) == []
    assert len(interpolated_lookahead(revised)) == 1


def test_nothing_is_said_of_a_short_series() -> None:
    assert interpolated_lookahead(facts_of(GRID[: FEWEST_VALUES - 1] * 2.5)) == []
    assert interpolated_lookahead(facts_of(GRID[:0])) == []
    assert interpolated_lookahead(facts_of(np.full(DAYS, 3.0))) == []


def test_real_interpolated_file_is_named_and_its_releases_are_not(
    shared_data: Callable[[str], Path],
) -> None:
    raw = pl.read_parquet(shared_data("bad/fred_interpolated_lookahead.parquet"))
    names = [name for name in raw.columns if name != "index"]
    found = interpolated_lookahead(pl.concat(facts_of(raw[name].to_numpy(), name) for name in names))
    # The others were smoothed after they were filled, which leaves no curve to see.
    assert [series.name for series in found] == ["cpi", "gdp", "rgdp", "sticky_cpi", "unrate"]
    assert all(series.share > 0.95 for series in found)
    month = raw["index"].dt.truncate("1mo")
    released = raw.select(pl.col(names).first().over(month))
    assert (
        interpolated_lookahead(pl.concat(facts_of(released[name].to_numpy(), name) for name in names)) == []
    )
