"""Whether the market still is what the champion was trained on."""

from typing import Any

import dagster as dg
import polars as pl

from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.monitoring.recipes import drift_report_recipe
from cryptoai_assets.defs.release.assets import released_bundle
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.defs.training.recipes import STRETCH_SCORES_NAME
from cryptoai_assets.lib.figures import drift_figure
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.releases import champion_forecaster
from cryptoai_assets.lib.store import read_stored_parquet
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
        found = watch(home, champion, dataset, _promised(home), outcomes_of(dataset, market.settings))
        context.log.info(f"verdict: {found.verdict.action}: {found.verdict.reason}")
        if found.verdict.drifted:
            links = {"Dagster run": alerts.run_address(context.run_id)}
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


def _promised(home: Home) -> dict[int, float]:
    """Accuracy on the final stretch, by horizon."""
    scores = read_stored_parquet(home.candidate / STRETCH_SCORES_NAME)
    accuracy = scores.filter(pl.col("metric").str.ends_with("/accuracy"))
    return {
        int(metric.partition("/")[0][1:]): float(value)
        for metric, value in accuracy.select("metric", "value").iter_rows()
    }
