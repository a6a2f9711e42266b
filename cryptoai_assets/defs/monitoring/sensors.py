"""From a verdict to a training, from a failed run to the outbox, and from the outbox to a person."""

import dagster as dg

from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.watch import failure_alert, newest_verdict, raise_alert
from edge_bundle.alerts import Outbox

CAUSE_TAG = "cryptoai/cause"
TRAINING = dg.AssetSelection.assets(
    "training_dataset", "model_settings", "walk_forward_scores", "trained_forecaster"
)
AFTERWARDS = dg.AssetSelection.assets("version_scores", "gate_decision", "released_bundle", "drift_report")

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
    failed = {str(event.step_key): _what_went_wrong(event) for event in context.get_step_failure_events()}
    alert = failure_alert(
        market.home,
        run.run_id,
        failed or {run.job_name: context.failure_event.message or "no error was recorded"},
        because=run.tags.get(CAUSE_TAG),
        links={"Dagster run": alerts.run_address(run.run_id)},
        now=market.clock(),
    )
    raise_alert(market.home, alert)


def _what_went_wrong(event: dg.DagsterEvent) -> str:
    """First line of the error, of the asset's own where Dagster wrapped it."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().partition("\n")[0] if error else "no error was recorded"


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
