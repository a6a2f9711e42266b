"""Whether the platform itself is well: its heart beats, and what it runs on and costs is within limits."""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData, SensorInstigatorData
from dagster._utils.schedules import reverse_cron_string_iterator

from cryptoai_assets.defs.news.sources import news_sources
from cryptoai_assets.defs.resources import AlertsResource, MarketResource, UpkeepResource, look_seconds
from cryptoai_assets.defs.upkeep.killed_runs import bury_killed_runs
from cryptoai_assets.lib.expenses import Expenses, RunTime, over_budget
from cryptoai_assets.lib.serving_counts import COUNTS_NAME, counted, look_at_service, remembered
from cryptoai_assets.lib.trouble import (
    Trouble,
    answer_troubles,
    disk_troubles,
    news_troubles,
    queue_troubles,
    serving_troubles,
    tell_troubles,
)
from edge_bundle.alerts import Severity
from edge_bundle.heartbeat import HEARTBEAT_NAME, Heartbeat

RUNS_AT_ONCE = 500
# A sensor may be late behind slow ones; so may a schedule behind a daemon that was just started.
LEAST_SILENCE = timedelta(minutes=15)
SETTLED = timedelta(hours=1)
ANSWER_SECONDS = 5.0
INTERVALS_OF_SILENCE = 10
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(target=None, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def heart_beats(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SkipReason:
    """Write that the daemon lives, where others see it; tell of sensors and schedules that are never due.

    A sensor that hangs fails nowhere. One that is not evaluated for ten of its intervals, and a schedule
    that let its time pass, are told by name; not for the time in which the daemon did not run at all.
    """
    now, path = market.clock(), market.home.data / HEARTBEAT_NAME
    before = Heartbeat.read(path)
    since = before.since if before and now - before.at <= LEAST_SILENCE else now
    silent = {
        state.instigator_name: last
        for state in context.instance.all_instigator_state()
        if state.is_running and (last := _silent_since(context.instance, state, since, now))
    }
    Heartbeat(now, since, tuple(sorted(silent))).write(path)
    tell_troubles(
        market.home,
        "silent sensor or schedule",
        [
            Trouble(name, f"last evaluated at {last:%Y-%m-%d %H:%M} UTC, and due since")
            for name, last in sorted(silent.items())
        ],
        severity="critical",
        links={"Dagster": f"{alerts.dagster_address}/automation"},
        now=now,
    )
    return dg.SkipReason(f"silent: {', '.join(sorted(silent))}" if silent else "all are evaluated as due")


def _silent_since(
    instance: dg.DagsterInstance, state: InstigatorState, since: datetime, now: datetime
) -> datetime | None:
    """When a sensor or schedule was evaluated last, if another evaluation is overdue."""
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    if not ticks:
        return None
    last = datetime.fromtimestamp(ticks[0].timestamp, UTC)
    match state.instigator_data:
        case SensorInstigatorData(min_interval=int(seconds)):
            allowed = max(INTERVALS_OF_SILENCE * timedelta(seconds=seconds), LEAST_SILENCE)
            return last if now - max(last, since) > allowed else None
        case ScheduleInstigatorData(cron_schedule=str(cron)):
            return last if max(last, since) < _due_before(cron, now - LEAST_SILENCE) else None
    return None


def _due_before(cron: str, moment: datetime) -> datetime:
    """The last time before a moment at which a schedule was due."""
    times: Iterator[datetime] = reverse_cron_string_iterator(moment.timestamp(), cron, "UTC")
    return next(itertools.islice(times, 1))


@dg.sensor(
    target=None, minimum_interval_seconds=look_seconds(), default_status=dg.DefaultSensorStatus.RUNNING
)
def killed_runs_are_buried(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Let a run whose process was killed be a failed one: it is started again, and holds up no other."""
    buried = bury_killed_runs(context.instance)
    return dg.SkipReason(f"killed: {', '.join(buried)}" if buried else "every run that began has its process")


@dg.sensor(target=None, minimum_interval_seconds=120, default_status=dg.DefaultSensorStatus.RUNNING)
def platform_keeps_its_limits(
    context: dg.SensorEvaluationContext,
    market: MarketResource,
    alerts: AlertsResource,
    upkeep: UpkeepResource,
) -> dg.SensorResult:
    """Put an alert into the outbox for a limit that is passed: of disk, queue, service, news or budget."""
    home, now, limits = market.home, market.clock(), upkeep.limits
    expenses = Expenses(home.expenses)
    seen = _note_run_times(context.instance, expenses, context.cursor)
    queued = context.instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
    found: tuple[tuple[str, Severity, list[Trouble]], ...] = (
        ("full disk", "critical", disk_troubles(home.root, limits)),
        ("long queue", "warning", queue_troubles([one.create_timestamp for one in queued], limits, now)),
        ("slow service", "warning", serving_troubles(home, limits, now)),
        ("budget", "warning", over_budget(expenses, upkeep.prices, now)),
        *_of_the_service(market, alerts, upkeep, now),
        *_of_the_news(market, upkeep, now),
    )
    links = {"Dagster": f"{alerts.dagster_address}/runs"}
    told = [
        name
        for kind, severity, troubles in found
        for name in tell_troubles(home, kind, troubles, severity=severity, links=links, now=now)
    ]
    return dg.SensorResult(skip_reason=f"told: {', '.join(told) or 'nothing new'}", cursor=seen)


def _of_the_service(
    market: MarketResource, alerts: AlertsResource, upkeep: UpkeepResource, now: datetime
) -> list[tuple[str, Severity, list[Trouble]]]:
    """Errors and slow answers of the last hour; nothing when the service tells no numbers just now."""
    counts = look_at_service(alerts.serving_address, upkeep.serving_key, timeout_seconds=ANSWER_SECONDS)
    if counts is None:
        return []
    looks = remembered(market.home.data / COUNTS_NAME, counts, now)
    return [("failing service", "critical", answer_troubles(counted(looks), upkeep.limits))]


def _of_the_news(
    market: MarketResource, upkeep: UpkeepResource, now: datetime
) -> list[tuple[str, Severity, list[Trouble]]]:
    """Sources of news that are silent, once the daemon has run for long enough to have asked them."""
    beat = Heartbeat.read(market.home.data / HEARTBEAT_NAME)
    if beat is None or now - beat.since < SETTLED:
        return []
    troubles = news_troubles(market.home, news_sources(market), upkeep.limits, market.now())
    return [("silent source of news", "warning", troubles)]


def _note_run_times(instance: dg.DagsterInstance, expenses: Expenses, cursor: str | None) -> str:
    """Keep the times of the runs that ended since the last look; one that is seen twice counts once."""
    since = datetime.fromisoformat(json.loads(cursor)) if cursor else None
    records = instance.get_run_records(
        dg.RunsFilter(statuses=ENDED, updated_after=since),
        limit=RUNS_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    expenses.note(
        RunTime(
            record.dagster_run.run_id,
            record.dagster_run.job_name,
            datetime.fromtimestamp(record.end_time, UTC),
            (record.end_time - record.start_time) / 60,
        )
        for record in records
        if record.start_time and record.end_time
    )
    if not records:
        return cursor or ""
    # The newest is seen again: others may bear the same time.
    newest = records[-1].update_timestamp - timedelta(seconds=1)
    if len(records) == RUNS_AT_ONCE:
        newest = records[-1].update_timestamp
    return json.dumps(newest.isoformat())
