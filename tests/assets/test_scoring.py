"""Scores: their values are those of known libraries, and their intervals hold the truth as often as said."""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, spearmanr
from sklearn import metrics

from cryptoai_assets.lib.scoring import (
    BootstrapSettings,
    Score,
    calibration_score,
    direction_scores,
    log_loss,
    paired_interval,
    rank_ic_difference,
    return_scores,
    volatility_scores,
)

Floats = npt.NDArray[np.float64]

ROWS = 3000
SETTINGS = BootstrapSettings(block_bars=20, resamples=300, seed=1, confidence=0.95)


def times_of(slots: int, *, symbols: int = 1) -> pl.Series:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return pl.Series([start + k * timedelta(minutes=30) for k in range(slots) for _ in range(symbols)])


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.name: score for score in scores}


def drawn_directions(seed: int) -> tuple[Floats, Floats]:
    draws = np.random.default_rng(seed)
    p = draws.random(ROWS)
    return p, (draws.random(ROWS) < 0.3 + 0.4 * p).astype(np.float64)


def test_direction_scores_are_those_of_sklearn() -> None:
    p, up = drawn_directions(1)
    p = p.round(2)  # ties
    p = np.where(p == 0.5, 0.51, p)
    found = by_name(direction_scores(p, up, times_of(ROWS), SETTINGS))
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(up, p > 0.5))
    assert found["auc"].value == pytest.approx(metrics.roc_auc_score(up, p))
    assert found["brier"].value == pytest.approx(metrics.brier_score_loss(up, p))
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    assert found["log_loss"].value == pytest.approx(metrics.log_loss(up, inside))
    for score in found.values():
        assert score.lower < score.value < score.upper
        assert score.rows == ROWS


def test_calibration_error_is_the_gap_between_said_and_seen_and_lies_in_its_interval() -> None:
    draws, times = np.random.default_rng(1), times_of(40_000)
    p = draws.random(40_000)
    up = (draws.random(40_000) < p).astype(np.float64)
    up[::9] = np.nan
    found = calibration_score(p, up, times, SETTINGS)
    assert found.lower == 0.0 < found.value < 0.02
    off = calibration_score(np.clip(p + 0.1, 0, 1), up, times, SETTINGS)
    assert off.value == pytest.approx(0.1, abs=0.02)
    assert 0.08 < off.lower < off.value < off.upper < 0.12


@pytest.mark.parametrize("rows", [40, 400, 4000])
def test_calibration_error_of_few_rows_is_above_zero_and_its_interval_is_not(rows: int) -> None:
    worlds, times = 100, times_of(rows)
    found = [calibration_score(*truthful(seed, rows), times, SETTINGS) for seed in range(worlds)]
    assert sum(score.lower > 0 for score in found) <= binom.ppf(0.999, worlds, 0.05)
    assert min(score.value for score in found) > 0
    assert all(score.lower <= score.value <= score.upper for score in found)


def truthful(seed: int, rows: int) -> tuple[Floats, Floats]:
    draws = np.random.default_rng(seed)
    p = draws.random(rows)
    return p, (draws.random(rows) < p).astype(np.float64)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([1.0, 0.0]))).all()


def test_forecast_of_one_half_is_right_half_of_the_time() -> None:
    _, up = drawn_directions(2)
    found = by_name(direction_scores(np.full(ROWS, 0.5), up, times_of(ROWS), SETTINGS))
    assert found["accuracy"].value == 0.5
    assert found["auc"].value == 0.5


def test_rows_without_an_outcome_or_a_forecast_are_left_out() -> None:
    p, up = drawn_directions(3)
    holes_p, holes_up = p.copy(), up.copy()
    holes_up[::7] = np.nan
    holes_p[::11] = np.nan
    known = np.isfinite(holes_p) & np.isfinite(holes_up)
    times = times_of(ROWS)
    assert direction_scores(holes_p, holes_up, times, SETTINGS) == direction_scores(
        p[known], up[known], times.filter(known), SETTINGS
    )
    found = return_scores(holes_p, holes_up, times, SETTINGS)
    assert {score.rows for score in found} == {int(known.sum())}
    assert paired_interval(holes_p, holes_up, times, SETTINGS).rows == known.sum()


def test_return_scores_are_those_of_scipy_and_of_the_definition() -> None:
    draws = np.random.default_rng(4)
    expected = draws.normal(size=ROWS).round(1)
    realised = 0.2 * expected + draws.normal(size=ROWS)
    found = by_name(return_scores(expected, realised, times_of(ROWS), SETTINGS))
    assert found["rank_ic"].value == pytest.approx(spearmanr(expected, realised).statistic)
    wanted = 1 - ((realised - expected) ** 2).sum() / (realised**2).sum()
    assert found["r2"].value == pytest.approx(wanted)


def test_constant_forecast_has_no_rank_ic_and_zero_has_no_r2() -> None:
    realised = np.random.default_rng(5).normal(size=ROWS)
    found = by_name(return_scores(np.zeros(ROWS), realised, times_of(ROWS), SETTINGS))
    for score in found.values():
        assert (score.value, score.lower, score.upper) == (0.0, 0.0, 0.0)


def test_volatility_scores_reward_the_truth_and_leave_out_what_did_not_move() -> None:
    realised = np.exp(np.random.default_rng(6).normal(size=ROWS))
    realised[:100] = 0.0
    found = by_name(volatility_scores(np.maximum(realised, 0.1), realised, times_of(ROWS), SETTINGS))
    assert found["qlike"].rows == ROWS - 100
    exact = by_name(volatility_scores(realised, realised, times_of(ROWS), SETTINGS))
    assert exact["qlike"].value == 0.0
    assert exact["volatility_rank_ic"].value == pytest.approx(1.0)
    twice = by_name(volatility_scores(realised * 2, realised, times_of(ROWS), SETTINGS))
    assert twice["qlike"].value == pytest.approx(0.5 - np.log(0.5) - 1)


def overlapping_sums(draws: np.random.Generator, *, slots: int, horizon: int, symbols: int) -> Floats:
    """Rows by time, then symbol: forward sums of steps that all symbols share in half."""
    common = draws.normal(size=slots + horizon)
    columns = []
    for _ in range(symbols):
        steps = (common + draws.normal(size=slots + horizon)) / np.sqrt(2)
        running = np.concatenate([[0.0], np.cumsum(steps)])
        columns.append((running[horizon:] - running[:-horizon])[:slots])
    return np.column_stack(columns).ravel()


def test_intervals_hold_the_truth_on_overlapping_rows_of_moving_together_symbols() -> None:
    slots, horizon, symbols, worlds = 1500, 6, 2, 150
    times = times_of(slots, symbols=symbols)
    held = naive = 0
    for seed in range(worlds):
        draws = np.random.default_rng(seed)
        outcome = overlapping_sums(draws, slots=slots, horizon=horizon, symbols=symbols)
        settings = BootstrapSettings(block_bars=48, resamples=300, seed=seed, confidence=0.95)
        found = paired_interval(outcome, np.zeros_like(outcome), times, settings)
        held += found.lower <= 0 <= found.upper
        one = BootstrapSettings(block_bars=1, resamples=300, seed=seed, confidence=0.95)
        short = paired_interval(outcome, np.zeros_like(outcome), times, one)
        naive += short.lower <= 0 <= short.upper
    assert binom.ppf(0.001, worlds, 0.92) <= held
    # The harness can tell: blocks shorter than the horizon hold it far less often.
    assert naive < binom.ppf(0.001, worlds, 0.9)


@pytest.mark.parametrize(("memory", "horizon"), [(0.0, 1), (0.9, 1), (0.0, 30)])
def test_interval_of_a_stretch_not_twice_as_long_as_a_block_holds_the_truth(
    memory: float, horizon: int
) -> None:
    slots, worlds = 1000, 200
    times, draws, held = times_of(slots), np.random.default_rng(13), 0
    for seed in range(worlds):
        steps = draws.normal(size=slots + horizon)
        outcome = np.convolve(lfilter([1], [1, -memory], steps), np.ones(horizon), "valid")[:slots]
        settings = BootstrapSettings(block_bars=720, resamples=300, seed=seed, confidence=0.95)
        found = paired_interval(outcome, np.zeros(slots), times, settings)
        held += found.lower <= 0 <= found.upper
    assert binom.ppf(0.001, worlds, 0.92) <= held <= binom.ppf(0.999, worlds, 0.97)


def test_interval_of_many_blocks_is_that_of_the_percentiles() -> None:
    draw = BootstrapSettings(block_bars=20, resamples=4000, seed=1, confidence=0.95).over(times_of(40_000))
    drawn = np.random.default_rng(14).normal(size=4000)
    assert draw.ends(drawn) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=0.01)


@pytest.mark.parametrize("slots", [90, 400, 5000])
def test_p_value_is_that_of_the_level_whose_interval_ends_at_zero(slots: int) -> None:
    draw = BootstrapSettings(block_bars=20, resamples=20_000, seed=1, confidence=0.95).over(times_of(slots))
    normal = np.random.default_rng(15).normal(size=20_000)
    mean = -draw.ends(normal)[0]
    assert draw.p_value(mean, normal + mean) == pytest.approx(0.05, abs=0.005)


def test_p_value_of_values_that_are_all_the_same_finds_nothing() -> None:
    assert SETTINGS.over(times_of(1)).p_value(1.0, np.ones(300)) == 1.0


def test_accuracy_interval_holds_the_truth_on_autocorrelated_hits() -> None:
    slots, worlds, held = 2000, 150, 0
    times = times_of(slots)
    for seed in range(worlds):
        draws = np.random.default_rng(1000 + seed)
        level = np.zeros(slots)
        for k in range(1, slots):
            level[k] = 0.7 * level[k - 1] + draws.normal()
        up = (level > 0).astype(np.float64)
        settings = BootstrapSettings(block_bars=48, resamples=300, seed=seed, confidence=0.95)
        accuracy = direction_scores(np.full(slots, 0.6), up, times, settings)[0]
        held += accuracy.lower <= 0.5 <= accuracy.upper
    assert binom.ppf(0.001, worlds, 0.92) <= held


def test_auc_interval_is_as_wide_as_that_of_whole_resamples() -> None:
    p, up = drawn_directions(7)
    settings = BootstrapSettings(block_bars=1, resamples=2000, seed=1, confidence=0.95)
    auc = by_name(direction_scores(p, up, times_of(ROWS), settings))["auc"]
    draws = np.random.default_rng(2)
    whole = [
        metrics.roc_auc_score(up[rows], p[rows])
        for rows in (draws.integers(0, ROWS, ROWS) for _ in range(300))
    ]
    assert auc.upper - auc.lower == pytest.approx(np.ptp(np.quantile(whole, [0.025, 0.975])), rel=0.15)


def test_paired_interval_is_above_zero_when_the_second_loses_less() -> None:
    draws = np.random.default_rng(8)
    worse, better = draws.random(ROWS) + 0.1, draws.random(ROWS)
    times = times_of(ROWS)
    won, lost = (paired_interval(*pair, times, SETTINGS) for pair in ((worse, better), (better, worse)))
    assert won.lower > 0 > lost.upper
    assert won.mean == pytest.approx(-lost.mean)


def test_least_detectable_difference_is_found_four_times_in_five() -> None:
    rows, worlds = 800, 200
    times = times_of(rows)
    settings = BootstrapSettings(block_bars=4, resamples=200, seed=1, confidence=0.95)
    draws = np.random.default_rng(9)
    typical = np.median(
        [
            paired_interval(draws.normal(size=rows), np.zeros(rows), times, settings).least_detectable
            for _ in range(40)
        ]
    )
    assert typical == pytest.approx(2.8 / np.sqrt(rows), rel=0.1)
    found = sum(
        paired_interval(typical + draws.normal(size=rows), np.zeros(rows), times, settings).lower > 0
        for _ in range(worlds)
    )
    assert binom.ppf(0.001, worlds, 0.8) <= found <= binom.ppf(0.999, worlds, 0.8)


def test_rows_of_one_time_move_together() -> None:
    """A symbol that repeats another adds nothing: the interval stays as wide."""
    losses = np.random.default_rng(10).normal(size=ROWS)
    alone = paired_interval(losses, np.zeros(ROWS), times_of(ROWS), SETTINGS)
    both = paired_interval(np.repeat(losses, 2), np.zeros(2 * ROWS), times_of(ROWS, symbols=2), SETTINGS)
    assert (both.lower, both.upper) == pytest.approx((alone.lower, alone.upper))
    assert both.rows == 2 * alone.rows


def test_same_seed_gives_the_same_interval() -> None:
    p, up = drawn_directions(11)
    first = direction_scores(p, up, times_of(ROWS), SETTINGS)
    assert first == direction_scores(p, up, times_of(ROWS), SETTINGS)
    other = BootstrapSettings(block_bars=20, resamples=300, seed=2, confidence=0.95)
    assert first != direction_scores(p, up, times_of(ROWS), other)


def test_difference_of_two_rank_ics_is_that_of_their_scores_and_its_interval_knows_what_they_share() -> None:
    draws = np.random.default_rng(12)
    realised = draws.lognormal(size=ROWS)
    near, far = (realised * draws.lognormal(sigma=sigma, size=ROWS) for sigma in (0.5, 0.7))
    far[::50], times = np.nan, times_of(ROWS)
    found = rank_ic_difference(near, far, realised, times, SETTINGS)
    known = np.isfinite(far)
    alone = [
        volatility_scores(said[known], realised[known], times.filter(known), SETTINGS)[0]
        for said in (near, far)
    ]
    assert found.value == pytest.approx(alone[0].value - alone[1].value)
    assert found.rows == known.sum()
    assert 0 < found.lower < found.value < found.upper
    assert found.upper - found.lower < 2 * (alone[0].upper - alone[0].lower)
    same = rank_ic_difference(near, near, realised, times, SETTINGS)
    assert (same.lower, same.value, same.upper) == (0.0, 0.0, 0.0)
