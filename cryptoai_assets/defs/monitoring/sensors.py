"""From a verdict to a training, from whatever failed to the outbox, and from the outbox to a person."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.tags import WILL_RETRY_TAG

from cryptoai_assets.defs.monitoring.outcomes import check_outcomes, step_outcomes, what_went_wrong
from cryptoai_assets.defs.resources import AlertsResource, MarketResource, look_seconds
from cryptoai_assets.lib.decisions import decision_alert, note_retraining, settle
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.ledger import Entry
from cryptoai_assets.lib.live_bars import StreamRecord, missed
from cryptoai_assets.lib.watch import (
    failure_alert,
    failure_kind,
    newest_verdict,
    news_of,
    raise_alert,
    recovery_alert,
)
from edge_bundle.alerts import Outbox, alert_id

LOOK_SECONDS = look_seconds()
CAUSE_TAG = "cryptoai/cause"
# With the cause's digest behind it: a cause that a run trains for beside its own.
MERGED_TAG = "cryptoai/merged-cause-"
RETRY_TAG = "cryptoai/retry-of"
RETRIED_WITHIN = timedelta(days=1)
TOLD_WITHIN = timedelta(days=1)
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
RUNS_AT_ONCE = 500
# Runs that end at the same time may be seen in another order than that of their times.
LOOK_BACK = timedelta(minutes=1)
ENDED_RUNS = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
ENDED_TICKS = (TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE)
TRAINING = dg.AssetSelection.assets(
    "training_dataset", "model_settings", "walk_forward_scores", "trained_forecaster"
)
AFTERWARDS = dg.AssetSelection.assets(
    "version_scores", "backtest", "model_card", "gate_decision", "released_bundle", "drift_report"
)

retraining_job = dg.define_asset_job(
    "retraining",
    selection=TRAINING | AFTERWARDS,
    description="Train a version, score it, put it before the gate, and release it when it passes.",
)


def training_config(cause: str) -> dict[str, object]:
    """Run configuration of a training with a recorded cause."""
    config = {"config": {"cause": cause}}
    return {"ops": dict.fromkeys(("model_settings", "walk_forward_scores", "trained_forecaster"), config)}


@dg.sensor(
    job=retraining_job,
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def drift_asks_for_training(
    context: dg.SensorEvaluationContext, market: MarketResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a training when the newest verdict says so; once per cause, whatever happens in between.

    A cause that comes while a training waits or runs is merged with that one's. A training that failed is
    tried once more.
    """
    if failed := _failed_once(context.instance, market.clock()):
        cause = failed.tags[CAUSE_TAG]
        return dg.SensorResult(run_requests=[_training(cause, key=f"{cause}#2", retried=failed.run_id)])
    found = newest_verdict(market.home)
    if found is None:
        return dg.SkipReason("no verdict yet: materialize drift_report")
    if not found.trains:
        return dg.SkipReason(f"verdict: {found.action}: {found.reason}")
    note_retraining(market.home, cause=found.cause, reason=found.reason, at=market.clock())
    if merged := _merged(context.instance, found.cause):
        return dg.SkipReason(f"{found.cause} is merged with what run {merged} trains for")
    # Dagster starts one run per run key, across restarts of the sensor.
    return dg.SensorResult(run_requests=[_training(found.cause, key=found.cause)])


def _training(cause: str, *, key: str, retried: str | None = None) -> dg.RunRequest:
    tags = {CAUSE_TAG: cause} | ({RETRY_TAG: retried} if retried else {})
    return dg.RunRequest(run_key=key, run_config=training_config(cause), tags=tags)


def _failed_once(instance: dg.DagsterInstance, now: datetime) -> dg.DagsterRun | None:
    """The newest training, when it failed, is the first of its cause, and Dagster does not retry it."""
    newest = instance.get_run_records(dg.RunsFilter(job_name=retraining_job.name), limit=1)
    for record in newest:
        run = record.dagster_run
        failed = run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) != "true"
        recent = now - record.update_timestamp < RETRIED_WITHIN
        if failed and recent and is_tried_again(run):
            return run
    return None


def is_tried_again(run: dg.DagsterRun) -> bool:
    """Whether a run, should it fail, is tried once more: it trains for a cause, for the first time."""
    return run.job_name == retraining_job.name and CAUSE_TAG in run.tags and RETRY_TAG not in run.tags


def _merged(instance: dg.DagsterInstance, cause: str) -> str | None:
    """Run that trains for this cause beside its own; one that waits or runs is taken for it."""
    tag = f"{MERGED_TAG}{hashlib.sha256(cause.encode()).hexdigest()[:12]}"
    for run in instance.get_runs(dg.RunsFilter(tags={tag: cause}), limit=1):
        return run.run_id
    under_way = instance.get_runs(dg.RunsFilter(job_name=retraining_job.name, statuses=UNFINISHED), limit=1)
    for run in under_way:
        if run.tags.get(CAUSE_TAG) != cause:
            instance.add_run_tags(run.run_id, {tag: cause})
            return run.run_id
    return None


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def failed_runs_are_told(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SensorResult:
    """Put an alert into the outbox for each step that fails, once a day until it succeeds, whatever its job.

    A run that failed without a step, such as one whose process died, is told by its job. What a blocking
    check stopped is told by `failed_checks_are_told`.
    """
    return _ended_runs_told(context, market, alerts, kind="run", outcomes=step_outcomes)


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def failed_checks_are_told(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SensorResult:
    """Put an alert into the outbox for each check that fails as an error, once a day until it holds again.

    A failed check does not fail its run in Dagster, so it is no failed step. A check that fails as a warning
    is a note for those who look at the asset. What fails anew in one run is one alert.
    """
    return _ended_runs_told(context, market, alerts, kind="check", outcomes=check_outcomes)


def _ended_runs_told(
    context: dg.SensorEvaluationContext,
    market: MarketResource,
    alerts: AlertsResource,
    *,
    kind: Literal["run", "check"],
    outcomes: Callable[[dg.DagsterInstance, dg.DagsterRun], Mapping[str, str | None]],
) -> dg.SensorResult:
    """Tell what failed in the runs that ended since the last look, and what is well again."""
    before = _looked(context.cursor)
    seen = before["seen"] and datetime.fromisoformat(before["seen"]) - LOOK_BACK
    ended = context.instance.get_run_records(
        dg.RunsFilter(statuses=list(ENDED_RUNS), updated_after=seen or None),
        limit=RUNS_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    told, alerted = before["told"], 0
    for record in ended:
        run = record.dagster_run
        if run.run_id in before["runs"]:
            continue
        day = f"{record.update_timestamp.astimezone(UTC):%Y-%m-%d}"
        found = outcomes(context.instance, run)
        well = {name: said for name, said in found.items() if said is None}
        # A training that is tried once more has not failed yet.
        news = news_of(told, well if kind == "run" and is_tried_again(run) else found, day)
        told = news.told
        Outbox(market.home.alerts_database).well(failure_kind(market.home, kind), well, market.clock())
        if news.failed:
            alerted += _tell_failures(market, alerts, run, news.failed, kind=kind)
        if news.recovered:
            links = {"Dagster run": alerts.run_address(run.run_id)}
            alert = recovery_alert(
                market.home, run.run_id, news.recovered, kind=kind, links=links, now=market.clock()
            )
            raise_alert(market.home, alert)
    if ended:
        newest = ended[-1].update_timestamp
        again = [one.dagster_run.run_id for one in ended if one.update_timestamp >= newest - LOOK_BACK]
        before = {"seen": str(newest), "runs": again}
    skipped = f"alerts about failed {kind}s: {alerted}" if alerted else f"no {kind} fails that was not told"
    return dg.SensorResult(skip_reason=skipped, cursor=json.dumps({**before, "told": told}))


def _looked(cursor: str | None) -> dict[str, Any]:
    """Until when runs were ``seen``, which ``runs`` in the last minute of it, and what was ``told`` when."""
    # Any other cursor is one of an earlier version: everything is looked at again, the outbox knows it.
    known: dict[str, Any] = {"seen": None, "runs": [], "told": {}}
    if cursor and cursor.startswith("{"):
        known |= json.loads(cursor)
    return known


def tell_failed_run(
    market: MarketResource, alerts: AlertsResource, run: dg.DagsterRun, failed: Mapping[str, str]
) -> None:
    """Put an alert into the outbox for a run of which steps failed, once whoever tells it.

    Parameters
    ----------
    failed
        Step, and what went wrong there.
    """
    _tell_failures(market, alerts, run, failed, kind="run")


def _tell_failures(
    market: MarketResource,
    alerts: AlertsResource,
    run: dg.DagsterRun,
    failed: Mapping[str, str],
    *,
    kind: Literal["run", "check"],
) -> bool:
    retried = run.tags.get(RETRY_TAG)
    first_try = {"its first try": alerts.run_address(retried)} if retried else {}
    alert = failure_alert(
        market.home,
        f"{'failed' if kind == 'run' else 'failed-checks'}:{run.run_id}",
        failed,
        kind=kind,
        because=run.tags.get(CAUSE_TAG),
        links={"Dagster run": alerts.run_address(run.run_id)} | first_try,
        now=market.clock(),
    )
    return raise_alert(market.home, alert)


@dg.sensor(target=None, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def failed_ticks_are_told(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SkipReason:
    """Put an alert into the outbox for each sensor or schedule whose last evaluation failed, once a day."""
    failing = []
    for state in context.instance.all_instigator_state():
        ticks = context.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1, statuses=list(ENDED_TICKS)
        )
        if not ticks or ticks[0].status is not TickStatus.FAILURE:
            continue
        name = state.instigator_name
        failing.append(name)
        alert = failure_alert(
            market.home,
            f"failed-tick:{name}:{datetime.fromtimestamp(ticks[0].timestamp, UTC):%Y-%m-%d}",
            {name: what_went_wrong(ticks[0].error)},
            kind=state.instigator_type.value.lower(),
            because=None,
            links={"Dagster": f"{alerts.dagster_address}/automation"},
            now=market.clock(),
        )
        raise_alert(market.home, alert)
    for kind in InstigatorType:
        _tell_mended(market, alerts, kind.value.lower(), failing)
    return dg.SkipReason(f"failing: {', '.join(failing)}" if failing else "every evaluation succeeds")


def _tell_mended(market: MarketResource, alerts: AlertsResource, kind: str, unwell: Collection[str]) -> None:
    """Resolve the alerts of a kind whose matter is well again, and say so."""
    home, now = market.home, market.clock()
    outbox = Outbox(home.alerts_database)
    for cause in outbox.unwell(failure_kind(home, kind), unwell, now):
        told = outbox.one(alert_id(cause)).alert
        links = {"Dagster": f"{alerts.dagster_address}/automation"}
        raise_alert(home, recovery_alert(home, cause, told.about, kind=kind, links=links, now=now))


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def silent_streams_are_told(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SensorResult:
    """Put an alert into the outbox when bars that are due do not come over the stream, once a silence.

    Bars received are held against bars due, whatever the connection says of itself, and whether or not the
    program that reads it lives. Bars that come over REST meanwhile do not count.
    """
    record = StreamRecord.read(market.home.stream_record)
    if record is None:
        return dg.SensorResult(skip_reason="no stream was started: make up starts it for a market that grows")
    before = json.loads(context.cursor) if context.cursor else {}
    silent = record.silent(market.settings, market.now(), before=before)
    if silent:
        lost = {"last lost connection": record.last_failure} if record.last_failure else {}
        alert = failure_alert(
            market.home,
            f"silent-stream:{market.name}:" + ",".join(f"{one.symbol}@{one.due_since}" for one in silent),
            {one.symbol: missed(one) for one in silent} | lost,
            kind="stream",
            because=None,
            links={"Dagster": f"{alerts.dagster_address}/automation"},
            now=market.clock(),
        )
        raise_alert(market.home, replace(alert, about=tuple(one.symbol for one in silent)))
    _tell_mended(market, alerts, "stream", [one.symbol for one in silent])
    told = f"silent: {', '.join(one.symbol for one in silent)}" if silent else "bars come as they are due"
    return dg.SensorResult(skip_reason=told, cursor=json.dumps(record.progress(market.settings)))


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def decisions_are_told(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SensorResult:
    """Put an alert into the outbox for each promotion, refusal, rollback and training of the ledger, once."""
    home, now = market.home, market.clock()
    outbox = Outbox(home.alerts_database)
    seen, told = int(context.cursor or 0), 0
    for entry in home.ledger.entries():
        if entry.id <= seen:
            continue
        seen = entry.id
        if now - entry.at > TOLD_WITHIN:
            continue  # of a ledger that is older than this sensor
        settle(outbox, entry, now)
        alert = decision_alert(entry, links=_decision_links(home, alerts, entry), now=now)
        told += alert is not None and raise_alert(home, alert)
    return dg.SensorResult(skip_reason=f"decisions told: {told}", cursor=str(seen))


def _decision_links(home: Home, alerts: AlertsResource, entry: Entry) -> dict[str, str]:
    versions = {entry.version, entry.previous}
    runs = {
        found.run_id: found.version
        for found in home.tracking.versions(entry.model)
        if found.version in versions
    }
    links = {"MLflow comparison": alerts.comparison_address(entry.model, runs)} if len(runs) == 2 else {}
    if entry.kind == "admission":
        links["POST here to approve"] = f"{alerts.serving_address}/models/{entry.model}/promote"
    return links | {"Dagster": alerts.asset_address("gate_decision")}


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def outbox_is_delivered(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SkipReason:
    """Send what waits in the outbox, and remind of what is open; what is not taken is tried again later."""
    failures = alerts.deliver(market.home, context.log.info, market.clock())
    outbox, channels = Outbox(market.home.alerts_database), alerts.channels(context.log.info)
    waiting = sum(len(outbox.undelivered(channel.name)) for channel in channels)
    quiet = f"{waiting} messages wait for their next try" if waiting else "nothing waits"
    return dg.SkipReason("; ".join(failures) or quiet)
