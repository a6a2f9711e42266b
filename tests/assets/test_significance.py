"""The field's tests: they reject chance about as rarely as they say, and find what was planted."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from cryptoai_assets.lib.significance import diebold_mariano, pesaran_timmermann

BARS, SEEDS, LEVEL = 1500, 200, 0.05
TIMES = pl.Series([datetime(2019, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * k) for k in range(BARS)])


def overlapping(seed: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """A drifting walk's directions over a horizon, and a slow signal that knows nothing of it."""
    draws = np.random.default_rng(seed)
    walk = np.concatenate([[0.0], np.cumsum(draws.normal(0.02, 1.0, BARS + horizon))])
    up = (walk[horizon : horizon + BARS] > walk[:BARS]).astype(float)
    signal = np.convolve(draws.normal(size=BARS + horizon), np.ones(horizon), "valid")[:BARS]
    return 0.5 + 0.01 * signal, up


@pytest.mark.parametrize("horizon", [1, 6])
def test_direction_that_knows_nothing_is_rejected_about_as_rarely_as_stated(horizon: int) -> None:
    found = [
        pesaran_timmermann(*overlapping(seed, horizon), TIMES, horizon_bars=2 * horizon).p_value < LEVEL
        for seed in range(SEEDS)
    ]
    # Overlap leaves a little more than the level; without its correction it would be a quarter of the seeds.
    assert sum(found) <= binom.ppf(0.999, SEEDS, 1.6 * LEVEL)
    if horizon > 1:
        blind = [
            pesaran_timmermann(*overlapping(seed, horizon), TIMES, horizon_bars=1).p_value < LEVEL
            for seed in range(SEEDS)
        ]
        assert sum(blind) > binom.ppf(0.999, SEEDS, 1.6 * LEVEL)


def test_direction_that_knows_something_is_found_and_a_constant_one_never_is() -> None:
    draws = np.random.default_rng(1)
    up = (draws.random(BARS) < 0.5).astype(float)
    said = np.where(draws.random(BARS) < 0.57, up, 1 - up)
    assert pesaran_timmermann(0.4 + 0.2 * said, up, TIMES, horizon_bars=1).p_value < 0.001
    mostly_up = (draws.random(BARS) < 0.7).astype(float)
    assert np.isnan(pesaran_timmermann(np.full(BARS, 0.9), mostly_up, TIMES, horizon_bars=1).statistic)


def test_better_forecast_is_told_by_its_sign_and_rows_of_one_time_count_once() -> None:
    draws = np.random.default_rng(2)
    noise = draws.normal(size=BARS)
    better, worse = noise**2, (noise + draws.normal(0, 1, BARS)) ** 2
    found = diebold_mariano(better, worse, TIMES, horizon_bars=1)
    assert found.statistic > 5
    assert diebold_mariano(worse, better, TIMES, horizon_bars=1).statistic == pytest.approx(-found.statistic)
    twice = diebold_mariano(np.tile(better, 2), np.tile(worse, 2), pl.concat([TIMES, TIMES]), horizon_bars=1)
    assert twice == found


def test_rows_without_an_outcome_are_left_out_and_too_few_tell_nothing() -> None:
    up = np.full(BARS, np.nan)
    assert np.isnan(pesaran_timmermann(np.full(BARS, 0.6), up, TIMES, horizon_bars=1).statistic)
    short = diebold_mariano(np.ones(3), np.zeros(3), TIMES.head(3), horizon_bars=2)
    assert np.isnan(short.statistic)
    assert short.times == 3
