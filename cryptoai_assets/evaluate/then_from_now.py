"""False alarms and delays of the classifier that tells then from now, on the markets of the drift study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoai_assets.evaluate.clustered_market import (
    FEATURE_FAULTS,
    FEATURES,
    clustered_market,
    with_decayed_relation,
    with_feature_fault,
    with_reversed_relation,
)
from cryptoai_assets.evaluate.drift import (
    DECAYED,
    FULL_PLAN,
    GOALS,
    REVERSED,
    ROOM,
    DriftPlan,
    false_alarm_row,
    kept_markets,
)
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_monitoring.hourly import DAY
from cryptoai_monitoring.then_from_now import ThenFromNow
from cryptoai_monitoring.thresholds import Calibration

NAME = "then-from-now"
WINDOW_DAYS, FULL_DRAWS = 7, 300
WATCHED = (*FEATURES, "forecast")
OUTCOME = "outcome"
_CODE = (
    __name__,
    "cryptoai_assets.evaluate.clustered_market",
    *(f"cryptoai_monitoring.{name}" for name in ("then_from_now", "thresholds")),
)


@dataclass(frozen=True, slots=True)
class ClassifierStudy:
    """A study as far as its markets are finished; each is asked once a day about its newest week.

    Parameters
    ----------
    plan
        Whose markets, days and rate it takes; it asks nothing of Evidently.
    draws
        Windows by which thresholds are drawn.
    folder
        Where each market's findings are kept; another plan or code has another.
    """

    plan: DriftPlan
    draws: int
    folder: Path

    def rows(self, tell: Callable[[str], None]) -> Iterator[EvaluationRow]:
        """Finish the markets, then one table."""
        asked = {"plan": asdict(self.plan), "draws": self.draws, "code": code_fingerprint(*_CODE)}
        found = kept_markets(
            self.plan,
            self.folder / f"{NAME}-{settings_fingerprint(asked)[:12]}",
            lambda seed: told_market(seed, self.plan, self.draws),
            lambda market: tell(f"{market} is told apart"),
        )
        yield from classifier_rows(found, self.plan)


def full_study(folder: Path) -> ClassifierStudy:
    """Study of all the drift study's markets."""
    return ClassifierStudy(FULL_PLAN, FULL_DRAWS, folder)


def told_market(seed: int, plan: DriftPlan, draws: int) -> dict[str, Any]:
    """False alarms of one market that never drifts, and days until faults planted into it are told."""
    a_day = plan.pace.bars(DAY)
    first = plan.reference_days * a_day
    market = clustered_market(first + plan.live_days * a_day + 1, seed)
    calibration = Calibration(plan.rate.a_day, windows=draws, seed=plan.rate.seed)
    watch = ThenFromNow.of(
        with_outcome(market[: first + 1]),
        WATCHED,
        outcome=OUTCOME,
        window_rows=WINDOW_DAYS * a_day,
        calibration=calibration,
    )
    calm = [bool(_told(watch, market, day, plan)) for day in range(WINDOW_DAYS, plan.live_days + 1)]
    faulty = seed < plan.first_seed + plan.faulty_markets
    return {
        "days": len(calm),
        "false_alarm_days": sum(calm),
        "told": {fault: _delays(watch, market, fault, plan, seed) for fault in (GOALS if faulty else ())},
    }


def _delays(
    watch: ThenFromNow, market: pl.DataFrame, fault: str, plan: DriftPlan, seed: int
) -> list[list[Any]]:
    """Days until a fault is told, None when it is not, and whether its feature is the first that is named."""
    row = (plan.reference_days + plan.fault_day) * plan.pace.bars(DAY)
    days = plan.patience_days
    if fault in FEATURE_FAULTS:
        planted = {name: with_feature_fault(market, fault, column=name, row=row) for name in FEATURES}
    elif fault == REVERSED:
        planted = {"forecast": with_reversed_relation(market, row)}
    else:
        days += plan.decay_days
        decay = plan.decay_days * plan.pace.bars(DAY)
        planted = {"forecast": with_decayed_relation(market, row, rows=decay, seed=seed)}
    return [_delay(watch, faulty, name, plan, days) for name, faulty in planted.items()]


def _delay(watch: ThenFromNow, faulty: pl.DataFrame, column: str, plan: DriftPlan, days: int) -> list[Any]:
    for day in range(1, days + 1):
        if named := _told(watch, faulty, plan.fault_day + day, plan):
            return [day, column in named]
    return [None, False]


def _told(watch: ThenFromNow, market: pl.DataFrame, day: int, plan: DriftPlan) -> list[str]:
    """First feature of each question by which the week until a live day is told."""
    a_day = plan.pace.bars(DAY)
    end = (plan.reference_days + day) * a_day
    answer = watch.answer(with_outcome(market[end - WINDOW_DAYS * a_day : end + 1]))
    return [name.partition(": ")[2] for name in answer.named(1)]


def with_outcome(market: pl.DataFrame) -> pl.DataFrame:
    """What came after each row; the last has none."""
    return market.with_columns(pl.col("target").shift(-1).alias(OUTCOME)).head(-1)


def classifier_rows(found: Sequence[Mapping[str, Any]], plan: DriftPlan) -> Iterator[EvaluationRow]:
    """False alarms a month with their bounds, then median days until each fault is told."""
    yield false_alarm_row(f"{ROOM}/{NAME}-false-alarms", found, plan.rate.a_month)
    for fault in GOALS:
        patience = plan.patience_days + (plan.decay_days if fault == DECAYED else 0)
        told = [one for market in found if market["told"] for one in market["told"][fault]]
        days = np.array([patience if day is None else day for day, _ in told], dtype=np.float64)
        name = f"{ROOM}/{NAME}-{fault.replace(' ', '-')}"
        seen = [rightly for day, rightly in told if day is not None]
        yield EvaluationRow(f"{name}-median", float(np.median(days)), f"days, of {patience} at most")
        yield EvaluationRow(f"{name}-told", len(seen) / len(told), f"of {len(told)} in {patience} d")
        if seen:
            yield EvaluationRow(f"{name}-named", float(np.mean(seen)), f"of {len(seen)} by the right feature")
