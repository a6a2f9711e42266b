"""Alerts: sure forecasts and trouble of the device, told to a person, each matter once in a while."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from edge_bundle.alerts import Alert, Channel, Outbox, OutboxRefusedError
from edge_bundle.channels import MailChannel, SlackChannel, WebhookChannel
from edge_bundle.device.database import DatabaseRefusedError, DeviceDatabase, ran_well
from edge_bundle.device.health import standing
from edge_bundle.device.settings import CLOCK_TOLERANCE, DeviceSettings

PROGRAM = "alerts"
# Kind of the alerts of the database itself.
DATABASE = "database"
# An older forecast is no news, and an older trouble is one that is over.
NEWS_FOR = timedelta(minutes=10)
TROUBLE_FOR = timedelta(hours=1)
MOST_ROWS = 100


@dataclass(frozen=True, slots=True)
class Raised:
    """What one run did; a failure is a sentence for each message that was not taken."""

    alerts: int
    failures: tuple[str, ...]


def raise_alerts(
    settings: DeviceSettings,
    database: DeviceDatabase,
    symbols: Sequence[str],
    channels: Sequence[Channel],
    *,
    now: datetime,
) -> Raised:
    """Keep what a person should know in the outbox, and send what waits there.

    After an alert there is none of the same matter for `alert_pause_minutes`. A database that cannot be read
    or written is the one matter then.

    Raises
    ------
    OutboxRefusedError
        When the outbox cannot be read or written; what it did not keep is no matter that was told.
    """
    outbox, raised = Outbox(settings.outbox), 0
    try:
        matters = *_trouble(settings, database, now), *_signals(settings, database, symbols, now)
        for matter, alert in matters:
            if _is_paused(settings, database, matter, now):
                continue
            raised += _added(outbox, database, matter, alert)
    except DatabaseRefusedError as error:
        raised += _refusal_added(settings, outbox, error, now)
    return Raised(raised, tuple(outbox.deliver(channels, now)))


def channels_of(settings: DeviceSettings) -> tuple[Channel, ...]:
    """Channels that the settings name; none where nobody is to be told."""
    found: list[Channel] = []
    if settings.slack_url:
        found.append(SlackChannel(settings.slack_url))
    if settings.webhook_url:
        found.append(WebhookChannel(settings.webhook_url))
    if settings.mail_server:
        found.append(MailChannel(settings.mail_server, settings.mail_from, settings.mail_to))
    return tuple(found)


def _signals(
    settings: DeviceSettings, database: DeviceDatabase, symbols: Sequence[str], now: datetime
) -> Iterator[tuple[str, Alert]]:
    """The surest horizon of each symbol's newest forecast, where it is sure enough."""
    for symbol in symbols:
        made = database.forecasts(symbol, newest=MOST_ROWS).drop_nulls("probability_up")
        fresh = made.filter(pl.col("made_at").is_between(now - NEWS_FOR, now))
        newest = fresh.filter(pl.col("open_time") == pl.col("open_time").max())
        sure = (pl.col("probability_up") - 0.5).abs()
        for row in newest.sort(sure, descending=True).head(1).iter_rows(named=True):
            up = row["probability_up"] > 0.5
            share = row["probability_up"] if up else 1 - row["probability_up"]
            if share < settings.alert_probability:
                continue
            direction = "up" if up else "down"
            yield (
                f"signal {symbol} {direction}",
                Alert(
                    cause=f"signal {symbol} {direction} {row['open_time']:%Y-%m-%dT%H:%MZ}",
                    severity="info",
                    title=f"{symbol}: {direction} with {share:.0%}",
                    summary=f"The model of this device expects {row['expected_return_bps']:+.1f} bp over "
                    f"{row['horizon']} bars after {row['known_at']:%H:%M} UTC. Not investment advice.",
                    facts=(
                        ("range", f"{row['lower_bps']:+.1f} to {row['upper_bps']:+.1f} bp"),
                        ("model", row["model"]),
                    ),
                    links=(),
                    raised_at=now,
                ),
            )


def _trouble(
    settings: DeviceSettings, database: DeviceDatabase, now: datetime
) -> Iterator[tuple[str, Alert]]:
    """What failed and has not gone well since, and what is not well now."""
    failed: dict[str, str] = {}
    for trouble in database.troubles(since=now - TROUBLE_FOR):
        well = database.marked(ran_well(trouble.program))
        if trouble.program != PROGRAM and (well is None or well[1] < trouble.at):
            failed.setdefault(trouble.program, trouble.what)
    findings = standing(settings, database, now)
    cures = {found.subject: f"{found.told}: {found.cure}" for found in findings if not found.well}
    for matter, told in (cures | failed).items():
        yield matter, _not_well(matter, told, now)


def _added(outbox: Outbox, database: DeviceDatabase, matter: str, alert: Alert) -> bool:
    # Marked first: what cannot be marked as told would be told by every run.
    database.mark(_told(matter), alert.cause, now=alert.raised_at)
    try:
        return outbox.add(alert)
    except OutboxRefusedError:
        database.unmark(_told(matter))
        raise


def _refusal_added(
    settings: DeviceSettings, outbox: Outbox, error: DatabaseRefusedError, now: datetime
) -> bool:
    """Keep that the database is refused; when it was last told only the outbox knows."""
    told = [alert.raised_at for alert in outbox.alerts() if alert.kind == DATABASE]
    if any(_is_recent(settings, at, now) for at in told):
        return False
    return outbox.add(replace(_not_well(DATABASE, f"{error}", now), kind=DATABASE))


def _not_well(matter: str, told: str, now: datetime) -> Alert:
    return Alert(
        cause=f"{matter} {now:%Y-%m-%dT%H:%M:%SZ}",
        severity="warning",
        title=f"The device is not well: {matter}",
        summary=told,
        facts=(("look", "cryptoai-edge doctor"),),
        links=(),
        raised_at=now,
    )


def _is_paused(settings: DeviceSettings, database: DeviceDatabase, matter: str, now: datetime) -> bool:
    told = database.marked(_told(matter))
    return told is not None and _is_recent(settings, told[1], now)


def _is_recent(settings: DeviceSettings, told_at: datetime, now: datetime) -> bool:
    """Whether the pause after an alert lasts; one that is told later than now was told by a wrong clock."""
    return -CLOCK_TOLERANCE <= now - told_at < timedelta(minutes=settings.alert_pause_minutes)


def _told(matter: str) -> str:
    return f"told: {matter}"
