"""From a verdict to a training, and from the outbox to a person."""

import dagster as dg

from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.watch import newest_verdict
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


@dg.sensor(target=None, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def outbox_is_delivered(
    context: dg.SensorEvaluationContext, market: MarketResource, alerts: AlertsResource
) -> dg.SkipReason:
    """Send what waits in the outbox; what a channel does not take is tried again later."""
    outbox = Outbox(market.home.alerts_database)
    failures = outbox.deliver(alerts.channels(context.log.info), market.clock())
    return dg.SkipReason("; ".join(failures) or "nothing waits")
