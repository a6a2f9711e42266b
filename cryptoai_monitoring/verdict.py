"""The verdict: from drift and live scores to what should be done, in one pure function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal, Self

Action = Literal["keep", "watch", "retrain", "roll_back", "stop"]
# The live score against the promise: too few outcomes, as promised, below it but within chance, below it.
Standing = Literal["unknown", "holds", "sags", "fell"]


@dataclass(frozen=True, slots=True)
class VerdictPolicy:
    """When evidence is acted upon.

    Parameters
    ----------
    persistence, windows
        Of the last so many windows so many must drift before a retrain, or must be below what knows nothing
        before a stop; fewer are watched.
    cool_down
        Time after a retrain in which no other is asked for; see `fallback`.
    release
        Excess over the thresholds, under 1, to which a drift must fall before it is over.
    fallback
        Time after which a training is due without any evidence; None is never. Both are counted in days of
        the calendar, UTC: whoever is judged daily, a minute sooner or later, trains weekly every seventh day.
    """

    persistence: int
    windows: int
    cool_down: timedelta
    release: float
    fallback: timedelta | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at the end of a window.

    Parameters
    ----------
    champion
        Digest of the bundle that is judged.
    trained_at
        As of when its data were read.
    drifted
        Columns beyond their thresholds, the largest excess first.
    excess
        Largest of all columns, over the threshold.
    watched
        Columns that were looked at.
    standing
        Of the live score against what was promised.
    worse_than
        In the time of watch after a promotion: the version before, when its forecasts of the same rows score
        higher; None otherwise.
    harmful
        Whether the live score is below that of even odds.
    told_apart
        By what a classifier tells the newest week from the training rows; empty when it does not.
    """

    window_end: datetime
    champion: str
    trained_at: datetime
    drifted: tuple[str, ...]
    excess: float
    watched: int
    standing: Standing
    worse_than: int | None
    harmful: bool
    told_apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """An earlier verdict, as the next one needs to know it."""

    window_end: datetime
    champion: str
    drifted: bool
    harmful: bool
    action: Action
    trains: bool
    told_apart: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What should be done, and why.

    Parameters
    ----------
    cause
        What makes two verdicts the same one: of an action, its window; otherwise the first window of the
        drift that still lasts. So a person hears once of a drift and once of each action.
    drifting
        Whether a drift lasts, also while it is below the thresholds again but not yet over.
    trains
        Whether a training is asked for: by each retrain, and by a stop outside of the cool-down.
    """

    action: Action
    reason: str
    cause: str
    evidence: Evidence
    drifting: bool
    trains: bool

    @property
    def judged(self) -> Judged:
        """As the next verdict needs to know it."""
        found = self.evidence
        return Judged(
            found.window_end,
            found.champion,
            self.drifting,
            found.harmful,
            self.action,
            self.trains,
            bool(found.told_apart),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        found = self.evidence
        return {
            "action": self.action,
            "reason": self.reason,
            "cause": self.cause,
            "window_end": found.window_end.isoformat(),
            "champion": found.champion,
            "trained_at": found.trained_at.isoformat(),
            "drifted": list(found.drifted),
            "excess": found.excess,
            "watched": found.watched,
            "standing": found.standing,
            "worse_than": found.worse_than,
            "harmful": found.harmful,
            "told_apart": list(found.told_apart),
            "drifting": self.drifting,
            "trains": self.trains,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave; what an earlier version of this code wrote says less."""
        names = ("champion", "excess", "watched", "standing", "worse_than", "harmful")
        absent = {"champion": "", "excess": 0.0, "watched": 0, "standing": "unknown", "worse_than": None}
        known = {**absent, "harmful": False, **{name: record[name] for name in names if name in record}}
        end = datetime.fromisoformat(record["window_end"])
        told = tuple(record.get("told_apart", ()))
        evidence = Evidence(
            window_end=end,
            trained_at=datetime.fromisoformat(record.get("trained_at", record["window_end"])),
            drifted=tuple(record["drifted"]),
            told_apart=told,
            **known,
        )
        drifting = bool(record.get("drifting", record["drifted"]))
        trains = bool(record.get("trains", record["action"] == "retrain"))
        return cls(record["action"], record["reason"], record["cause"], evidence, drifting, trains)


def verdict(evidence: Evidence, *, model: str, earlier: Sequence[Judged], policy: VerdictPolicy) -> Verdict:
    """Decide on one window.

    The worst comes first. A champion that its predecessor beats on the same rows is rolled back; one that is
    below even odds, in as many windows as persistence asks for, has to be silent, and while it is, trainings
    are asked for that may replace it. A live score that fell asks for a retrain, and so does drift that lasts
    while the score is not shown to hold. None of them asks within the cool-down. Drift alone asks once: while
    the same drift goes on, only a fallen score asks again, since a retrain that the gate refused would be
    refused every time. What a classifier alone tells apart is watched: it says that something changed, and
    not that the champion knows less. With drift or without any evidence, a training is due after the
    fallback's time: a market that drifts is trained on no less often than a calm one.

    Parameters
    ----------
    earlier
        Verdicts on earlier windows of the same model, oldest first; a window judged again counts once.
    """
    before = [judged for judged in earlier if judged.window_end < evidence.window_end]
    drifting = _drifting(evidence, before, policy)
    lasting = _episode(before, policy) if drifting else []
    lasting_told = [] if drifting or not evidence.told_apart else _told_until_now(before)
    began = next((judged.window_end for judged in (*lasting, *lasting_told)), evidence.window_end)

    retrains = [judged.window_end for judged in before if judged.trains]
    cooling = bool(retrains) and _days(retrains[-1], evidence.window_end) < policy.cool_down

    def answer(action: Action, reason: str) -> Verdict:
        about = began if action in ("keep", "watch") else evidence.window_end
        cause = f"{action}:{model}:{about:%Y-%m-%dT%H:%M}"
        trains = action == "retrain" or (action == "stop" and not cooling)
        return Verdict(action, reason, cause, evidence, drifting, trains)

    found = _told(evidence, drifting)
    if evidence.worse_than is not None:
        return answer("roll_back", f"{found}; version {evidence.worse_than} scores higher on the same rows")
    same = [judged for judged in before if judged.champion == evidence.champion]
    harmful = _count([*(judged.harmful for judged in same), evidence.harmful], policy)
    if evidence.harmful and harmful >= policy.persistence:
        return answer("stop", f"{found}, in {harmful} of the last {policy.windows} windows")
    since = _days(max([evidence.trained_at, *retrains[-1:]]), evidence.window_end)
    overdue = policy.fallback is not None and since >= policy.fallback
    due = f"{found}; the last training is {since.days} days ago" if overdue else ""
    if evidence.standing == "fell" or drifting:
        if cooling:
            return answer(
                "watch", f"{found}; the last retrain was asked for at {retrains[-1]:%Y-%m-%d %H:%M}"
            )
        if evidence.standing == "fell":
            return answer("retrain", found)
        if due:
            return answer("retrain", due)
        if any(judged.trains for judged in lasting):
            return answer("watch", f"{found}; this drift has had its retrain")
        if evidence.standing == "holds":
            return answer("watch", f"{found}; the live score holds")
        times = _count([*(judged.drifted for judged in before), drifting], policy)
        told = f"{found}, in {times} of the last {policy.windows} windows"
        enough = times >= policy.persistence
        return answer(
            "retrain" if enough else "watch", told if enough else f"{told}, {policy.persistence} needed"
        )
    if due:
        return answer("retrain", due)
    return answer("watch" if evidence.harmful or evidence.told_apart else "keep", found)


def _drifting(evidence: Evidence, before: Sequence[Judged], policy: VerdictPolicy) -> bool:
    """Whether a drift begins, or one that lasted is not over yet."""
    went_on = bool(before) and before[-1].drifted and evidence.excess > policy.release
    return bool(evidence.drifted) or went_on


def _days(start: datetime, end: datetime) -> timedelta:
    """Days of the calendar between two times, UTC."""
    return end.astimezone(UTC).date() - start.astimezone(UTC).date()


def _told(evidence: Evidence, drifting: bool) -> str:
    told = []
    if evidence.drifted:
        count, first = len(evidence.drifted), evidence.drifted[0]
        told.append(f"{count} of {evidence.watched} features drifted, most of all {first}")
    elif drifting:
        told.append(f"the drift is not over, at {evidence.excess:.2f} of a threshold")
    if evidence.told_apart:
        told.append(f"the newest week is told from the training rows by {'; '.join(evidence.told_apart)}")
    if evidence.standing == "fell":
        told.append("the live score fell below what was promised")
    if evidence.harmful:
        told.append("the live score is below even odds")
    return " and ".join(told) or f"none of {evidence.watched} features drifted"


def _told_until_now(before: Sequence[Judged]) -> list[Judged]:
    """Newest verdicts that were told apart without a break, oldest first."""
    told = takewhile(lambda judged: judged.told_apart, reversed(before))
    return list(told)[::-1]


def _count(flags: Sequence[bool], policy: VerdictPolicy) -> int:
    return sum(flags[-policy.windows :])


def _episode(earlier: Sequence[Judged], policy: VerdictPolicy) -> list[Judged]:
    """Newest verdicts since a drift began, oldest first: so many calm ones that it cannot persist end it."""
    calm = policy.windows - policy.persistence + 1
    for end in range(len(earlier), calm - 1, -1):
        if not any(judged.drifted for judged in earlier[end - calm : end]):
            return _from_first_drift(earlier[end:])
    return _from_first_drift(earlier)


def _from_first_drift(earlier: Sequence[Judged]) -> list[Judged]:
    first = next((place for place, judged in enumerate(earlier) if judged.drifted), len(earlier))
    return list(earlier[first:])
