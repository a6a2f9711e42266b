"""Whether the market still is what the champion was trained on."""

from typing import Any, get_args

import dagster as dg

from cryptoai_assets.defs.features.assets import features
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.monitoring.recipes import drift_report_recipe
from cryptoai_assets.defs.release.assets import released_bundle
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.lib.experiment_desk import (
    RESULT_NAME,
    newest_experiment,
    reckoned,
    record,
    result_record,
)
from cryptoai_assets.lib.figures import drift_figure, experiment_figure
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.releases import champion_forecaster, write_json
from cryptoai_assets.lib.replay import REPLAY_NAME, Status, replayed, sentence, served_forecasts
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from cryptoai_assets.lib.watch import drift_alert, outcomes_of, raise_alert, watch
from edge_bundle.alerts import Outbox


@dg.asset(group_name="monitoring", kinds={"evidently"}, deps=[released_bundle, training_dataset])
def drift_report(
    context: dg.AssetExecutionContext, market: MarketResource, alerts: AlertsResource
) -> dg.MaterializeResult[None]:
    """The newest week against the champion's training rows: drift by feature, live scores, and a verdict."""

    def make() -> dict[str, Any]:
        home = market.home
        champion = champion_forecaster(home.releases, market.settings.model)
        if champion is None:
            raise dg.Failure("nothing is released yet, so there is no training window to compare with")
        dataset = read_stored_parquet(home.training_dataset)
        found = watch(
            home, champion, dataset, _promised(home, champion.digest), outcomes_of(dataset, market.settings)
        )
        context.log.info(f"verdict: {found.verdict.action}: {found.verdict.reason}")
        if found.verdict.action != "keep":
            links = {"Dagster run": alerts.run_address(context.run.run_id)}
            raise_alert(home, drift_alert(home, found.verdict, links=links, now=market.clock()))
            failures = Outbox(home.alerts_database).deliver(alerts.channels(context.log.info), market.clock())
            for failure in failures:
                context.log.warning(failure)
        return {
            "verdict": found.verdict.action,
            "reason": found.verdict.reason,
            "largest_drift": picture(drift_figure(found.drift)),
            "drift": table(found.drift, found.drift.height),
            "live_scores": table(found.live, found.live.height),
            "report": dg.MetadataValue.url(found.report.html.resolve().as_uri()),
            "report_path": dg.MetadataValue.path(str(found.report.html)),
        }

    return materialized(drift_report_recipe(market), make)


@dg.asset(
    group_name="monitoring",
    deps=[released_bundle, features],
)
def replayed_forecasts(market: MarketResource) -> dg.MaterializeResult[None]:
    """A sample of the forecasts that were served, made again from the store as it was known then."""
    home = market.home
    found = replayed(home, served_forecasts(home))
    write_parquet_atomically(found, home.monitoring / REPLAY_NAME)
    differing = found.filter(status="differs")
    counted = {status: found.filter(status=status).height for status in get_args(Status)}
    return dg.MaterializeResult(
        metadata={"found": sentence(found), **counted, "differing": table(differing, differing.height)}
    )


@dg.asset(group_name="monitoring", kinds={"mlflow"}, deps=[released_bundle, training_dataset])
def experiment_results(
    context: dg.AssetExecutionContext, market: MarketResource
) -> dg.MaterializeResult[None]:
    """The newest experiment on what is served: how far it is, or, at its length, its effect and a verdict."""
    home = market.home
    experiment = newest_experiment(home)
    if experiment is None:
        return dg.MaterializeResult(metadata={"recommendation": "no experiment was ever begun"})
    dataset = read_stored_parquet(home.training_dataset)
    result = reckoned(home, experiment, outcomes_of(dataset, market.settings))
    write_json(home.monitoring / RESULT_NAME, result_record(experiment, result))
    context.log.info(f"experiment {experiment.name}: {result.recommendation}")
    return dg.MaterializeResult(
        metadata={
            "experiment": experiment.name,
            "recommendation": result.recommendation,
            "times": result.times,
            "times_needed": result.times_needed,
            "users": result.users,
            "effect": "" if result.effect is None else str(result.effect),
            "figure": picture(experiment_figure(experiment, result)),
            "mlflow_run": record(home, experiment, result),
        }
    )


def _promised(home: Home, bundle: str) -> dict[int, float]:
    """Accuracy of the version with this bundle on its final stretch, by horizon; none if never scored."""
    tags = next(
        (found.tags for found in home.tracking.versions(home.market.model) if found.bundle_sha256 == bundle),
        {},
    )
    accuracies = {horizon: tags.get(f"final_stretch/h{horizon}/accuracy") for horizon in home.market.horizons}
    return {horizon: float(text.split()[0]) for horizon, text in accuracies.items() if text}
