"""Scores of the loop's study by hand: who is right how often, and which goals are met."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from fakes.loop_market import PLAN, candles, replayed

from cryptoai_assets.evaluate.loop_market import DAY
from cryptoai_assets.evaluate.loop_scores import daily_table, loop_rows, report, right, scored_rows, trainings
from cryptoai_assets.evaluate.loop_strategies import DAILY, EVERYTHING, LOOP, MOVING, NEVER, THIRD, Morning
from cryptoai_assets.evaluate.rows import EvaluationRow

START = datetime(2018, 1, 1, tzinfo=UTC)
DAYS, MINUTES = 19, 1440
MINUTE_PLAN = replace(PLAN, market=replace(PLAN.market, interval="1m"), live_days=DAYS)


def scored(shares: dict[str, float]) -> pl.DataFrame:
    """Minutes of which each strategy has a share right, spread evenly, with a probability of 0.6."""
    count = DAYS * MINUTES
    up = np.random.default_rng(5).integers(0, 2, count).astype(np.float64)
    columns = {}
    for name, share in shares.items():
        number = np.arange(count)
        good = np.floor((number + 1) * share) > np.floor(number * share)
        columns[name] = np.where(good == (up > 0.5), 0.6, 0.4)
    times = [START + timedelta(minutes=number) for number in range(count)]
    return pl.DataFrame({"open_time": times, "up": up, **columns})


def mornings(trained: Sequence[int], promoted: bool = True) -> list[Morning]:
    """Mornings of which those of some days trained."""
    first = Morning.first("2018-01-01", START, 0.55, promoted=True, reason="first version")
    return [first] + [
        replace(first, at=START + day * DAY, trained=day in trained, promoted=promoted, reason=f"day {day}")
        for day in range(1, DAYS)
    ]


def rows_of(shares: dict[str, float], loop_days: Sequence[int]) -> dict[str, EvaluationRow]:
    done = {name: mornings(range(1, DAYS)) for name in shares}
    done |= {NEVER: mornings(()), LOOP: mornings(loop_days), MOVING: mornings(()), THIRD: mornings(loop_days)}
    return {row.name: row for row in loop_rows(scored(shares), done, MINUTE_PLAN)}


SHARES = {NEVER: 0.52, DAILY: 0.55, LOOP: 0.549, MOVING: 0.53, THIRD: 0.55, EVERYTHING: 0.551}


def test_a_loop_as_good_as_daily_with_few_trainings_meets_its_goals() -> None:
    rows = rows_of(SHARES, loop_days=(3, 9, 15))
    beside_daily = rows["loop/accuracy-of-loop-less-daily"]
    assert beside_daily.value == pytest.approx(-0.001, abs=2e-4)
    assert beside_daily.lower is not None
    assert -0.003 < beside_daily.lower < beside_daily.value
    assert beside_daily.met
    assert rows["loop/accuracy-of-loop-less-never"].met
    assert rows["loop/accuracy-loop"].value == pytest.approx(0.549, abs=2e-4)
    assert rows["loop/trainings-loop"].value == 3
    assert rows["loop/trainings-loop"].met
    assert rows["loop/log-loss-saved-by-loop-from-never"].value > 0


@pytest.mark.parametrize(
    ("change", "loop_days", "missed"),
    [
        ({LOOP: 0.546}, (3,), "loop/accuracy-of-loop-less-daily"),
        ({LOOP: 0.52}, (3,), "loop/accuracy-of-loop-less-never"),
        ({}, range(1, 8), "loop/trainings-loop"),
    ],
    ids=["worse than daily", "no better than never", "too many trainings"],
)
def test_what_is_not_shown_is_missed(change: dict[str, float], loop_days: Sequence[int], missed: str) -> None:
    assert rows_of(SHARES | change, loop_days)[missed].met is False


def test_a_third_of_the_trainings_is_still_enough() -> None:
    assert rows_of(SHARES, range(1, 7))["loop/trainings-loop"].met
    assert trainings(mornings(range(1, 7))) == 6


def test_even_odds_are_right_half_of_the_time() -> None:
    assert right(np.array([0.5, 0.6, 0.4]), np.array([1.0, 1.0, 1.0])).tolist() == [0.5, 1.0, 0.0]


def test_a_silent_strategy_says_even_odds_and_leaves_no_minute_out() -> None:
    market = replayed(candles())
    times = market.between(PLAN.live_start, PLAN.live_start + DAY).select("open_time")
    loud, silent = (times.with_columns(probability_up=pl.lit(said, pl.Float64)) for said in (0.7, None))
    found = scored_rows(market, {NEVER: loud, LOOP: silent})
    assert found[LOOP].to_list() == [0.5] * found.height
    assert found[NEVER].to_list() == [0.7] * found.height
    assert found.height > 40


def test_the_table_of_days_averages_each_day_by_itself() -> None:
    days = daily_table(scored({NEVER: 0.5, LOOP: 1.0}))
    assert days["minutes"].to_list() == [MINUTES] * DAYS
    assert days[f"accuracy, {LOOP}"].to_list() == [1.0] * DAYS
    assert days[f"accuracy, {NEVER}"].to_list() == [0.5] * DAYS
    assert days[f"log loss, {LOOP}"].to_list() == pytest.approx([-np.log(0.6)] * DAYS)


def test_the_report_tells_each_training_of_the_loop_and_why() -> None:
    done = {name: mornings(()) for name in SHARES}
    done[LOOP] = mornings((4,), promoted=False)
    told = report([], scored(SHARES), done, MINUTE_PLAN, commit="abc")
    assert "| 2018-01-05 | trained, refused | day 4 |" in told
    assert "| 2018-01 | 0.5200 |" in told
    assert "day 5" not in told
