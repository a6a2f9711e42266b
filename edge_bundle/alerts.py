"""Alerts: the record, the outbox that loses none, and the channels; the one door to every notifier."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from edge_bundle.errors import EdgeBundleError

Severity = Literal["info", "warning", "critical"]
SIGNS = {"info": "ℹ️", "warning": "⚠️", "critical": "🚨"}
# Slack refuses a message beyond these: https://docs.slack.dev/reference/block-kit/blocks
SLACK_BLOCKS = 50
SLACK_TEXT = 3_000
SLACK_HEADER = 150
SLACK_FIELD = 2_000
SLACK_FIELDS_A_SECTION = 10
# Header, summary, facts left out, links, time.
OTHER_BLOCKS = 5
SEND_TIMEOUT_SECONDS = 5
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
LONGEST_ASKED_WAIT = timedelta(days=1)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    cause TEXT PRIMARY KEY, alert TEXT NOT NULL, raised_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    cause TEXT NOT NULL REFERENCES alerts (cause), channel TEXT NOT NULL,
    delivered_at TEXT, tries INTEGER NOT NULL, next_try_at TEXT, last_error TEXT,
    PRIMARY KEY (cause, channel)
);
"""


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


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know.

    Parameters
    ----------
    cause
        What makes two alerts the same one: the second is not sent.
    facts
        Label and value, such as what drifted and how much.
    links
        Label and address.
    """

    cause: str
    severity: Severity
    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    raised_at: datetime

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self) | {"raised_at": self.raised_at.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` gave."""
        record = json.loads(text)
        return cls(
            **{
                **record,
                "facts": tuple((label, value) for label, value in record["facts"]),
                "links": tuple((label, value) for label, value in record["links"]),
                "raised_at": datetime.fromisoformat(record["raised_at"]),
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

    def send(self, alert: Alert) -> None:
        """Hand an alert over.

        Raises
        ------
        DeliveryError
            When it was not taken.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoggedChannel:
    """Shows messages where no other channel is set, and says so."""

    show: Callable[[str], None]
    name: str = "log"

    def send(self, alert: Alert) -> None:
        """Show the alert as text."""
        self.show(f"No Slack webhook is set, so this message is shown here only:\n{alert.text()}")


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """Slack's incoming webhook."""

    webhook_url: str
    name: str = "slack"
    timeout_seconds: int = SEND_TIMEOUT_SECONDS

    def send(self, alert: Alert) -> None:
        """Post the alert as blocks.

        Raises
        ------
        DeliveryError
            When Slack cannot be reached or answers anything but 200.
        """
        # The outbox alone retries: what the client retried by itself could arrive twice.
        client = WebhookClient(self.webhook_url, timeout=self.timeout_seconds, retry_handlers=[])
        notification = _escaped(f"{alert.title}: {alert.summary}", SLACK_TEXT)
        try:
            answer = client.send(text=notification, blocks=slack_blocks(alert))
        except (OSError, HTTPException, SlackClientError, ValueError) as error:
            # A mistyped address is a ValueError. The address is a secret, and some of these quote it.
            told = str(error).replace(self.webhook_url, "the webhook")
            raise DeliveryError(f"Slack cannot be reached: {type(error).__name__}: {told}") from error
        if answer.status_code != 200:
            asked = str(answer.headers.get("Retry-After", ""))
            wait = min(timedelta(seconds=int(asked[:9])), LONGEST_ASKED_WAIT) if asked.isdecimal() else None
            raise DeliveryError(f"Slack answered {answer.status_code}: {answer.body[:200]}", wait)


def slack_blocks(alert: Alert) -> list[dict[str, Any]]:
    """Alert as Slack's Block Kit: a header, the summary, facts in pairs, links, the time.

    What passes Slack's limits is cut with an ellipsis; facts that do not fit are counted.
    """
    sections = SLACK_BLOCKS - OTHER_BLOCKS
    room = sections * SLACK_FIELDS_A_SECTION
    fields = [_field(label, value) for label, value in alert.facts[:room]]
    chunks = [fields[i : i + SLACK_FIELDS_A_SECTION] for i in range(0, len(fields), SLACK_FIELDS_A_SECTION)]
    left_out = len(alert.facts) - len(fields)
    header = _cut(f"{SIGNS[alert.severity]} {alert.title}", SLACK_HEADER)
    when = f"{alert.raised_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    texts = [
        {"type": "header", "text": {"type": "plain_text", "text": header, "emoji": True}},
        *_section(_escaped(alert.summary, SLACK_TEXT)),
        *({"type": "section", "fields": chunk} for chunk in chunks),
        *_section(f"and {left_out} more" if left_out else ""),
        *_section(_links(alert.links)),
    ]
    footer = f"{alert.severity} · {when} · CryptoAI · not investment advice"
    return [*texts, {"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]}]


def _section(text: str) -> list[dict[str, Any]]:
    """One section, or none: Slack refuses an empty text."""
    return [{"type": "section", "text": {"type": "mrkdwn", "text": text}}] if text.strip() else []


def _field(label: str, value: str) -> dict[str, str]:
    half = SLACK_FIELD // 2 - len("**\n")
    return {"type": "mrkdwn", "text": f"*{_escaped(label, half)}*\n{_escaped(value, half)}"}


def _links(links: Sequence[tuple[str, str]]) -> str:
    """Links side by side, as many whole ones as there is room for."""
    line = ""
    for label, address in links:
        link = f"<{_escaped(address, SLACK_TEXT)}|{_escaped(label, SLACK_HEADER)}>"
        longer = f"{line}  ·  {link}" if line else link
        line = longer if len(longer) <= SLACK_TEXT else line
    return line


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escaped(text: str, limit: int) -> str:
    """Text with Slack's control characters as entities, so that no value can name a channel or a person."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    pieces = [entities.get(character, character) for character in text]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept: list[str] = []
    room = limit - 1
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return f"{''.join(kept)}…"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far one alert got on one channel.

    Parameters
    ----------
    tries
        Begun ones; one that was killed counts.
    delivered_at
        None while it waits.
    next_try_at
        Not tried again before; None once delivered.
    last_error
        Of the last failed try, also of one before the delivery.
    """

    cause: str
    channel: str
    tries: int
    delivered_at: datetime | None
    next_try_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Outbox:
    """Alerts and their deliveries, in a SQLite file: an outage or a kill loses none.

    A try is written down, with the time of the next one, before the channel is called. So two programs
    that deliver at once do not both send, and a killed one is followed up. When it was killed after the
    channel took the message, or the answer got lost, the message is sent again: a webhook has no word for
    "the same one", and a message twice is better than none.
    """

    path: Path

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
        finally:
            connection.close()

    def add(self, alert: Alert) -> bool:
        """Keep an alert; False when one of the same cause is there already."""
        with self._connection() as connection:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO alerts VALUES (?, ?, ?)",
                (alert.cause, alert.to_json(), _stamp(alert.raised_at)),
            )
            return cursor.rowcount == 1

    def alerts(self) -> list[Alert]:
        """All alerts, oldest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT alert FROM alerts ORDER BY raised_at, cause").fetchall()
        return [Alert.from_json(text) for (text,) in rows]

    def undelivered(self, channel: str) -> list[Alert]:
        """Alerts that a channel has not taken yet, oldest first."""
        return self._waiting(channel, due_at=None)

    def deliveries(self) -> list[Delivery]:
        """What became of each alert on each channel that was ever tried, by cause and channel."""
        query = (
            "SELECT cause, channel, tries, delivered_at, next_try_at, last_error "
            "FROM deliveries ORDER BY cause, channel"
        )
        with self._connection() as connection:
            rows = connection.execute(query).fetchall()
        return [
            Delivery(cause, channel, tries, _time(delivered_at), _time(next_try_at), error)
            for cause, channel, tries, delivered_at, next_try_at, error in rows
        ]

    def deliver(self, channels: Sequence[Channel], now: datetime) -> list[str]:
        """Send what is due to each channel; return a line for each message that was not taken.

        The wait doubles with each try, up to an hour, or is what the channel asked for. A channel that
        refuses one message is left alone until the next call, since it would most likely refuse all.
        """
        failures = []
        for channel in channels:
            for alert in self._waiting(channel.name, due_at=now):
                if not self._claimed(alert, channel, now):
                    continue
                try:
                    channel.send(alert)
                except DeliveryError as error:
                    self._failed(alert, channel, now, error)
                    failures.append(f"{channel.name} did not take {alert.cause}: {error}")
                    break
                self._delivered(alert, channel, now)
        return failures

    def _waiting(self, channel: str, *, due_at: datetime | None) -> list[Alert]:
        """Alerts without a delivery; of them those that are due, when a time is given."""
        query = (
            "SELECT alert FROM alerts LEFT JOIN deliveries "
            "ON deliveries.cause = alerts.cause AND deliveries.channel = :channel "
            "WHERE delivered_at IS NULL "
            "AND (:due IS NULL OR next_try_at IS NULL OR next_try_at <= :due) "
            "ORDER BY raised_at, alerts.cause"
        )
        due = _stamp(due_at) if due_at else None
        with self._connection() as connection:
            rows = connection.execute(query, {"channel": channel, "due": due}).fetchall()
        return [Alert.from_json(text) for (text,) in rows]

    def _claimed(self, alert: Alert, channel: Channel, now: datetime) -> bool:
        """Write the try down; False when another program was faster."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT tries, delivered_at, next_try_at FROM deliveries WHERE cause = ? AND channel = ?",
                (alert.cause, channel.name),
            ).fetchone()
            tries, delivered_at, next_try_at = row or (0, None, None)
            if delivered_at or (next_try_at and next_try_at > _stamp(now)):
                return False
            connection.execute(
                "INSERT INTO deliveries (cause, channel, tries, next_try_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET tries = excluded.tries, next_try_at = excluded.next_try_at",
                (alert.cause, channel.name, tries + 1, _stamp(now + wait_after(tries + 1))),
            )
        return True

    def _delivered(self, alert: Alert, channel: Channel, now: datetime) -> None:
        with self._connection() as connection:
            connection.execute(
                "UPDATE deliveries SET delivered_at = ?, next_try_at = NULL WHERE cause = ? AND channel = ?",
                (_stamp(now), alert.cause, channel.name),
            )

    def _failed(self, alert: Alert, channel: Channel, now: datetime, error: DeliveryError) -> None:
        asked = _stamp(now + error.retry_after) if error.retry_after else None
        with self._connection() as connection:
            connection.execute(
                "UPDATE deliveries SET last_error = ?, next_try_at = coalesce(?, next_try_at) "
                "WHERE cause = ? AND channel = ?",
                (str(error), asked, alert.cause, channel.name),
            )


def wait_after(tries: int) -> timedelta:
    """Time until the next try: twice as long after each, up to an hour."""
    doublings: int = min(tries - 1, 16)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def _stamp(time: datetime) -> str:
    """UTC text that sorts as time does."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _time(stamp: str | None) -> datetime | None:
    return datetime.fromisoformat(stamp) if stamp else None
