"""All watches of drift together, at the family-wise rate that the platform runs them at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoai_assets.evaluate.clustered_market import (
    COLUMNS,
    FEATURE_FAULTS,
    FEATURES,
    clustered_market,
    with_feature_fault,
)
from cryptoai_assets.evaluate.drift import (
    DECAYED,
    FALSE_ALARM_GOAL,
    FULL_PLAN,
    GOALS,
    NOTHING,
    REVERSED,
    ROOM,
    WATCHED,
    DriftPlan,
    false_alarm_row,
    fault_row,
    kept_markets,
    patience_days,
    with_relation_fault,
)
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.evaluate.then_from_now import OUTCOME, WINDOW_DAYS, with_outcome
from cryptoai_assets.evaluate.then_from_now import WATCHED as TOLD
from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.watch import (
    TELLING_FEATURES,
    classifier_calibration,
    hourly_rate,
    weekly_calibration,
)
from cryptoai_monitoring.drift import WindowWatch
from cryptoai_monitoring.hourly import DAY, HOUR, HourlyWatch
from cryptoai_monitoring.then_from_now import ThenFromNow

NAME = "together"
# What names a relation that is broken.
RELATION = ("agreement", "forecast")
_CODE = (
    __name__,
    "cryptoai_assets.evaluate.clustered_market",
    "cryptoai_assets.lib.watch",
    *(
        f"cryptoai_monitoring.{name}"
        for name in ("drift", "hourly", "relation", "then_from_now", "thresholds")
    ),
)


@dataclass(frozen=True, slots=True)
class FamilyStudy:
    """A study as far as its markets are finished.

    Parameters
    ----------
    plan
        Whose markets, days, faults and rate it takes; it asks nothing of Evidently.
    folder
        Where each market's findings are kept; another plan or code has another.
    """

    plan: DriftPlan
    folder: Path

    def rows(self, tell: Callable[[str], None]) -> Iterator[EvaluationRow]:
        """Finish the markets, then one table."""
        asked = {"plan": asdict(self.plan), "code": code_fingerprint(*_CODE)}
        found = kept_markets(
            self.plan,
            self.folder / f"{NAME}-{settings_fingerprint(asked)[:12]}",
            lambda seed: watched_market(seed, self.plan),
            lambda market: tell(f"{market} is watched by all"),
        )
        yield from family_rows(found, self.plan)


def full_family(folder: Path) -> FamilyStudy:
    """Study of all the drift study's markets."""
    return FamilyStudy(FULL_PLAN, folder)


@dataclass(frozen=True, slots=True)
class Family:
    """The hour's watch, the week's and the classifier, each with its share of the rate.

    Parameters
    ----------
    first
        Row before which all is reference.
    """

    plan: DriftPlan
    first: int
    hourly: HourlyWatch
    weekly: WindowWatch
    classifier: ThenFromNow

    @classmethod
    def of(cls, market: pl.DataFrame, plan: DriftPlan) -> "Family":
        """Learn from the days before the live ones."""
        pace, a_month = plan.pace, plan.rate.a_month
        first = plan.reference_days * pace.bars(DAY)
        week = WINDOW_DAYS * pace.bars(DAY)
        return cls(
            plan,
            first,
            HourlyWatch.of(market[:first].to_numpy(), WATCHED, pace, hourly_rate(a_month)),
            WindowWatch.of(market[:first].select(TOLD).to_numpy(), week, weekly_calibration(a_month)),
            ThenFromNow.of(
                with_outcome(market[: first + 1]),
                TOLD,
                outcome=OUTCOME,
                window_rows=week,
                calibration=classifier_calibration(a_month),
            ),
        )

    def by_the_hour(self, market: pl.DataFrame, row: int, last: int, names: Sequence[str]) -> list[int]:
        """Ends of the hours, from one row to another, in which any of the names is told."""
        start = row - self.plan.pace.longest
        columns = [COLUMNS.index(name) for name in names]
        excess = np.nan_to_num(self.hourly.excess(market[start:last].to_numpy()), nan=0.0)[:, :, columns]
        looks = start + self.plan.pace.looks(last - start)
        seen: list[int] = (looks[(excess.max(axis=(1, 2)) > 1) & (looks >= row)] + 1).tolist()
        return seen

    def by_the_week(self, market: pl.DataFrame, row: int, last: int, names: Sequence[str]) -> Iterator[int]:
        """Ends of the days, from one row to another, whose week is told by any of the names."""
        a_day = self.plan.pace.bars(DAY)
        for end in range(self.first + WINDOW_DAYS * a_day, last + 1, a_day):
            if end > row and not set(names).isdisjoint(self._named(market, end)):
                yield end

    def _named(self, market: pl.DataFrame, end: int) -> list[str]:
        """What the week until a row is told by, by its statistics and by the classifier."""
        week = market[end - WINDOW_DAYS * self.plan.pace.bars(DAY) : end + 1]
        excess = self.weekly.excess(week[:-1].select(TOLD).to_numpy())
        answer = self.classifier.answer(with_outcome(week))
        named = [name.partition(": ")[2].split(", ") for name in answer.named(TELLING_FEATURES)]
        return [*np.array(TOLD)[excess > 1], *(name for one in named for name in one)]


def watched_market(seed: int, plan: DriftPlan) -> dict[str, Any]:
    """False alarms of one market that never drifts, and hours until faults planted into it are told."""
    a_day = plan.pace.bars(DAY)
    rows = (plan.reference_days + plan.live_days) * a_day
    market = clustered_market(rows + 1, seed)
    family = Family.of(market, plan)
    asked_from = family.first + (WINDOW_DAYS - 1) * a_day
    asked = market, asked_from, rows, COLUMNS
    ends = [*family.by_the_hour(*asked), *family.by_the_week(*asked)]
    faulty = seed < plan.first_seed + plan.faulty_markets
    return {
        "days": plan.live_days - WINDOW_DAYS + 1,
        "false_alarm_days": len({(end - 1) // a_day for end in ends}),
        "hours": {
            fault: _delays(family, market, fault, seed)
            for fault in ([*GOALS, NOTHING] if faulty else [REVERSED, DECAYED, NOTHING])
        },
    }


def _delays(family: Family, market: pl.DataFrame, fault: str, seed: int) -> list[float | None]:
    """Hours until a fault is told by its name: of each feature, or of the relation at each start."""
    plan = family.plan
    patience = patience_days(fault, plan) * plan.pace.bars(DAY)
    if fault in FEATURE_FAULTS:
        row = fault_row(plan, seed)
        return [
            _hours(family, with_feature_fault(market, fault, column=name, row=row), row, patience, [name])
            for name in FEATURES
        ]
    starts = plan.relation_starts if fault == REVERSED else plan.decay_starts
    return [
        _hours(family, with_relation_fault(market, fault, row, plan, seed), row, patience, RELATION)
        for row in (fault_row(plan, seed, start) for start in range(starts))
    ]


def _hours(
    family: Family, market: pl.DataFrame, row: int, patience: int, names: Sequence[str]
) -> float | None:
    last = row + patience
    hour = next(iter(family.by_the_hour(market, row, last, names)), None)
    told = next(family.by_the_week(market, row, hour or last, names), hour)
    return None if told is None else (told - row) / family.plan.pace.bars(HOUR)


def family_rows(found: Sequence[Mapping[str, Any]], plan: DriftPlan) -> Iterator[EvaluationRow]:
    """False alarms a month with their bounds, then the median of the hours until each fault is told."""
    alarms = false_alarm_row(f"{ROOM}/{NAME}-false-alarms", found, plan.rate.a_month)
    yield EvaluationRow(
        **{**asdict(alarms), "goal": FALSE_ALARM_GOAL, "met": bool((alarms.upper or 0) <= FALSE_ALARM_GOAL)}
    )
    for fault in (*GOALS, NOTHING):
        patience = patience_days(fault, plan) * 24.0
        hours = [h for one in found for h in one["hours"].get(fault, [])]
        late = np.array([patience if h is None else h for h in hours], dtype=np.float64)
        name = f"{ROOM}/{NAME}-{fault.replace(' ', '-')}"
        if fault != NOTHING:
            yield EvaluationRow(f"{name}-median", float(np.median(late)), f"hours, of {patience:.0f} at most")
        seen = float(np.mean([h is not None for h in hours]))
        yield EvaluationRow(f"{name}-told", seen, f"of {len(hours)} in {patience / 24:.0f} d")
