"""The gate: whether a challenger may become champion, by tests set beforehand, generic over any model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
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
class Margin:
    """What a refresh may lose against the champion.

    Parameters
    ----------
    value
        0.005 for half a percent of the champion's mean log loss; 0.003 for 0.3 point of accuracy.
    relative
        Whether it is a share of the champion's mean loss, or in the units of the loss.
    """

    value: float
    relative: bool

    def of(self, mean_loss: float) -> float:
        """Return it in the units of the loss."""
        return self.value * mean_loss if self.relative else self.value


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What is asked of a challenger, set before any score is known.

    Parameters
    ----------
    non_inferiority_margin
        What a refresh may lose.
    coverage_tolerance
        Greatest distance of the interval's coverage from the promised one that may be shown.
    calibration_limit
        Greatest expected calibration error of the probability of up that may be shown.
    """

    non_inferiority_margin: Margin
    coverage_tolerance: float
    calibration_limit: float
    bootstrap: BootstrapSettings


# Set before any score is known: a refresh may lose half a percent of log loss; coverage and calibration
# may be shown to be off by five points.
REFRESH_MARGIN = Margin(0.005, relative=True)
COVERAGE_TOLERANCE = 0.05
CALIBRATION_LIMIT = 0.05


def platform_policy(bootstrap: BootstrapSettings) -> GatePolicy:
    """What this platform asks of a challenger."""
    return GatePolicy(REFRESH_MARGIN, COVERAGE_TOLERANCE, CALIBRATION_LIMIT, bootstrap)


@dataclass(frozen=True, slots=True)
class Bound:
    """A measured quantity that must stay within a limit.

    Parameters
    ----------
    lower
        What it is shown to be at least: the lower end of its interval, or the value where nothing is drawn.
    """

    name: str
    value: float
    lower: float
    limit: float

    @classmethod
    def around(cls, promised: float, found: Score, *, name: str, limit: float) -> Self:
        """Distance from what was promised; at least that of the nearer end of the interval."""
        lower = np.max([found.lower - promised, promised - found.upper, 0.0])
        return cls(name, abs(found.value - promised), float(lower), limit)

    @property
    def kept(self) -> bool:
        """Whether it is not shown to be beyond; few rows alone are no fault of a forecast."""
        return self.lower <= self.limit


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """A check of the loaded bundle itself."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Losses of two forecasters on the same rows, lower is better.

    A NaN is a row without a known outcome, or one that a forecaster did not answer. Only rows that both
    answer are compared, and the challenger must answer each row that the other does.

    Parameters
    ----------
    champion
        Beside a baseline, the champion's own losses in the loss that the baseline competes in; None when
        there is no champion, and beside the champion itself.
    """

    other: Float64Array
    challenger: Float64Array
    champion: Float64Array | None = None

    @property
    def rows_of_both(self) -> npt.NDArray[np.bool_]:
        """Mask of the rows that both answer."""
        return np.isfinite(self.other) & np.isfinite(self.challenger)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a challenger on the final stretch; all losses are per row and on the same rows.

    Parameters
    ----------
    times
        Open time of each row.
    champion
        Primary losses beside the champion's, NaN before both trainings ended; None for a first version.
    baselines
        Each baseline by the loss that it competes in.
    scores
        The challenger's metrics, for the alarm.
    same_kind, refresh_cause
        Whether the champion is of the same kind, and the recorded cause of the retrain if there is one.
    acknowledged_by
        Who answered for the alarm of this version, if anybody.
    champion_unable
        Why the champion cannot answer these rows, such as other horizons; it is then not compared with.
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
    champion_unable: str | None = None


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A paired comparison: the interval of the other's loss minus the challenger's against a margin.

    Parameters
    ----------
    champion
        The champion's own interval against the same baseline on the same rows, of a refresh.
    """

    against: str
    interval: Interval
    margin: float
    champion: Interval | None = None

    @property
    def passed(self) -> bool:
        """Whether the lower end is above the margin."""
        return self.interval.lower > self.margin

    @property
    def excused(self) -> bool:
        """Whether the champion does not pass either, and the challenger is not shown to be worse.

        A refusal leaves the champion: what it cannot show on these rows itself is no reason to keep it.
        """
        if self.passed or self.champion is None:
            return False
        return not self.champion.lower > self.margin and self.interval.upper > self.margin


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer with everything that it rests on.

    Parameters
    ----------
    first_version
        Whether there was no champion. Then, and where it cannot answer, the superior door is against the
        baselines only.
    reasons
        Every condition that failed; when promoted, why, in one sentence.
    """

    promote: bool
    door: Door
    first_version: bool
    reasons: tuple[str, ...]
    tests: tuple[PairedTest, ...]
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
    refresh = evidence.champion is not None and evidence.same_kind and bool(evidence.refresh_cause)
    door: Door = "non_inferior_refresh" if refresh else "superior"
    tests = _tests(evidence, policy, refresh=refresh)
    alarms = leak_alarms(evidence.scores)
    reasons = [*_gaps(evidence), *_failures(evidence, tests)]
    if evidence.acknowledged_by is None:
        reasons += [f"leak alarm: {alarm}; a person must acknowledge it" for alarm in alarms]
    return Decision(
        promote=not reasons,
        door=door,
        first_version=evidence.champion is None and evidence.champion_unable is None,
        reasons=tuple(reasons) or (_admission(evidence, tests, door, alarmed=bool(alarms)),),
        tests=tests,
        alarms=alarms,
        bounds=tuple(evidence.bounds),
        canaries=tuple(evidence.canaries),
    )


def _comparisons(evidence: Evidence) -> dict[str, Comparison]:
    champion = {} if evidence.champion is None else {"champion": evidence.champion}
    return {**evidence.baselines, **champion}


def _gaps(evidence: Evidence) -> list[str]:
    """Name what is missing for a fair comparison."""
    reasons = [
        f"no {what} was given, and nothing passes that was not compared and checked"
        for what, given in (("baseline", evidence.baselines), ("canary", evidence.canaries))
        if not given
    ]
    for name, losses in _comparisons(evidence).items():
        left_out = int((np.isfinite(losses.other) & ~np.isfinite(losses.challenger)).sum())
        if left_out:
            reasons.append(f"the challenger leaves out {left_out} rows that {name} answers")
    return reasons


def _failures(evidence: Evidence, tests: Sequence[PairedTest]) -> list[str]:
    """Name what was measured and does not hold."""
    comparisons = [
        f"not shown to be {'no worse' if test.margin < 0 else 'better'} than {test.against}: "
        f"the loss difference is {test.interval.mean:+.5f} "
        f"[{test.interval.lower:+.5f}, {test.interval.upper:+.5f}], "
        f"its lower end must be above {test.margin:+.5f}; {test.interval.least_detectable:.5f} was detectable"
        for test in tests
        if not test.passed and not test.excused
    ]
    bounds = [
        f"{bound.name} is {bound.value:.4f}, and at least {bound.lower:.4f} is shown; "
        f"at most {bound.limit:.4f} is allowed"
        for bound in evidence.bounds
        if not bound.kept
    ]
    canaries = [f"canary {canary.name}: {canary.detail}" for canary in evidence.canaries if not canary.passed]
    return [*comparisons, *bounds, *canaries]


def _tests(evidence: Evidence, policy: GatePolicy, *, refresh: bool) -> tuple[PairedTest, ...]:
    tests = [
        PairedTest(
            name,
            _interval(losses, evidence, policy),
            margin=0.0,
            champion=_interval(Comparison(losses.other, losses.champion), evidence, policy)
            if refresh and losses.champion is not None
            else None,
        )
        for name, losses in evidence.baselines.items()
    ]
    if evidence.champion is not None:
        margin = -_allowed_loss(evidence.champion, policy) if refresh else 0.0
        tests.append(PairedTest("champion", _interval(evidence.champion, evidence, policy), margin))
    return tuple(tests)


def _interval(losses: Comparison, evidence: Evidence, policy: GatePolicy) -> Interval:
    if not losses.rows_of_both.any():
        return Interval(math.nan, math.nan, math.nan, math.nan, rows=0)
    return paired_interval(losses.other, losses.challenger, evidence.times, policy.bootstrap)


def _allowed_loss(losses: Comparison, policy: GatePolicy) -> float:
    both = losses.rows_of_both
    return policy.non_inferiority_margin.of(float(losses.other[both].mean())) if both.any() else 0.0


def _admission(evidence: Evidence, tests: Sequence[PairedTest], door: Door, *, alarmed: bool) -> str:
    others = ", ".join(evidence.baselines)
    answered = f"; {evidence.acknowledged_by} answers for the leak alarm" if alarmed else ""
    if evidence.champion_unable is not None:
        return (
            f"better than every baseline ({others}); the champion cannot be compared with: "
            f"{evidence.champion_unable}{answered}"
        )
    if evidence.champion is None:
        return (
            f"first version: better than every baseline ({others}); "
            f"there is no champion to compare with{answered}"
        )
    if door == "superior":
        return f"better than the champion and than every baseline ({others}){answered}"
    beaten = ", ".join(test.against for test in tests if test.passed and test.against in evidence.baselines)
    unproved = ", ".join(test.against for test in tests if test.excused)
    shown = [
        *([f"better than {beaten}"] if beaten else []),
        *([f"neither it nor the champion is shown to be better than {unproved}"] if unproved else []),
    ]
    return (
        f"not worse than the champion, refreshed because of {evidence.refresh_cause}; "
        f"{'; '.join(shown)}{answered}"
    )
