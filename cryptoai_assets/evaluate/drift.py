"""False alarms and delays of the hourly watch, beside Evidently's methods, on simulated months."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t

from cryptoai_assets.evaluate.clustered_market import (
    AGREEMENT,
    COLUMNS,
    FEATURE_FAULTS,
    FEATURES,
    clustered_market,
    with_decayed_relation,
    with_feature_fault,
    with_reversed_relation,
)
from cryptoai_assets.evaluate.evidently_paths import EvidentlyPaths
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.releases import write_json
from cryptoai_monitoring.hourly import DAY, HOUR, Column, HourlyWatch, Pace
from cryptoai_monitoring.reports import DEFAULT_METHOD, evidently_score
from cryptoai_monitoring.thresholds import (
    DAYS_A_MONTH,
    AlarmRate,
    Float64Array,
    Int64Array,
    Scale,
    alarm_scale,
)

ROOM = "drift"
OURS, DEFAULTS = "ours", "Evidently, default rules"
REVERSED, DECAYED = "reversed relation", "slow decay"
# Looked for where nothing is planted.
NOTHING = "nothing"
# Hours within which a fault must be seen; a decay just has to be.
GOALS: Mapping[str, float | None] = {
    "shift of one deviation": 24,
    "doubled variance": 24,
    "changed units": 24,
    "frozen feature": 1,
    REVERSED: 240,
    DECAYED: None,
}
FALSE_ALARM_GOAL = 1.5
CONFIDENCE = 0.95
# Code whose change makes what is kept that of something else.
_CODE = (
    __name__,
    "cryptoai_assets.evaluate.clustered_market",
    "cryptoai_assets.evaluate.evidently_paths",
    *(f"cryptoai_monitoring.{name}" for name in ("hourly", "relation", "reports", "thresholds")),
)
# Columns of the simulated market, as the watch is told of them.
WATCHED = tuple(Column("S", name, agreement=name == AGREEMENT) for name in COLUMNS)


@dataclass(frozen=True, slots=True)
class DriftPlan:
    """What is simulated.

    Parameters
    ----------
    first_seed
        Of the markets, which have one each in a row: others than those that the watch was built on.
    faulty_markets
        Of all, those into which faults are planted: with Evidently's methods they take nearly all the time.
    live_days
        After the reference, of each market.
    fault_day
        Of the live days, on which each fault begins in a market of its own.
    relation_starts, decay_starts
        How often the relation is reversed, and decays, in each market: `start_days` apart, from `fault_day`
        on, each in a market of its own.
    patience_days
        After which a fault counts as not seen.
    decay_days
        Until nothing of a relation is left.
    methods, method_windows
        Of Evidently, each with each.
    default_days, calibrated_days
        Of each market that Evidently's default rules are asked about, and in which the false alarms of its
        methods are counted.
    known_rows
        Of the reference that Evidently is given, evenly spread: as many as one of its windows has, so that
        distances between the two are few.
    """

    first_seed: int
    markets: int
    faulty_markets: int
    bar: timedelta
    reference_days: int
    live_days: int
    fault_day: int
    relation_starts: int
    decay_starts: int
    start_days: int
    patience_days: int
    decay_days: int
    rate: AlarmRate
    methods: tuple[str, ...]
    method_windows: tuple[timedelta, ...]
    default_days: int
    calibrated_days: int
    known_rows: int

    @property
    def pace(self) -> Pace:
        """Bars of a time."""
        return Pace(self.bar)

    @property
    def months(self) -> float:
        """Months without a fault, of all markets together."""
        return self.markets * self.live_days / DAYS_A_MONTH


FULL_PLAN = DriftPlan(
    # Windows, clips and regressors were chosen on the first hundred.
    first_seed=1_000,
    markets=20,
    faulty_markets=4,
    bar=timedelta(minutes=5),
    reference_days=183,
    live_days=305,
    fault_day=30,
    relation_starts=8,
    decay_starts=4,
    start_days=30,
    patience_days=14,
    decay_days=60,
    rate=AlarmRate(a_month=1.0, block_days=10, draws=500, seed=11),
    methods=("wasserstein", "ks", "psi", "jensenshannon", "cramer_von_mises", "t_test"),
    method_windows=(DAY, 7 * DAY),
    default_days=60,
    calibrated_days=100,
    known_rows=2_016,
)


@dataclass(frozen=True, slots=True)
class Detector:
    """Something that judges each hour of each column.

    Parameters
    ----------
    hours_seen
        From a market with a fault, its row, the column that shows it and the last row looked at, to the hours
        until it was seen; None when it was not.
    """

    name: str
    hours_seen: Callable[[pl.DataFrame, int, str, int], float | None]


@dataclass(frozen=True, slots=True)
class EvidentlyWatch:
    """One of Evidently's methods on one window, asked every hour, with thresholds from the same bootstrap."""

    method: str
    bars: int
    pace: Pace
    known: Float64Array
    scale: Scale
    paths: EvidentlyPaths

    @classmethod
    def of(
        cls,
        reference: Float64Array,
        plan: DriftPlan,
        method: str,
        window: timedelta,
        paths: EvidentlyPaths,
    ) -> "EvidentlyWatch":
        """Judge the reference's own windows by the whole of it, as often as later ones, then draw."""
        pace = plan.pace
        bars = pace.bars(window)
        known = evenly(reference, plan.known_rows)
        looks = pace.looks(len(reference))
        looks = looks[looks >= bars - 1]
        path = _path(paths, method, known, reference, looks, bars)
        days: Int64Array = looks // pace.bars(DAY)
        return cls(method, bars, pace, known, alarm_scale(path, days, plan.rate), paths)

    def hours_seen(self, market: pl.DataFrame, row: int, column: str, last: int) -> float | None:
        """Look each hour at the column of the fault alone."""
        values, place = market[column].to_numpy(), COLUMNS.index(column)
        limit = self.scale.middle[place] + self.scale.spread[place] * self.scale.limit
        hour = self.pace.bars(HOUR)
        for first in range(row + hour - 1, last, self.pace.bars(DAY)):
            looks = np.arange(first, min(first + self.pace.bars(DAY), last), hour)
            path = self.paths.path(self.method, self.known[:, place], values, looks, self.bars)
            if (path > limit).any():
                return _hours(int(looks[path > limit][0]), row, self.pace)
        return None

    def false_alarm_days(self, market: pl.DataFrame, first: int) -> int:
        """Days from a row on, on which anything is alarmed."""
        looks = np.arange(first + self.pace.bars(HOUR) - 1, market.height, self.pace.bars(HOUR))
        path = _path(self.paths, self.method, self.known, market.to_numpy(), looks, self.bars)
        flagged = np.nan_to_num(self.scale.excess(path), nan=0.0).max(axis=1) > 1
        return len(np.unique((looks[flagged] - first) // self.pace.bars(DAY)))


def evenly(values: Float64Array, rows: int) -> Float64Array:
    """So many rows, evenly spread over all."""
    return values[np.linspace(0, len(values) - 1, rows).astype(np.int64)]


def _path(
    paths: EvidentlyPaths,
    method: str,
    known: Float64Array,
    values: Float64Array,
    looks: Int64Array,
    bars: int,
) -> Float64Array:
    """Scores of all columns, (looks, columns)."""
    return np.stack(
        [paths.path(method, one, column, looks, bars) for one, column in zip(known.T, values.T, strict=True)],
        axis=1,
    )


def _hours(look: int, row: int, pace: Pace) -> float:
    return (look + 1 - row) / pace.bars(HOUR)


def our_hours_seen(
    watch: HourlyWatch, market: pl.DataFrame, row: int, column: str, last: int
) -> float | None:
    """Hours until the watch names the column."""
    first = row - watch.pace.longest
    excess = watch.excess(market[first:last].to_numpy())[:, :, COLUMNS.index(column)]
    looks = first + watch.pace.looks(last - first)
    seen = looks[(looks >= row) & (np.nan_to_num(excess, nan=0.0).max(axis=1) > 1)]
    return _hours(int(seen[0]), row, watch.pace) if len(seen) else None


def false_alarm_days(watch: HourlyWatch, market: pl.DataFrame, first: int) -> int:
    """Days from a row on, on which anything is alarmed."""
    excess = watch.excess(market[first - watch.pace.longest :].to_numpy())
    looks = watch.pace.looks(market.height - first + watch.pace.longest) - watch.pace.longest
    flagged = np.nan_to_num(excess, nan=0.0).reshape(len(looks), -1).max(axis=1) > 1
    return len(np.unique(looks[flagged & (looks >= 0)] // watch.pace.bars(DAY)))


def default_alarm_share(
    known: Float64Array, market: pl.DataFrame, first: int, bars: int, a_day: int
) -> float:
    """Share of days whose window Evidently flags in any column, by the rules that it takes by itself."""
    values = market.to_numpy()
    flagged = [
        any(
            evidently_score(DEFAULT_METHOD, known[:, place], values[end - bars : end, place])[1]
            for place in range(len(COLUMNS))
        )
        for end in range(first + a_day, market.height + 1, a_day)
    ]
    return float(np.mean(flagged))


@dataclass(frozen=True, slots=True)
class DriftStudy:
    """A study as far as its markets are finished.

    Parameters
    ----------
    folder
        Where each market's findings are kept; another plan or code has another.
    """

    plan: DriftPlan
    folder: Path

    def rows(self, tell: Callable[[str], None]) -> Iterator[EvaluationRow]:
        """Finish the markets, then one table."""
        mark = settings_fingerprint({"plan": asdict(self.plan), "code": code_fingerprint(*_CODE)})
        found = kept_markets(
            self.plan,
            self.folder / f"{ROOM}-{mark[:12]}",
            lambda seed: judged_market(seed, self.plan),
            lambda market: tell(f"{market} is judged"),
        )
        yield from study_rows(found, self.plan)


def kept_markets(
    plan: DriftPlan,
    folder: Path,
    find: Callable[[int], Mapping[str, Any]],
    after_market: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Findings of every market of a plan, by its seed; those that are in the folder are read back."""
    found: list[dict[str, Any]] = []
    for number in range(plan.markets):
        seed = plan.first_seed + number
        path = folder / f"market-{seed}.json"
        if not path.is_file():
            write_json(path, find(seed))
        found.append(json.loads(path.read_bytes()))
        after_market(f"market {number + 1} of {plan.markets}")
    return found


def judged_market(seed: int, plan: DriftPlan) -> dict[str, Any]:
    """False alarms of one market that never drifts, and delays in others that do after the same days."""
    pace = plan.pace
    a_day = pace.bars(DAY)
    first = plan.reference_days * a_day
    market = clustered_market(first + plan.live_days * a_day, seed)
    reference = market[:first].to_numpy()
    watch = HourlyWatch.of(reference, WATCHED, pace, plan.rate)
    faulty = seed < plan.first_seed + plan.faulty_markets
    rivals = _rivals(reference, plan) if faulty else {}
    detectors = [
        Detector(OURS, lambda *asked: our_hours_seen(watch, *asked)),
        *(Detector(name, rival.hours_seen) for name, rival in rivals.items()),
    ]
    known = evenly(reference, plan.known_rows)
    asked, counted = (market[: first + days * a_day] for days in (plan.default_days, plan.calibrated_days))
    faults = [*GOALS, NOTHING] if faulty else [REVERSED, DECAYED, NOTHING]
    return {
        "days": plan.live_days,
        "false_alarm_days": false_alarm_days(watch, market, first),
        "rivals": {name: rival.false_alarm_days(counted, first) for name, rival in rivals.items()},
        "default_alarm_share": {
            f"{window.days} d": default_alarm_share(known, asked, first, pace.bars(window), a_day)
            for window in plan.method_windows
        },
        "hours": {
            fault: {detector.name: _delays(detector, market, fault, plan, seed) for detector in detectors}
            for fault in faults
        },
    }


def _rivals(reference: Float64Array, plan: DriftPlan) -> dict[str, EvidentlyWatch]:
    paths = EvidentlyPaths()
    return {
        f"{method}, {window.days} d": EvidentlyWatch.of(reference, plan, method, window, paths)
        for window in plan.method_windows
        for method in plan.methods
    }


def _delays(
    detector: Detector, market: pl.DataFrame, fault: str, plan: DriftPlan, seed: int
) -> list[float | None]:
    """Hours until a fault is seen: in each feature, or in the relation at each start."""
    patience = patience_days(fault, plan) * plan.pace.bars(DAY)
    if fault in FEATURE_FAULTS:
        row = fault_row(plan, seed)
        last = row + patience
        planted = {name: with_feature_fault(market[:last], fault, column=name, row=row) for name in FEATURES}
        return [detector.hours_seen(faulty, row, name, last) for name, faulty in planted.items()]
    rows = [
        fault_row(plan, seed, start)
        for start in range(plan.relation_starts if fault == REVERSED else plan.decay_starts)
    ]
    return [
        detector.hours_seen(
            with_relation_fault(market[: row + patience], fault, row, plan, seed),
            row,
            AGREEMENT,
            row + patience,
        )
        for row in rows
    ]


def fault_row(plan: DriftPlan, seed: int, start: int = 0) -> int:
    """Row at which a fault begins; not all at the same hour of a day."""
    a_day = plan.pace.bars(DAY)
    return (plan.reference_days + plan.fault_day + start * plan.start_days) * a_day + 7 * seed % a_day


def patience_days(fault: str, plan: DriftPlan) -> int:
    """Days after which a fault counts as not seen."""
    return plan.patience_days + (plan.decay_days if fault in (DECAYED, NOTHING) else 0)


def with_relation_fault(
    market: pl.DataFrame, fault: str, row: int, plan: DriftPlan, seed: int
) -> pl.DataFrame:
    """Reverse a relation, let it decay, or leave it as it is."""
    if fault == REVERSED:
        return with_reversed_relation(market, row)
    if fault == DECAYED:
        return with_decayed_relation(market, row, rows=plan.decay_days * plan.pace.bars(DAY), seed=seed)
    return market


def study_rows(found: Sequence[Mapping[str, Any]], plan: DriftPlan) -> Iterator[EvaluationRow]:
    """False alarms a month with their upper bound, the default rules', and each fault's delays."""
    alarms = false_alarm_row(f"{ROOM}/false-alarms", found, plan.rate.a_month)
    yield replace(alarms, goal=FALSE_ALARM_GOAL, met=bool((alarms.upper or 0) <= FALSE_ALARM_GOAL))
    compared = [one for one in found if one["rivals"]]
    for name in compared[0]["rivals"]:
        days = [one["rivals"][name] / plan.calibrated_days * DAYS_A_MONTH for one in compared]
        mark = name.replace(",", "").replace(" ", "-")
        yield EvaluationRow(
            f"{ROOM}/false-alarms-{mark}",
            float(np.mean(days)),
            f"a month, of {len(compared) * plan.calibrated_days / DAYS_A_MONTH:.0f}",
            reference="stated",
            reference_value=plan.rate.a_month,
        )
    for window in found[0]["default_alarm_share"]:
        share = float(np.mean([one["default_alarm_share"][window] for one in found]))
        yield EvaluationRow(f"{ROOM}/default-rules-{window.replace(' ', '')}", share, "of days flagged")
    for fault, goal in GOALS.items():
        patience = patience_days(fault, plan) * 24.0
        yield from fault_rows(fault, goal, [one["hours"][fault] for one in compared], patience=patience)
    for fault in (REVERSED, DECAYED):
        yield from every_market_rows(fault, found, patience=patience_days(fault, plan) * 24.0)
    yield from chance_rows([one["hours"][NOTHING] for one in compared], days=patience_days(NOTHING, plan))


def false_alarm_row(name: str, found: Sequence[Mapping[str, Any]], stated: float) -> EvaluationRow:
    """Days with a false alarm a month, with Student's bounds over the markets."""
    monthly = np.array([one["false_alarm_days"] / one["days"] * DAYS_A_MONTH for one in found])
    error = float(monthly.std(ddof=1) / len(monthly) ** 0.5 * t.ppf(CONFIDENCE, len(monthly) - 1))
    mean = float(monthly.mean())
    return EvaluationRow(
        name,
        mean,
        f"a month, of {sum(one['days'] for one in found) / DAYS_A_MONTH:.0f}",
        lower=mean - error,
        upper=mean + error,
        reference="stated",
        reference_value=stated,
    )


def every_market_rows(
    fault: str, found: Sequence[Mapping[str, Any]], *, patience: float
) -> Iterator[EvaluationRow]:
    """Median hours in all markets, those where Evidently was not asked among them, and the share seen."""
    hours = np.array(
        [patience if h is None else h for one in found for h in one["hours"][fault][OURS]], dtype=np.float64
    )
    name = f"{ROOM}/{fault.replace(' ', '-')}-in-every-market"
    yield EvaluationRow(f"{name}-median", float(np.median(hours)), "hours")
    yield EvaluationRow(
        f"{name}-seen", float(np.mean(hours < patience)), f"of {len(hours)} in {patience:.0f} h"
    )


def chance_rows(
    hours: Sequence[Mapping[str, Sequence[float | None]]], *, days: int
) -> Iterator[EvaluationRow]:
    """Share of calm stretches, as long as a decay is waited for, in which the agreement is alarmed."""
    for name in hours[0]:
        seen = [h is not None for one in hours for h in one[name]]
        mark = name.replace(",", "").replace(" ", "-")
        yield EvaluationRow(f"{ROOM}/by-chance-{mark}", float(np.mean(seen)), f"of {len(seen)} in {days} d")


def fault_rows(
    fault: str,
    goal: float | None,
    hours: Sequence[Mapping[str, Sequence[float | None]]],
    *,
    patience: float,
) -> Iterator[EvaluationRow]:
    """Median hours until a fault is seen, and the share within the goal, beside Evidently's best method.

    Parameters
    ----------
    patience
        Hours after which nobody looks any more; a fault that is not seen counts with as many.
    """
    delays = {
        name: np.array([patience if h is None else h for one in hours for h in one[name]])
        for name in hours[0]
    }
    medians = {name: float(np.median(values)) for name, values in delays.items()}
    within = patience if goal is None else goal
    seen = {name: float(np.mean((values <= within) & (values < patience))) for name, values in delays.items()}
    rivals = [name for name in medians if name != OURS]
    best = min(rivals, key=lambda rival: (medians[rival], -seen[rival]))
    name = f"{ROOM}/{fault.replace(' ', '-')}"
    yield EvaluationRow(
        f"{name}-median",
        medians[OURS],
        "hours",
        goal=goal,
        met=medians[OURS] <= min(within, medians[best]),
        reference=f"Evidently, {best}",
        reference_value=medians[best],
    )
    yield EvaluationRow(
        f"{name}-seen",
        seen[OURS],
        f"of {len(delays[OURS])} in {within:.0f} h",
        reference=f"Evidently, {best}",
        reference_value=seen[best],
    )
