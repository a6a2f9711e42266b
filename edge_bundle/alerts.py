"""Alerts: the record, the outbox that loses none, and the channels; the one door to every notifier."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from edge_bundle.errors import EdgeBundleError

Severity = Literal["info", "warning", "critical"]
SIGNS = {"info": "ℹ️", "warning": "⚠️", "critical": "🚨"}
SLACK_FIELDS_A_SECTION = 10
SLACK_TEXT_LIMIT = 2900
SLACK_HEADER_LIMIT = 150
SLACK_SECTIONS_LIMIT = 40
SEND_TIMEOUT_SECONDS = 5
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)

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
    """A channel did not take a message; it is tried again after a while.

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

    def send(self, alert: Alert) -> None:
        """Post the alert as blocks.

        Raises
        ------
        DeliveryError
            When Slack cannot be reached or answers anything but 200.
        """
        client = WebhookClient(self.webhook_url, timeout=SEND_TIMEOUT_SECONDS)
        try:
            answer = client.send(text=f"{alert.title}: {alert.summary}", blocks=slack_blocks(alert))
        except (OSError, SlackClientError) as error:
            raise DeliveryError(f"Slack cannot be reached: {error}") from error
        if answer.status_code != 200:
            asked = answer.headers.get("Retry-After") or answer.headers.get("retry-after")
            wait = timedelta(seconds=int(asked)) if asked and str(asked).isdigit() else None
            raise DeliveryError(f"Slack answered {answer.status_code}: {answer.body[:200]}", wait)


def slack_blocks(alert: Alert) -> list[dict[str, Any]]:
    """Alert as Slack's Block Kit: a header, the summary, facts in pairs, links, the time."""
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {
                "type": "plain_text",
                "text": f"{SIGNS[alert.severity]} {alert.title}"[:SLACK_HEADER_LIMIT],
            },
        },
        {"type": "section", "text": {"type": "mrkdwn", "text": alert.summary[:SLACK_TEXT_LIMIT]}},
    ]
    fields = [{"type": "mrkdwn", "text": f"*{label}*\n{value}"[:1900]} for label, value in alert.facts]
    chunks = [fields[i : i + SLACK_FIELDS_A_SECTION] for i in range(0, len(fields), SLACK_FIELDS_A_SECTION)]
    blocks += [{"type": "section", "fields": chunk} for chunk in chunks[:SLACK_SECTIONS_LIMIT]]
    if alert.links:
        links = "  ·  ".join(f"<{address}|{label}>" for label, address in alert.links)
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": links[:SLACK_TEXT_LIMIT]}})
    when = f"{alert.severity} · {alert.raised_at:%Y-%m-%d %H:%M} UTC · CryptoAI · not investment advice"
    return [*blocks, {"type": "context", "elements": [{"type": "mrkdwn", "text": when}]}]


@dataclass(frozen=True, slots=True)
class Outbox:
    """Alerts that wait for delivery, in a SQLite file: an outage or a kill loses none.

    A run that is killed after the channel took a message and before that was written sends it again: a
    webhook has no word for "the same one", and a message twice is better than none.
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
                (alert.cause, alert.to_json(), alert.raised_at.isoformat()),
            )
            return cursor.rowcount == 1

    def alerts(self) -> list[Alert]:
        """All alerts, oldest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT alert FROM alerts ORDER BY raised_at, cause").fetchall()
        return [Alert.from_json(text) for (text,) in rows]

    def undelivered(self, channel: str) -> list[Alert]:
        """Alerts that a channel has not taken yet, oldest first."""
        return [alert for alert, _, _ in self._pending(channel)]

    def deliver(self, channels: Sequence[Channel], now: datetime) -> list[str]:
        """Send what is due to each channel; return a line for each message that was not taken.

        The wait doubles with each failed try, up to an hour, or is what the channel asked for.
        """
        failures = []
        for channel in channels:
            for alert, tries, next_try_at in self._pending(channel.name):
                if next_try_at is not None and now < next_try_at:
                    continue
                try:
                    channel.send(alert)
                except DeliveryError as error:
                    wait = error.retry_after or min(FIRST_WAIT * 2**tries, LONGEST_WAIT)
                    self._note(alert, channel, tries + 1, now, failed=str(error), next_try_at=now + wait)
                    failures.append(f"{channel.name} did not take {alert.cause}: {error}")
                else:
                    self._note(alert, channel, tries + 1, now)
        return failures

    def _pending(self, channel: str) -> list[tuple[Alert, int, datetime | None]]:
        query = (
            "SELECT alert, coalesce(tries, 0), next_try_at FROM alerts "
            "LEFT JOIN deliveries ON deliveries.cause = alerts.cause AND channel = ? "
            "WHERE delivered_at IS NULL ORDER BY raised_at, alerts.cause"
        )
        with self._connection() as connection:
            rows = connection.execute(query, (channel,)).fetchall()
        return [
            (Alert.from_json(text), tries, datetime.fromisoformat(due) if due else None)
            for text, tries, due in rows
        ]

    def _note(
        self,
        alert: Alert,
        channel: Channel,
        tries: int,
        now: datetime,
        *,
        failed: str | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        delivered_at = None if failed else now.isoformat()
        due = next_try_at.isoformat() if next_try_at else None
        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?)",
                (alert.cause, channel.name, delivered_at, tries, due, failed),
            )
