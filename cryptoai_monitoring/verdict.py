"""The verdict: from drift and live scores to what should be done, in one pure function."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

Action = Literal["keep", "watch", "retrain"]


@dataclass(frozen=True, slots=True)
class VerdictPolicy:
    """When drift is acted upon.

    Parameters
    ----------
    persistence
        Windows in a row that must drift before a retrain; one alone is watched.
    cool_down
        Time after a retrain in which no other is asked for.
    """

    persistence: int
    cool_down: timedelta


@dataclass(frozen=True, slots=True)
class Judged:
    """An earlier verdict, as the next one needs to know it."""

    window_end: datetime
    drifted: bool
    retrain: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What should be done, and why.

    Parameters
    ----------
    cause
        Names the window and what drifted: asked twice for the same cause, the answer is one retrain.
    drifted
        Features, the largest excess first.
    """

    action: Action
    reason: str
    cause: str
    window_end: datetime
    drifted: tuple[str, ...]
    degraded: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "action": self.action,
            "reason": self.reason,
            "cause": self.cause,
            "window_end": self.window_end.isoformat(),
            "drifted": list(self.drifted),
            "degraded": self.degraded,
        }


def verdict(
    drift: pl.DataFrame,
    *,
    model: str,
    window_end: datetime,
    degraded: bool,
    earlier: Sequence[Judged],
    policy: VerdictPolicy,
) -> Verdict:
    """Decide on one window.

    Drift that lasts asks for a retrain; so does drift of one window together with evidence that the score
    fell. Drift alone never retrains forever: within the cool-down after a retrain it is watched.

    Parameters
    ----------
    drift
        From `cryptoai_monitoring.drift.drift_table`.
    earlier
        Verdicts on earlier windows of the same model, oldest first; a window judged again counts once.
    """
    drifted = tuple(drift.filter("drifted").sort("excess", descending=True)["feature"].to_list())
    before = [judged for judged in earlier if judged.window_end < window_end]
    cause = f"drift:{model}:{window_end:%Y-%m-%dT%H:%M}"

    def answer(action: Action, reason: str) -> Verdict:
        return Verdict(action, reason, cause, window_end, drifted, degraded)

    if not drifted:
        return answer("keep", f"none of {drift.height} features drifted")
    told = f"{len(drifted)} of {drift.height} features drifted, most of all {drifted[0]}"
    retrains = [judged.window_end for judged in before if judged.retrain]
    if retrains and window_end - retrains[-1] < policy.cool_down:
        return answer("watch", f"{told}; the last retrain was asked for at {retrains[-1]:%Y-%m-%d %H:%M}")
    recent = (
        [judged.drifted for judged in before[-(policy.persistence - 1) :]] if policy.persistence > 1 else []
    )
    lasting = len(recent) == policy.persistence - 1 and all(recent)
    if degraded:
        return answer("retrain", f"{told}, and the live score fell")
    if lasting:
        return answer("retrain", f"{told}, for {policy.persistence} windows in a row")
    return answer("watch", f"{told}; not yet for {policy.persistence} windows in a row")
