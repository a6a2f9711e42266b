"""The gate: whether a challenger may become champion, by tests set beforehand, generic over any model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.scoring import BootstrapSettings, Interval, Score, paired_interval

Door = Literal["superior", "non_inferior_refresh"]

# Scores that a forecast of prices does not reach honestly.
LEAK_ALARMS: Mapping[str, float] = {
    "accuracy": 0.58,
    "rank_ic": 0.25,
    "r2": 0.05,
    "volatility_rank_ic": 0.90,
    "sharpe": 5.0,
}


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What is asked of a challenger, set before any score is known.

    Parameters
    ----------
    non_inferiority_margin
        Share of the champion's mean loss that a refresh may lose, such as 0.005.
    coverage_tolerance
        Greatest distance of the interval's coverage from the promised one.
    calibration_limit
        Greatest expected calibration error of the probability of up.
    """

    non_inferiority_margin: float
    coverage_tolerance: float
    calibration_limit: float
    bootstrap: BootstrapSettings


@dataclass(frozen=True, slots=True)
class Bound:
    """A measured quantity that must stay within a limit."""

    name: str
    value: float
    limit: float

    @property
    def kept(self) -> bool:
        """Whether it does."""
        return self.value <= self.limit


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """A check of the loaded bundle itself."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Losses of two forecasters on the same rows, lower is better; NaN when not known."""

    other: Float64Array
    challenger: Float64Array


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a challenger on the final stretch; all losses are per row and on the same rows.

    Parameters
    ----------
    times
        Open time of each row.
    champion
        Primary losses beside the champion's; None for a first version.
    baselines
        Each baseline by the loss that it competes in.
    scores
        The challenger's metrics, for the alarm.
    same_kind, refresh_cause
        Whether the champion is of the same kind, and the recorded cause of the retrain if there is one.
    acknowledged_by
        Who answered for the alarm of this version, if anybody.
    """

    times: pl.Series
    champion: Comparison | None
    baselines: Mapping[str, Comparison]
    scores: Sequence[Score]
    bounds: Sequence[Bound]
    canaries: Sequence[CanaryResult]
    same_kind: bool
    refresh_cause: str | None
    acknowledged_by: str | None


@dataclass(frozen=True, slots=True)
class Test:
    """A paired comparison: the interval of the other's loss minus the challenger's against a margin."""

    against: str
    interval: Interval
    margin: float

    @property
    def passed(self) -> bool:
        """Whether the lower end is above the margin."""
        return self.interval.lower > self.margin


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer with everything that it rests on."""

    promote: bool
    door: Door
    reasons: tuple[str, ...]
    tests: tuple[Test, ...]
    alarms: tuple[str, ...]
    bounds: tuple[Bound, ...]
    canaries: tuple[CanaryResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


def leak_alarms(scores: Sequence[Score]) -> tuple[str, ...]:
    """Name the scores whose interval's lower end is too good to be true."""
    alarms = []
    for score in scores:
        metric = score.name.rpartition("/")[2]
        limit = LEAK_ALARMS.get(metric)
        # A correlation may be too good in either direction: its nearer end counts.
        lower = max(score.lower, -score.upper) if metric == "rank_ic" else score.lower
        if limit is not None and lower >= limit:
            alarms.append(f"{score.name} is at least {lower:.3f}; from {limit} on it is taken for a leak")
    return tuple(alarms)


def decide(evidence: Evidence, policy: GatePolicy) -> Decision:
    """Decide by the door that the evidence leads to; every failed condition is a reason."""
    refresh = evidence.champion is not None and evidence.same_kind and evidence.refresh_cause is not None
    door: Door = "non_inferior_refresh" if refresh else "superior"
    tests = _tests(evidence, policy, refresh=refresh)
    alarms = leak_alarms(evidence.scores)
    reasons = [
        f"not shown to be better than {test.against}: the loss difference is "
        f"{test.interval.mean:+.5f} [{test.interval.lower:+.5f}, {test.interval.upper:+.5f}], "
        f"its lower end must be above {test.margin:+.5f}; {test.interval.least_detectable:.5f} was detectable"
        for test in tests
        if not test.passed
    ]
    reasons += [
        f"{bound.name} is {bound.value:.4f}, at most {bound.limit:.4f} is allowed"
        for bound in evidence.bounds
        if not bound.kept
    ]
    reasons += [f"canary {canary.name}: {canary.detail}" for canary in evidence.canaries if not canary.passed]
    if evidence.acknowledged_by is None:
        reasons += [f"leak alarm: {alarm}; a person must acknowledge it" for alarm in alarms]
    return Decision(
        promote=not reasons,
        door=door,
        reasons=tuple(reasons) or (_admission(evidence, door),),
        tests=tests,
        alarms=alarms,
        bounds=tuple(evidence.bounds),
        canaries=tuple(evidence.canaries),
    )


def _tests(evidence: Evidence, policy: GatePolicy, *, refresh: bool) -> tuple[Test, ...]:
    tests = [
        Test(name, _difference(losses, evidence, policy), margin=0.0)
        for name, losses in evidence.baselines.items()
    ]
    if evidence.champion is not None:
        interval = _difference(evidence.champion, evidence, policy)
        allowed = policy.non_inferiority_margin * float(np.nanmean(evidence.champion.other))
        tests.append(Test("champion", interval, margin=-allowed if refresh else 0.0))
    return tuple(tests)


def _difference(losses: Comparison, evidence: Evidence, policy: GatePolicy) -> Interval:
    return paired_interval(losses.other, losses.challenger, evidence.times, policy.bootstrap)


def _admission(evidence: Evidence, door: Door) -> str:
    others = ", ".join(evidence.baselines)
    if evidence.champion is None:
        return f"first version: better than every baseline ({others}); there is no champion to compare with"
    if door == "superior":
        return f"better than the champion and than every baseline ({others})"
    return f"not worse than the champion, refreshed because of {evidence.refresh_cause}; better than {others}"
