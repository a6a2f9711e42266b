"""Troubles of the platform itself: full disks, long queues, slow answers; each told once until it is over."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.news.news_source import NewsSource
from cryptoai_assets.lib.serving_counts import Counts
from cryptoai_serving.forecast_log import ForecastLog
from edge_bundle.alerts import Alert, Outbox, Severity

GIGABYTE = 10**9
SERVED_WITHIN = timedelta(hours=1)
# Fewer forecasts say little of a share or of the slowest twentieth.
LEAST_FORECASTS = 20
SLOWEST_SHARE = 0.95
LEAST_ANSWERS, SLOWEST_ANSWERS_SHARE = 100, 0.99


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be.

    Parameters
    ----------
    name
        The same as long as it is the same trouble.
    """

    name: str
    said: str


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something is a trouble.

    Parameters
    ----------
    queued
        How long a run may wait for its turn.
    slowest_ms
        Within which nineteen of twenty forecasts answer.
    abstentions
        Share of forecasts that may abstain within an hour.
    errors
        Share of an hour's answers that may be errors of the service, of a status from 500 on.
    slowest_answers
        Within which ninety-nine of a hundred answers come.
    news_silence
        How long a source of news may bring nothing new; zero is for ever.
    """

    free_gigabytes: float
    queued: timedelta
    slowest_ms: float
    abstentions: float
    errors: float
    slowest_answers: timedelta
    news_silence: timedelta


def trouble_kind(home: Home, kind: str) -> str:
    """What alerts about troubles of one kind have in common."""
    return f"{kind} in {home.market.name}"


def tell_troubles(
    home: Home,
    kind: str,
    troubles: Sequence[Trouble],
    *,
    severity: Severity,
    links: Mapping[str, str],
    now: datetime,
) -> list[str]:
    """Raise an alert for each trouble that is new, resolve those that are over; return the new ones' names.

    Killed at any point and called again, it tells none twice: what is not resolved is known by its name.
    """
    outbox, group = Outbox(home.alerts_database), trouble_kind(home, kind)
    outbox.unwell(group, [trouble.name for trouble in troubles], now)
    return [
        trouble.name
        for trouble in troubles
        if outbox.add(
            Alert(
                cause=f"{group}:{trouble.name}:{now.isoformat(timespec='seconds')}",
                severity=severity,
                title=f"{kind.capitalize()} in {home.market.name}: {trouble.name}",
                summary=trouble.said,
                facts=(),
                links=tuple(links.items()),
                raised_at=now,
                kind=group,
                about=(trouble.name,),
            )
        )
    ]


def disk_troubles(folder: Path, limits: Limits) -> list[Trouble]:
    """The disk that holds a folder, when little of it is free."""
    free = shutil.disk_usage(folder).free / GIGABYTE
    if free >= limits.free_gigabytes:
        return []
    return [Trouble("disk", f"{free:.1f} GB are free, {limits.free_gigabytes:g} GB are the least wanted")]


def queue_troubles(queued_since: Sequence[datetime], limits: Limits, now: datetime) -> list[Trouble]:
    """The queue of runs, when one waits too long."""
    oldest = min(queued_since, default=now)
    if now - oldest <= limits.queued:
        return []
    waits = (now - oldest).total_seconds() / 60
    return [Trouble("queue", f"{len(queued_since)} runs wait, one for {waits:.0f} minutes")]


def serving_troubles(home: Home, limits: Limits, now: datetime) -> list[Trouble]:
    """What the forecast log says of the last hour's answers; nothing of a market that stands still."""
    if not home.market.grows:
        return []
    with ForecastLog(home.forecasts_database) as log:
        recent = log.read(model=home.market.model, since=now - 2 * SERVED_WITHIN)
    asked = recent.filter(pl.col("asked_at") >= now - SERVED_WITHIN).unique(["symbol", "known_at", "origin"])
    if asked.height < LEAST_FORECASTS:
        return []
    return served_troubles(asked, limits)


def served_troubles(asked: pl.DataFrame, limits: Limits) -> list[Trouble]:
    """Slow answers, and abstentions.

    Parameters
    ----------
    asked
        ``latency_ms``, ``abstention``; one row a forecast, and one at least.
    """
    slow = asked["latency_ms"].quantile(SLOWEST_SHARE, interpolation="lower")
    abstained = asked["abstention"].count() / asked.height
    found = []
    if slow is not None and slow > limits.slowest_ms:
        said = f"one forecast of twenty takes {slow:.0f} ms or more, {limits.slowest_ms:g} ms are wanted"
        found.append(Trouble("latency", said))
    if abstained > limits.abstentions:
        reasons = asked["abstention"].drop_nulls().value_counts(sort=True).row(0)
        said = f"{abstained:.0%} of {asked.height} forecasts of an hour abstained, most for {reasons[0]}"
        found.append(Trouble("abstentions", said))
    return found


def answer_troubles(counts: Counts, limits: Limits) -> list[Trouble]:
    """Errors and slow answers of an hour; nothing of fewer than `LEAST_ANSWERS`."""
    if counts.answers < LEAST_ANSWERS:
        return []
    share, slow = counts.errors / counts.answers, counts.quantile_seconds(SLOWEST_ANSWERS_SHARE)
    found = []
    if share > limits.errors:
        said = f"{share:.1%} of {counts.answers:.0f} answers of an hour had a status from 500 on"
        found.append(Trouble("errors", f"{said}, {limits.errors:.1%} are bearable"))
    if slow > limits.slowest_answers.total_seconds():
        wanted = limits.slowest_answers.total_seconds()
        said = (
            f"of an hour's {counts.answers:.0f} answers, more than one of a hundred took {wanted:g} s or more"
        )
        found.append(Trouble("slow answers", said))
    return found


def news_troubles(home: Home, sources: Sequence[NewsSource], limits: Limits, now: datetime) -> list[Trouble]:
    """Sources of news that are configured, and have brought nothing new for too long."""
    if not limits.news_silence:
        return []
    newest = {
        source.name: last
        for source in sources
        if source.missing is None and (last := home.news.last_new(source.name)) is not None
    }
    return [
        Trouble(name, f"brought nothing new since {last:%Y-%m-%d %H:%M} UTC")
        for name, last in newest.items()
        if now - last > limits.news_silence
    ]
