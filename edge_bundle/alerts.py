"""Alerts: the record, and the outbox that loses none, sends each once, and knows what became of it."""

import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from edge_bundle.errors import EdgeBundleError
from edge_bundle.sqlite_file import transaction

Severity = Literal["info", "warning", "critical"]
State = Literal["open", "snoozed", "acknowledged", "resolved"]
SIGNS = {"info": "ℹ️", "warning": "⚠️", "critical": "🚨"}
RANK = {"info": 0, "warning": 1, "critical": 2}
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
PLATFORM = "the platform"
SCHEMA_VERSION = 2

_SCHEMA = (
    "CREATE TABLE alerts (cause TEXT PRIMARY KEY, alert TEXT NOT NULL, raised_at TEXT NOT NULL, "
    "id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, unwell TEXT NOT NULL, state TEXT NOT NULL, "
    "snoozed_until TEXT, notice INTEGER NOT NULL)",
    "CREATE INDEX alerts_that_are_not_resolved ON alerts (kind) WHERE state <> 'resolved'",
    "CREATE TABLE deliveries (cause TEXT NOT NULL REFERENCES alerts (cause), channel TEXT NOT NULL, "
    "notice INTEGER NOT NULL, delivered_at TEXT, tries INTEGER NOT NULL, next_try_at TEXT, last_error TEXT, "
    "PRIMARY KEY (cause, channel, notice))",
    "CREATE TABLE changes (id INTEGER PRIMARY KEY, cause TEXT NOT NULL REFERENCES alerts (cause), "
    "at TEXT NOT NULL, actor TEXT NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL)",
)
_KEPT = "SELECT cause, alert, state, snoozed_until, unwell, notice FROM alerts"
# All of a channel that has nothing yet: what another told, and what is not open, counts as told to it.
_MEETING = (
    "INSERT INTO deliveries (cause, channel, notice, tries, delivered_at) "
    "SELECT cause, :channel, notice, 0, CASE "
    "WHEN state = 'open' OR (state = 'snoozed' AND snoozed_until <= :now) THEN NULL "
    "WHEN cause IN (SELECT cause FROM deliveries WHERE delivered_at IS NOT NULL) THEN :now END "
    "FROM alerts WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE channel = :channel)"
)


class DeliveryError(EdgeBundleError):
    """A channel did not take a message, or did not say that it did; it is tried again after a while.

    Parameters
    ----------
    retry_after
        What the channel asked for; None when it did not say.
    """

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AlertNotFoundError(EdgeBundleError):
    """No alert has this id."""


class OutboxRefusedError(EdgeBundleError):
    """The outbox is of a newer program, damaged, locked, or on a full or read-only disk."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know.

    Parameters
    ----------
    cause
        What makes two alerts the same one: the second is not sent. Of a message that tells several alerts,
        the cause of each on a line of its own.
    facts
        Label and value, such as what drifted and how much.
    links
        Label and address.
    kind
        What alerts of the same kind have in common, such as ``failed run in sample``: those that wait
        together are sent as one message. Empty for one that stands alone.
    about
        What is unwell. While an alert of the kind that tells of all of it is not resolved, another is not
        kept; it is resolved when all of it is well.
    picture
        A small PNG.
    """

    cause: str
    severity: Severity
    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    raised_at: datetime
    kind: str = ""
    about: tuple[str, ...] = ()
    picture: bytes | None = None

    @property
    def id(self) -> str:
        """Name of the alert in addresses."""
        return alert_id(self.cause)

    def to_json(self) -> str:
        """Return it as JSON text."""
        picture = base64.b64encode(self.picture).decode() if self.picture else None
        return json.dumps(asdict(self) | {"raised_at": self.raised_at.isoformat(), "picture": picture})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` gave, also before alerts had kinds and pictures."""
        record = json.loads(text)
        picture = record.get("picture")
        return cls(
            **{
                **record,
                "facts": tuple((label, value) for label, value in record["facts"]),
                "links": tuple((label, value) for label, value in record["links"]),
                "raised_at": datetime.fromisoformat(record["raised_at"]),
                "about": tuple(record.get("about", ())),
                "picture": base64.b64decode(picture) if picture else None,
            }
        )

    def text(self) -> str:
        """Return it as plain text."""
        facts = [f"  {label}: {value}" for label, value in self.facts]
        links = [f"  {label}: {address}" for label, address in self.links]
        return "\n".join([f"{SIGNS[self.severity]} {self.title}", self.summary, *facts, *links])


class Channel(Protocol):
    """A way to reach a person."""

    @property
    def name(self) -> str:
        """Name under which deliveries are recorded."""
        ...

    def send(self, alert: Alert) -> str | None:
        """Hand an alert over; what of it was left out, if anything was.

        Raises
        ------
        DeliveryError
            When it was not taken.
        """
        ...


@runtime_checkable
class RememberingChannel(Protocol):
    """A channel that can be asked whether it took a message whose answer got lost."""

    def took(self, cause: str) -> bool:
        """Whether a message of this cause arrived; False also when it cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far one notice of an alert got on one channel.

    Parameters
    ----------
    tries
        Begun ones; one that was killed counts.
    delivered_at
        None while it waits. Without a try: since when the channel is known, to which it was old news.
    next_try_at
        Not tried again before; None once delivered.
    last_error
        Of the last failed try, also of one before the delivery; or what a delivery left out.
    notice
        0 for the alert itself, from 1 on for its reminders.
    """

    cause: str
    channel: str
    tries: int
    delivered_at: datetime | None
    next_try_at: datetime | None
    last_error: str | None
    notice: int


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody said of an alert."""

    at: datetime
    actor: str
    state: State
    note: str


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """An alert and what became of it.

    Parameters
    ----------
    unwell
        What of `Alert.about` is not well yet.
    snoozed_until
        No reminder before; None but for a snoozed one.
    reminders
        Begun ones.
    changes
        Oldest first.
    """

    alert: Alert
    state: State
    unwell: tuple[str, ...]
    snoozed_until: datetime | None
    reminders: int
    changes: tuple[Change, ...]

    def state_at(self, now: datetime) -> State:
        """State, in which a snooze that is over is open again."""
        return "open" if self.snoozed_until is not None and self.snoozed_until <= now else self.state


@dataclass(frozen=True, slots=True)
class _Notice:
    """An alert, or its reminder, on its way to one channel."""

    alert: Alert
    number: int
    tries: int

    @property
    def key(self) -> str:
        return f"{self.alert.cause}#{self.number}" if self.number else self.alert.cause

    def message(self, page: Callable[[Alert], str] | None) -> Alert:
        title = f"Still open: {self.alert.title}" if self.number else self.alert.title
        links = self.alert.links
        if page is not None:
            label = "Details" if self.alert.severity == "info" else "Acknowledge or snooze"
            links = (*links, (label, page(self.alert)))
        return replace(self.alert, cause=self.key, title=title, links=links)


@dataclass(frozen=True, slots=True)
class Outbox:
    """Alerts, their states and their deliveries, in a SQLite file: an outage or a kill loses none.

    A try is written down, with the time of the next one, before the channel is called. So two programs
    that deliver at once do not both send, and a killed one is followed up. When it was killed after the
    channel took the message, or the answer got lost, a channel that remembers is asked whether it has the
    message. One that cannot say gets it again: a message twice is better than none.
    """

    path: Path

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One transaction; every call that needs one raises `OutboxRefusedError` where there is none."""
        try:
            with transaction(self.path, _prepare) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            cure = "where that stays so, free space on the disk, or move the file away to begin anew"
            raise OutboxRefusedError(f"{self.path}: {error}; {cure}") from error

    def add(self, alert: Alert) -> bool:
        """Keep an alert; False when its cause is there, or one that is not resolved tells the same.

        News need no answer: an alert that only informs is resolved from the beginning.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            known = connection.execute("SELECT 1 FROM alerts WHERE cause = ?", (alert.cause,)).fetchone()
            if known or self._is_told(connection, alert):
                return False
            _insert(connection, alert, "resolved" if alert.severity == "info" else "open")
            return True

    def alerts(self) -> list[Alert]:
        """All alerts, oldest first."""
        return [kept.alert for kept in self.kept()]

    def kept(self) -> list[KeptAlert]:
        """All alerts with what became of them, oldest first; nothing is made of a file that is not there."""
        if not self.path.exists():
            return []
        with self._connection() as connection:
            rows = connection.execute(f"{_KEPT} ORDER BY raised_at, cause").fetchall()
            return [_kept(connection, row) for row in rows]

    def one(self, alert_id: str) -> KeptAlert:
        """One alert by its id.

        Raises
        ------
        AlertNotFoundError
            When there is none.
        """
        if not self.path.exists():
            raise AlertNotFoundError(f"no alert has the id {alert_id}")
        with self._connection() as connection:
            return _found(connection, alert_id)

    def change(
        self,
        alert_id: str,
        state: State,
        *,
        actor: str,
        note: str,
        now: datetime,
        snoozed_until: datetime | None = None,
    ) -> KeptAlert:
        """Say of an alert that it is seen, may wait, or is done; what is resolved stays so.

        Said twice in a row it is one change, so that a form that is sent again does nothing.

        Raises
        ------
        AlertNotFoundError
            When there is none.
        """
        if (state == "snoozed") != (snoozed_until is not None):
            raise ValueError(f"{state} until {snoozed_until}: a snooze, and nothing else, has an end")
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            found = _found(connection, alert_id)
            same = (found.state, found.snoozed_until) == (state, snoozed_until)
            if not same and found.state != "resolved":
                _write_change(connection, found.alert.cause, Change(now, actor, state, note), snoozed_until)
            return _found(connection, alert_id)

    def well(self, kind: str, names: Collection[str], now: datetime) -> list[str]:
        """Take note that something is well; resolve each alert of which all is, and return the causes."""
        return self._mended(kind, lambda name: name in names, now)

    def unwell(self, kind: str, names: Collection[str], now: datetime) -> list[str]:
        """Take note that of a kind nothing is unwell but this; see `well`."""
        return self._mended(kind, lambda name: name not in names, now)

    def _mended(self, kind: str, is_well: Callable[[str], bool], now: datetime) -> list[str]:
        if not self.path.exists():
            return []
        resolved = []
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            query = "SELECT cause, unwell FROM alerts WHERE kind = ? AND state <> 'resolved'"
            for cause, text in connection.execute(query, (kind,)).fetchall():
                before = json.loads(text)
                rest = [name for name in before if not is_well(name)]
                if rest == before:
                    continue
                connection.execute("UPDATE alerts SET unwell = ? WHERE cause = ?", (json.dumps(rest), cause))
                if not rest:
                    mended = Change(now, PLATFORM, "resolved", "it is well again")
                    _write_change(connection, cause, mended, None)
                    resolved.append(cause)
        return resolved

    def remind(self, every: Mapping[Severity, timedelta], now: datetime) -> list[str]:
        """Begin the next notice of what is open and was told long enough ago; return the causes.

        A snooze that ends is a reminder at its end. What was never delivered is not reminded of: its first
        message still waits. A severity without a time is not reminded of.
        """
        if not self.path.exists():
            return []
        query = (
            "SELECT alerts.cause, alert, snoozed_until, max(delivered_at) FROM alerts JOIN deliveries "
            "ON deliveries.cause = alerts.cause AND deliveries.notice = alerts.notice "
            "WHERE state IN ('open', 'snoozed') AND delivered_at IS NOT NULL GROUP BY alerts.cause"
        )
        due = []
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for cause, text, snoozed_until, told_at in connection.execute(query).fetchall():
                wait = every.get(Alert.from_json(text).severity)
                if wait is None:
                    continue
                told, snooze = datetime.fromisoformat(told_at), _time(snoozed_until)
                if now >= (snooze if snooze and snooze > told else told + wait):
                    connection.execute("UPDATE alerts SET notice = notice + 1 WHERE cause = ?", (cause,))
                    due.append(cause)
        return due

    def undelivered(self, channel: str) -> list[Alert]:
        """Alerts of which a channel has not taken the newest notice yet, oldest first."""
        return [notice.alert for notice in self._waiting(channel, due_at=None)]

    def deliveries(self) -> list[Delivery]:
        """What became of each notice on each channel that is known, by cause, channel and notice."""
        query = (
            "SELECT cause, channel, tries, delivered_at, next_try_at, last_error, notice "
            "FROM deliveries ORDER BY cause, channel, notice"
        )
        with self._connection() as connection:
            rows = connection.execute(query).fetchall()
        return [
            Delivery(cause, channel, tries, _time(delivered_at), _time(next_try_at), error, notice)
            for cause, channel, tries, delivered_at, next_try_at, error, notice in rows
        ]

    def deliver(
        self, channels: Sequence[Channel], now: datetime, *, page: Callable[[Alert], str] | None = None
    ) -> list[str]:
        """Send what is due to each channel; return a line for each message that was not taken whole.

        The wait doubles with each try, up to an hour, or is what the channel asked for. A channel that
        refuses one message is left alone until the next call, since it would most likely refuse all. One
        that is new gets what is open, and what no other took; the rest is old news.

        Parameters
        ----------
        page
            Address of an alert's page, on which a person answers it.
        """
        failures = []
        self._meet(channels, now)
        for channel in channels:
            for together in _by_kind(self._waiting(channel.name, due_at=now)):
                claimed = [notice for notice in together if self._claimed(notice, channel, now)]
                message = one_message([notice.message(page) for notice in self._lost(claimed, channel, now)])
                if message is None:
                    continue
                try:
                    left_out = channel.send(message)
                except DeliveryError as error:
                    self._failed(claimed, channel, now, error)
                    failures.append(f"{channel.name} did not take {message.cause}: {error}")
                    break
                self._delivered(claimed, channel, now, left_out)
                failures += [f"{channel.name} left out of {message.cause}: {left_out}"] if left_out else []
        return failures

    def _meet(self, channels: Sequence[Channel], now: datetime) -> None:
        """Write down what is for each new channel, before one of them takes a message that the next lacks."""
        with self._connection() as connection:
            connection.executemany(
                _MEETING, [{"channel": channel.name, "now": _stamp(now)} for channel in channels]
            )

    def _lost(self, claimed: Sequence[_Notice], channel: Channel, now: datetime) -> list[_Notice]:
        """Those that the channel does not have yet, as far as it can tell."""
        if not isinstance(channel, RememberingChannel):
            return list(claimed)
        there = [notice for notice in claimed if notice.tries and channel.took(notice.key)]
        self._delivered(there, channel, now, None)
        return [notice for notice in claimed if notice not in there]

    def _is_told(self, connection: sqlite3.Connection, alert: Alert) -> bool:
        """Whether an alert that is not resolved tells all of it, as gravely."""
        if not alert.kind or not alert.about:
            return False
        query = "SELECT alert, unwell FROM alerts WHERE kind = ? AND state <> 'resolved'"
        return any(
            RANK[Alert.from_json(text).severity] >= RANK[alert.severity]
            and set(alert.about) <= set(json.loads(unwell))
            for text, unwell in connection.execute(query, (alert.kind,)).fetchall()
        )

    def _waiting(self, channel: str, *, due_at: datetime | None) -> list[_Notice]:
        """Newest notices without a delivery; of them those that are due, when a time is given.

        A reminder of what somebody answered meanwhile waits no longer.
        """
        query = (
            "SELECT alert, alerts.notice, coalesce(tries, 0) FROM alerts LEFT JOIN deliveries "
            "ON deliveries.cause = alerts.cause AND deliveries.channel = :channel "
            "AND deliveries.notice = alerts.notice "
            "WHERE delivered_at IS NULL AND (alerts.notice = 0 OR state = 'open' "
            "OR (state = 'snoozed' AND (:due IS NULL OR snoozed_until <= :due))) "
            "AND (:due IS NULL OR next_try_at IS NULL OR next_try_at <= :due) "
            "ORDER BY raised_at, alerts.cause"
        )
        due = _stamp(due_at) if due_at else None
        with self._connection() as connection:
            rows = connection.execute(query, {"channel": channel, "due": due}).fetchall()
        return [_Notice(Alert.from_json(text), number, tries) for text, number, tries in rows]

    def _claimed(self, notice: _Notice, channel: Channel, now: datetime) -> bool:
        """Write the try down; False when another program was faster."""
        key = (notice.alert.cause, channel.name, notice.number)
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT tries, delivered_at, next_try_at FROM deliveries "
                "WHERE cause = ? AND channel = ? AND notice = ?",
                key,
            ).fetchone()
            tries, delivered_at, next_try_at = row or (0, None, None)
            if delivered_at or (next_try_at and next_try_at > _stamp(now)):
                return False
            connection.execute(
                "INSERT INTO deliveries (cause, channel, notice, tries, next_try_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET tries = excluded.tries, next_try_at = excluded.next_try_at",
                (*key, tries + 1, _stamp(now + wait_after(tries + 1))),
            )
        return True

    def _delivered(
        self, notices: Sequence[_Notice], channel: Channel, now: datetime, left_out: str | None
    ) -> None:
        with self._connection() as connection:
            connection.executemany(
                "UPDATE deliveries SET delivered_at = ?, next_try_at = NULL, "
                "last_error = coalesce(?, last_error) WHERE cause = ? AND channel = ? AND notice = ?",
                [
                    (_stamp(now), left_out, notice.alert.cause, channel.name, notice.number)
                    for notice in notices
                ],
            )

    def _failed(
        self, notices: Sequence[_Notice], channel: Channel, now: datetime, error: DeliveryError
    ) -> None:
        asked = _stamp(now + error.retry_after) if error.retry_after else None
        with self._connection() as connection:
            connection.executemany(
                "UPDATE deliveries SET last_error = ?, next_try_at = coalesce(?, next_try_at) "
                "WHERE cause = ? AND channel = ? AND notice = ? AND delivered_at IS NULL",
                [(str(error), asked, one.alert.cause, channel.name, one.number) for one in notices],
            )


def alert_id(cause: str) -> str:
    """Name of the alert of a cause in addresses."""
    return hashlib.sha256(cause.encode()).hexdigest()[:16]


def one_message(alerts: Sequence[Alert]) -> Alert | None:
    """One message for alerts of one kind, the gravest first; None for none."""
    if len(alerts) < 2:
        return alerts[0] if alerts else None
    ordered = sorted(alerts, key=lambda alert: -RANK[alert.severity])
    first = ordered[0]
    return replace(
        first,
        cause="\n".join(alert.cause for alert in ordered),
        title=f"{len(ordered)} alerts: {first.kind}",
        summary=first.summary,
        facts=tuple((alert.title, alert.summary) for alert in ordered),
        links=tuple(
            (f"{alert.title}: {label}", address) for alert in ordered for label, address in alert.links
        ),
        raised_at=max(alert.raised_at for alert in ordered),
        about=tuple(name for alert in ordered for name in alert.about),
    )


def wait_after(tries: int) -> timedelta:
    """Time until the next try: twice as long after each, up to an hour."""
    doublings: int = min(tries - 1, 16)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def _by_kind(notices: Sequence[_Notice]) -> list[list[_Notice]]:
    """Notices that go out together, in the order of the oldest of each; without a kind each goes alone."""
    groups: dict[str, list[_Notice]] = {}
    for notice in notices:
        groups.setdefault(notice.alert.kind or f"alone {notice.key}", []).append(notice)
    return list(groups.values())


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring those of an earlier version over, all or nothing."""
    if _version(connection) == SCHEMA_VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        found = _version(connection)
        if found == SCHEMA_VERSION:
            return
        if found > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"schema version {found}, this code reads {SCHEMA_VERSION}")
        old = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alerts'").fetchone()
        if old:
            connection.execute("ALTER TABLE deliveries RENAME TO old_deliveries")
            connection.execute("ALTER TABLE alerts RENAME TO old_alerts")
        for statement in _SCHEMA:
            connection.execute(statement)
        if old:
            _bring_over(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")


def _bring_over(connection: sqlite3.Connection) -> None:
    """Keep alerts of the time before states; what was told then is not told again."""
    told = {
        cause
        for (cause,) in connection.execute("SELECT cause FROM old_deliveries WHERE delivered_at IS NOT NULL")
    }
    for (text,) in connection.execute("SELECT alert FROM old_alerts ORDER BY raised_at").fetchall():
        alert = Alert.from_json(text)
        _insert(connection, alert, "resolved" if alert.cause in told else "open")
    connection.execute(
        "INSERT INTO deliveries SELECT cause, channel, 0, delivered_at, tries, next_try_at, last_error "
        "FROM old_deliveries"
    )
    connection.execute("DROP TABLE old_deliveries")
    connection.execute("DROP TABLE old_alerts")


def _version(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def _insert(connection: sqlite3.Connection, alert: Alert, state: State) -> None:
    connection.execute(
        "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 0)",
        (
            alert.cause,
            alert.to_json(),
            _stamp(alert.raised_at),
            alert.id,
            alert.kind,
            json.dumps(alert.about),
            state,
        ),
    )


def _write_change(
    connection: sqlite3.Connection, cause: str, change: Change, snoozed_until: datetime | None
) -> None:
    until = _stamp(snoozed_until) if snoozed_until else None
    connection.execute(
        "UPDATE alerts SET state = ?, snoozed_until = ? WHERE cause = ?", (change.state, until, cause)
    )
    connection.execute(
        "INSERT INTO changes (cause, at, actor, state, note) VALUES (?, ?, ?, ?, ?)",
        (cause, _stamp(change.at), change.actor, change.state, change.note),
    )


def _found(connection: sqlite3.Connection, alert_id: str) -> KeptAlert:
    row = connection.execute(f"{_KEPT} WHERE id = ?", (alert_id,)).fetchone()
    if row is None:
        raise AlertNotFoundError(f"no alert has the id {alert_id}")
    return _kept(connection, row)


def _kept(connection: sqlite3.Connection, row: tuple[Any, ...]) -> KeptAlert:
    cause, text, state, snoozed_until, unwell, reminders = row
    changes = connection.execute(
        "SELECT at, actor, state, note FROM changes WHERE cause = ? ORDER BY id", (cause,)
    ).fetchall()
    return KeptAlert(
        Alert.from_json(text),
        state,
        tuple(json.loads(unwell)),
        _time(snoozed_until),
        reminders,
        tuple(Change(datetime.fromisoformat(at), actor, said, note) for at, actor, said, note in changes),
    )


def _stamp(time: datetime) -> str:
    """UTC text that sorts as time does."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _time(stamp: str | None) -> datetime | None:
    return datetime.fromisoformat(stamp) if stamp else None
