"""Experiments reckoned: lengths that keep their promises, effects with honest intervals, and no peeking."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from fakes.experiments import PLAN
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nct, t

from cryptoai_assets.lib.experiment_analysis import (
    ExperimentError,
    block_inflation,
    experiment_result,
    losses,
    needed_times,
    sample_ratio_p,
)
from edge_bundle.experiment import Experiment

START = datetime(2026, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
SHADOW = replace(PLAN, mode="shadow", challenger_share=0.0)
EVEN = {"control": 500, "challenger": 500}


def market(
    bars: int, *, error: float, seed: int, variants: tuple[str, str] = ("control", "challenger")
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Answers of both variants at each bar, the challenger's probability off by `error`; and outcomes."""
    random = np.random.default_rng(seed)
    times = [START + bar * BAR for bar in range(bars)]
    truth = random.uniform(0.3, 0.7, bars)
    up = random.uniform(size=bars) < truth
    outcomes = pl.DataFrame(
        {"symbol": "BTCUSD", "known_at": times, "horizon_bars": 1, "return_bps": np.where(up, 5.0, -5.0)}
    )
    off = {variants[0]: 0.0, variants[1]: error}
    logged = pl.concat(
        pl.DataFrame(
            {
                "symbol": "BTCUSD",
                "known_at": times,
                "horizon_bars": 1,
                "variant": variant,
                "origin": "store",
                "probability_up": np.clip(truth + wrong * random.choice([-1, 1], bars), 0.01, 0.99),
                "expected_return_bps": 0.0,
            }
        )
        for variant, wrong in off.items()
    )
    return logged, outcomes


def autocorrelated(count: int, *, memory: float, seed: int) -> npt.NDArray[np.float64]:
    """First-order autoregression of unit variance."""
    shocks = np.random.default_rng(seed).normal(size=count) * (1 - memory**2) ** 0.5
    values = np.zeros(count)
    for place in range(1, count):
        values[place] = memory * values[place - 1] + shocks[place]
    return values


def test_length_is_that_of_the_textbook_for_values_that_do_not_depend_on_each_other() -> None:
    found = needed_times(
        deviation=1, minimal_effect=0.2, false_alarm_rate=0.05, power=0.8, inflation=1, block_bars=1
    )
    # 197 by the normal distribution, (1.96 + 0.8416)² × (1 / 0.2)² = 196.2; by Student's t, as many as give
    # its power by the noncentral distribution.
    shares = [nct.sf(t.ppf(0.975, n - 1), n - 1, 0.2 * n**0.5) for n in (found - 1, found)]
    assert found == 199
    assert shares[0] < 0.8 <= shares[1]


@given(
    deviation=st.floats(0.01, 10),
    ratio=st.floats(0.01, 1),
    power=st.floats(0.5, 0.99),
    alarm=st.floats(0.001, 0.2),
    inflation=st.floats(1, 50),
    block_bars=st.integers(1, 60),
)
def test_length_is_just_enough_for_the_power_that_was_asked_for(
    deviation: float, ratio: float, power: float, alarm: float, inflation: float, block_bars: int
) -> None:
    effect = deviation * ratio

    def reached(times: int) -> float:
        error, freedom = deviation * (inflation / times) ** 0.5, times / block_bars - 1
        return float(t.cdf(effect / error - t.ppf(1 - alarm / 2, freedom), freedom))

    found = needed_times(
        deviation=deviation,
        minimal_effect=effect,
        false_alarm_rate=alarm,
        power=power,
        inflation=inflation,
        block_bars=block_bars,
    )
    assert reached(found) >= power - 1e-9
    assert found == 10 * block_bars or (found > 10 * block_bars and reached(found - 1) < power + 1e-9)


@pytest.mark.parametrize(
    "wrong",
    [{"minimal_effect": 0.0}, {"deviation": 0.0}, {"power": 1.0}, {"false_alarm_rate": 0.0}],
    ids=str,
)
def test_length_that_cannot_be_told_is_refused(wrong: dict[str, float]) -> None:
    given_ = {"deviation": 1.0, "minimal_effect": 0.1, "false_alarm_rate": 0.05, "power": 0.8}
    with pytest.raises(ExperimentError):
        needed_times(**given_ | wrong, inflation=1.0, block_bars=1)


def test_inflation_finds_how_much_values_depend_on_each_other() -> None:
    independent = block_inflation(autocorrelated(20_000, memory=0.0, seed=1), block_bars=50)
    dependent = block_inflation(autocorrelated(20_000, memory=0.6, seed=1), block_bars=50)
    assert independent == pytest.approx(1.0, abs=0.15)
    # (1 + ρ) / (1 − ρ) = 4 in the limit of long blocks.
    assert dependent == pytest.approx(4.0, rel=0.2)
    with pytest.raises(ExperimentError, match="99 values"):
        block_inflation(autocorrelated(99, memory=0.0, seed=1), block_bars=10)


def test_test_of_the_reckoned_length_finds_the_effect_as_often_as_promised() -> None:
    """Dependent differences, with the effect and without it: power and false alarms are those of the plan."""
    memory, effect = 0.5, 0.15
    sample = autocorrelated(20_000, memory=memory, seed=3)
    length = needed_times(
        deviation=float(sample.std()),
        minimal_effect=effect,
        false_alarm_rate=0.05,
        power=0.8,
        inflation=block_inflation(sample, block_bars=50),
        block_bars=50,
    )
    reach = t.ppf(0.975, length / 50 - 1) * (3 / length) ** 0.5  # (1 + ρ) / (1 − ρ) = 3
    means = np.array([autocorrelated(length, memory=memory, seed=100 + run).mean() for run in range(200)])
    assert 0.68 < np.mean(np.abs(means + effect) > reach) < 0.92
    assert np.mean(np.abs(means) > reach) < 0.12


def test_nothing_but_the_way_to_go_is_told_before_the_fixed_length() -> None:
    logged, outcomes = market(199, error=0.3, seed=1)
    result = experiment_result(PLAN, logged, outcomes, EVEN)
    assert (result.recommendation, result.times, result.effect) == ("running", 199, None)


@pytest.mark.parametrize("plan", [PLAN, SHADOW], ids=["split", "shadow"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.3, "keep the control"), (-0.3, "promote the challenger"), (0.0, "no difference")],
)
def test_verdict_is_that_of_the_first_bars_of_the_fixed_length(
    plan: Experiment, error: float, expected: str
) -> None:
    swapped = ("challenger", "control") if error < 0 else ("control", "challenger")
    logged, outcomes = market(200, error=abs(error), seed=2, variants=swapped)
    users = EVEN if plan is PLAN else {}
    result = experiment_result(plan, logged, outcomes, users)
    assert result.recommendation == expected
    assert result.effect is not None
    assert result.effect.lower <= result.effect.value <= result.effect.upper
    later, more = market(400, error=0.45, seed=3, variants=swapped[::-1])
    after = pl.col("known_at") >= START + 200 * BAR
    longer = experiment_result(
        plan, pl.concat([logged, later.filter(after)]), pl.concat([outcomes, more.filter(after)]), users
    )
    assert longer == replace(result, times=400)


def test_effect_is_the_difference_of_mean_losses_also_where_only_one_was_asked() -> None:
    logged, outcomes = market(300, error=0.2, seed=4)
    sparse = logged.filter((pl.col("variant") == "control") | (pl.int_range(pl.len()) % 3 > 0))
    result = experiment_result(PLAN, sparse, outcomes, EVEN)
    assert (result.times, result.effect is not None) == (200, True)
    told = sparse.join(outcomes, on=["symbol", "known_at", "horizon_bars"])
    told = told.with_columns(loss=pl.Series(losses("brier", told)))
    means = {str(variant): rows["loss"].mean() for (variant,), rows in told.group_by("variant")}
    assert result.effect is not None
    both = sparse.filter(pl.col("known_at").is_duplicated())["known_at"].unique().sort()
    assert result.effect.rows == sparse.filter(pl.col("known_at") <= both[199]).height
    apart = float(means["challenger"]) - float(means["control"])
    assert result.effect.value == pytest.approx(apart, abs=0.02)


def test_users_who_were_not_drawn_as_planned_make_the_experiment_invalid() -> None:
    logged, outcomes = market(200, error=0.3, seed=1)
    result = experiment_result(PLAN, logged, outcomes, {"control": 600, "challenger": 400})
    assert (result.recommendation, result.effect) == ("invalid", None)
    assert sample_ratio_p({"control": 600, "challenger": 400}, challenger_share=0.4) == pytest.approx(1.0)
    assert sample_ratio_p({}, challenger_share=0.4) is None


def test_bar_without_a_move_an_answer_or_an_outcome_has_no_loss() -> None:
    rows = pl.DataFrame(
        {
            "probability_up": [0.6, None, 0.6, 0.6],
            "expected_return_bps": [1.0, None, 1.0, 1.0],
            "return_bps": [5.0, 5.0, 0.0, None],
        }
    )
    assert np.isnan(losses("brier", rows)).tolist() == [False, True, True, True]
    assert np.isnan(losses("log_loss", rows)).tolist() == [False, True, True, True]
    assert np.isnan(losses("absolute_error_bps", rows)).tolist() == [False, True, False, True]
    assert losses("absolute_error_bps", rows)[[0, 2]].tolist() == [4.0, 1.0]


def test_answers_on_candles_that_came_with_a_request_do_not_count() -> None:
    logged, outcomes = market(200, error=0.3, seed=1)
    asked = logged.with_columns(origin=pl.lit("request"))
    assert experiment_result(PLAN, asked, outcomes, EVEN).times == 0
