"""Decisions: what a person is told of the lines of the ledger, and the lines of decisions that train."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.ledger import Entry, EntryKind, Ledger
from edge_bundle.alerts import Alert, Outbox, Severity
from edge_bundle.releases import read_channel

WATCH, GATE = "the watch", "gate"
TITLES: dict[EntryKind, str] = {
    "promotion": "{model}: version {version} is champion",
    "rollback": "{model}: rolled back to version {version}",
    "refusal": "{model}: version {version} was refused",
    "abandoned": "{model}: the release of version {version} was given up",
    "admission": "{model}: version {version} waits for your approval",
    "probation": "{model}: version {version} is on probation",
    "stop": "{model}: version {version} is stopped and abstains",
    "retraining": "{model}: a training was asked for",
}
GRAVITY: dict[EntryKind, Severity] = {
    "rollback": "warning",
    "abandoned": "warning",
    "admission": "warning",
    "stop": "critical",
}
# A line of these kinds answers what waits for a person's word about its version.
ANSWERS = ("promotion", "rollback", "refusal", "acknowledgement")
RELEASES = ("promotion", "rollback")


def decision_alert(entry: Entry, *, links: Mapping[str, str], now: datetime) -> Alert | None:
    """What a person is told of a line of the ledger; None of one that decides nothing.

    A refusal for a leak alarm, a version that is stopped, and one that waits for approval stay open until a
    later line of the ledger answers them.
    """
    title = TITLES.get(entry.kind)
    if title is None:
        return None
    alarms = entry.numbers.get("alarms") or ()
    alarmed = entry.kind == "refusal" and bool(alarms)
    waits = alarmed or entry.kind in ("admission", "stop")
    kind = stopped_kind(entry.model) if entry.kind == "stop" else waiting_kind(entry.model)
    facts = [("who", entry.actor), ("line of the ledger", str(entry.id))]
    if entry.previous is not None:
        facts.append(("champion before", f"version {entry.previous}"))
    facts += [("leak alarm", str(alarm)) for alarm in alarms]
    facts += _tests(entry.numbers)
    return Alert(
        cause=f"ledger:{entry.id}",
        severity="warning" if alarmed else GRAVITY.get(entry.kind, "info"),
        title=title.format(model=entry.model, version=entry.version),
        summary=entry.reason,
        facts=tuple(facts),
        links=tuple(links.items()),
        raised_at=now,
        kind=kind if waits else "",
        about=(str(entry.version),) if waits else (),
    )


def waiting_kind(model: str) -> str:
    """What the alerts about versions that wait for a person's word have in common."""
    return f"a person's word on {model}"


def stopped_kind(model: str) -> str:
    """What the alerts about versions that were stopped have in common."""
    return f"a stop of {model}"


def settle(outbox: Outbox, entry: Entry, now: datetime) -> None:
    """Resolve what a line of the ledger answers: what waits of its version, stops of those it ends."""
    if entry.kind in ANSWERS:
        for kind in (waiting_kind(entry.model), stopped_kind(entry.model)):
            outbox.well(kind, [str(entry.version)], now)
    if entry.kind in RELEASES:
        outbox.unwell(stopped_kind(entry.model), (), now)


def _tests(numbers: Mapping[str, object]) -> list[tuple[str, str]]:
    """Loss differences of the gate's tests, also of a promotion, whose line holds the decision within."""
    decision = numbers.get("decision", numbers)
    tests = decision.get("tests", ()) if isinstance(decision, Mapping) else ()
    return [
        (
            f"against {test['against']}",
            f"loss lower by {test['interval']['mean']:.3g}, from {test['interval']['lower']:.3g} to "
            f"{test['interval']['upper']:.3g}; over {test['margin']:.3g} needed",
        )
        for test in tests
    ]


def note_retraining(home: Home, *, cause: str, reason: str, at: datetime) -> bool:
    """Write that a training is asked for, once a cause, however often the one who asks is killed.

    Returns
    -------
    bool
        Whether the line is new.
    """
    ledger, model = home.ledger, home.market.model
    if any(entry.numbers.get("cause") == cause for entry in retrainings(ledger, model)):
        return False
    champion = champion_version(home)
    ledger.append(
        "retraining",
        model=model,
        version=champion or 0,
        previous=champion,
        actor=WATCH,
        reason=reason,
        numbers={"cause": cause},
        at=at,
    )
    return True


def retrainings(ledger: Ledger, model: str) -> Sequence[Entry]:
    """Lines of trainings that were asked for, oldest first."""
    return [entry for entry in ledger.entries(model) if entry.kind == "retraining"]


def champion_version(home: Home) -> int | None:
    """Version that is served; None before the first release."""
    channel = read_channel(home.releases, home.market.model)
    return channel.champion.version if channel and channel.champion else None


def note_admission(home: Home, decision: Mapping[str, object], *, version: int, at: datetime) -> bool:
    """Write that the gate would promote a version and a person has the last word, once a version.

    Returns
    -------
    bool
        Whether the line is new.
    """
    reason = "the gate would promote it; by the setting CRYPTOAI_APPROVAL a person decides"
    return note_word(home, "admission", decision, version=version, reason=reason, at=at)


def note_word(
    home: Home,
    kind: Literal["admission", "probation"],
    decision: Mapping[str, object],
    *,
    version: int,
    reason: str,
    at: datetime,
) -> bool:
    """Write that the gate would promote a version and the last word is another's, once a version.

    Returns
    -------
    bool
        Whether the line is new.
    """
    ledger, model = home.ledger, home.market.model
    known = (kind, "promotion")
    if any(entry.kind in known and entry.version == version for entry in ledger.entries(model)):
        return False
    ledger.append(
        kind,
        model=model,
        version=version,
        previous=champion_version(home),
        actor=GATE,
        reason=reason,
        numbers={"decision": decision},
        at=at,
    )
    return True
