"""From a verdict to a training, from whatever failed to the outbox, and from the outbox to a person."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster_shared.error import SerializableErrorInfo

from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.live_bars import StreamRecord, missed
from cryptoai_assets.lib.watch import failure_alert, newest_verdict, raise_alert
from edge_bundle.alerts import Outbox

CAUSE_TAG = "cryptoai/cause"
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
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def drift_asks_for_training(market: MarketResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for a training when the newest verdict says so; once per cause, whatever happens in between."""
    found = newest_verdict(market.home)
    if found is None:
        return dg.SkipReason("no verdict yet: materialize drift_report")
    if found.action != "retrain":
        return dg.SkipReason(f"verdict: {found.action}: {found.reason}")
    # Dagster starts one run per run key, across restarts of the sensor.
    request = dg.RunRequest(
        run_key=found.cause, run_config=training_config(found.cause), tags={CAUSE_TAG: found.cause}
    )
    return dg.SensorResult(run_requests=[request])


@dg.run_failure_sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def failed_runs_are_told(
    context: dg.RunFailureSensorContext, market: MarketResource, alerts: AlertsResource
) -> None:
    """Put an alert into the outbox for each run that failed, whatever its job."""
    run = context.dagster_run
    failed = {
        str(event.step_key): _what_went_wrong(event.step_failure_data.error)
        for event in context.get_step_failure_events()
    }
    nameless = {run.job_name: context.failure_event.message or "no error was recorded"}
    tell_failed_run(market, alerts, run, failed or nameless)


def tell_failed_run(
    market: MarketResource, alerts: AlertsResource, run: dg.DagsterRun, failed: Mapping[str, str]
) -> None:
    """Put an alert into the outbox for a run of which steps failed, once whoever tells it.

    Parameters
    ----------
    failed
        Step, and what went wrong there.
    """
    alert = failure_alert(
        market.home,
        f"failed:{run.run_id}",
        failed,
        kind="run",
        because=run.tags.get(CAUSE_TAG),
        links={"Dagster run": alerts.run_address(run.run_id)},
        now=market.clock(),
    )
    raise_alert(market.home, alert)


def _what_went_wrong(error: SerializableErrorInfo | None) -> str:
    """First line of an error, of the one behind it where Dagster wrapped it."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().partition("\n")[0] if error else "no error was recorded"


@dg.sensor(target=None, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def failed_checks_are_told(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SensorResult:
    """Put an alert into the outbox for each run in which a check failed as an error.

    A failed check does not fail its run in Dagster, so the run's own sensor does not see it. A check that
    fails as a warning is a note for those who look at the asset. Runs are looked at once they have ended, a
    minute of them again each time: the outbox keeps one alert a run.
    """
    # A cursor without a time is one of an earlier version, which counted events.
    seen = datetime.fromisoformat(context.cursor) if context.cursor and "-" in context.cursor else None
    ended = context.instance.get_run_records(
        dg.RunsFilter(statuses=list(ENDED_RUNS), updated_after=seen and seen - LOOK_BACK),
        limit=RUNS_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    told = 0
    for record in ended:
        run_id = record.dagster_run.run_id
        failed = _failed_checks(context.instance, run_id)
        if failed:
            alert = failure_alert(
                market.home,
                f"failed-checks:{run_id}",
                failed,
                kind="check",
                because=None,
                links={"Dagster run": alerts.run_address(run_id)},
                now=market.clock(),
            )
            told += raise_alert(market.home, alert)
    cursor = str(ended[-1].update_timestamp) if ended else context.cursor
    skipped = f"failed checks in {told} runs are told" if told else "no check failed"
    return dg.SensorResult(skip_reason=skipped, cursor=cursor)


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """What the checks of a run say that failed as errors, by name."""
    # Event by run: the default storage keeps a file a run, and knows no place among the events of all.
    evaluated = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return dict(filter(None, map(_failed_check, evaluated.records)))


def _failed_check(record: dg.EventLogRecord) -> tuple[str, str] | None:
    """Name of a check that failed as an error, and what it says; None for any other."""
    event = record.event_log_entry.dagster_event
    found = event.asset_check_evaluation_data if event else None
    if found is None or found.passed or found.severity is not dg.AssetCheckSeverity.ERROR:
        return None
    counted = {name: entry.value for name, entry in found.metadata.items() if isinstance(entry.value, int)}
    where = f" of {found.partition}" if found.partition else ""
    numbers = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in counted.items())
    said = found.description or numbers or "it is not true"
    return f"{found.asset_key.to_user_string()}: {found.check_name}", f"{said}{where}"


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
            {name: _what_went_wrong(ticks[0].error)},
            kind=state.instigator_type.value.lower(),
            because=None,
            links={"Dagster": f"{alerts.dagster_address}/automation"},
            now=market.clock(),
        )
        raise_alert(market.home, alert)
    return dg.SkipReason(f"failing: {', '.join(failing)}" if failing else "every evaluation succeeds")


@dg.sensor(target=None, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
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
        raise_alert(market.home, alert)
    told = f"silent: {', '.join(one.symbol for one in silent)}" if silent else "bars come as they are due"
    return dg.SensorResult(skip_reason=told, cursor=json.dumps(record.progress(market.settings)))


@dg.sensor(target=None, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def outbox_is_delivered(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SkipReason:
    """Send what waits in the outbox; what a channel does not take is tried again later."""
    outbox, channels = Outbox(market.home.alerts_database), alerts.channels(context.log.info)
    failures = outbox.deliver(channels, market.clock())
    waiting = sum(len(outbox.undelivered(channel.name)) for channel in channels)
    quiet = f"{waiting} messages wait for their next try" if waiting else "nothing waits"
    return dg.SkipReason("; ".join(failures) or quiet)
