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
        What makes two verdicts the same one: of a retrain, its window; otherwise the first window of the
        drift that still lasts. So a person hears once of a drift and once of each retrain.
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

    A live score that fell asks for a retrain, and so does drift that lasts; neither within the cool-down
    after the last one. Drift alone asks once: while the same drift goes on, only a fallen score asks again,
    since a retrain that the gate refused would be refused every week.

    Parameters
    ----------
    drift
        From `cryptoai_monitoring.drift.drift_table`.
    degraded
        Whether the live score fell below what was promised.
    earlier
        Verdicts on earlier windows of the same model, oldest first; a window judged again counts once.
    """
    drifted = tuple(drift.filter("drifted").sort("excess", descending=True)["feature"].to_list())
    before = [judged for judged in earlier if judged.window_end < window_end]
    lasting = _last_run_of_drift(before) if drifted else []
    began = lasting[0].window_end if lasting else window_end
    retrains = [judged.window_end for judged in before if judged.retrain]

    def answer(action: Action, reason: str) -> Verdict:
        about = window_end if action == "retrain" else began
        cause = f"{action}:{model}:{about:%Y-%m-%dT%H:%M}"
        return Verdict(action, reason, cause, window_end, drifted, degraded)

    told = [f"{len(drifted)} of {drift.height} features drifted, most of all {drifted[0]}"] if drifted else []
    told += ["the live score fell below what was promised"] if degraded else []
    found = " and ".join(told)
    if not found:
        return answer("keep", f"none of {drift.height} features drifted")
    if retrains and window_end - retrains[-1] < policy.cool_down:
        return answer("watch", f"{found}; the last retrain was asked for at {retrains[-1]:%Y-%m-%d %H:%M}")
    if degraded:
        return answer("retrain", found)
    if any(judged.retrain for judged in lasting):
        return answer("watch", f"{found}; this drift has had its retrain, and the live score holds")
    if len(lasting) + 1 >= policy.persistence:
        return answer("retrain", f"{found}, for {len(lasting) + 1} windows in a row")
    return answer("watch", f"{found}; not yet for {policy.persistence} windows in a row")


def _last_run_of_drift(earlier: Sequence[Judged]) -> list[Judged]:
    """Newest verdicts that drifted without a calm one between them, oldest first."""
    calm = max((place for place, judged in enumerate(earlier) if not judged.drifted), default=-1)
    return list(earlier[calm + 1 :])
