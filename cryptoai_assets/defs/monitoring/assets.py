"""Whether the market still is what the champion was trained on."""

from datetime import datetime
from typing import Any, get_args

import dagster as dg
import polars as pl
from pydantic import Field

from cryptoai_assets.defs.features.assets import features
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.monitoring.recipes import drift_report_recipe
from cryptoai_assets.defs.release.assets import released_bundle
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.lib.drift_telling import drift_is_over, illustrated
from cryptoai_assets.lib.experiment_desk import (
    RESULT_NAME,
    ended_experiment,
    newest_experiment,
    reckoned,
    record,
    result_record,
)
from cryptoai_assets.lib.figures import (
    drift_figure,
    experiment_figure,
    live_score_figure,
    telling_figure,
)
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.hourly_watch import draw_hour, hour_is_calm, hourly_alert, watch_hour
from cryptoai_assets.lib.live_scores import EVERY_SYMBOL, newest_live_scores, outcomes_of
from cryptoai_assets.lib.models.baselines import LAST_RETURN
from cryptoai_assets.lib.monthly_features import newest_dataset
from cryptoai_assets.lib.probation import begin_probation, conclude_probation
from cryptoai_assets.lib.releases import champion_forecaster, write_json
from cryptoai_assets.lib.replay import REPLAY_NAME, Status, replayed, sentence, served_forecasts
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from cryptoai_assets.lib.watch import (
    FALSE_ALARMS_A_MONTH,
    POLICY,
    Watched,
    act,
    drift_alert,
    hourly_rate,
    raise_alert,
    watch,
)
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import read_channel

# Of a verdict that this asset does nothing about.
_LEFT = {
    "keep": "nothing to be done",
    "watch": "told",
    "retrain": "told; the sensor drift_asks_for_training asks for a training",
}


class WatchConfig(dg.Config):
    """How often the watch may be wrong."""

    false_alarms_a_month: float = Field(
        default=FALSE_ALARMS_A_MONTH,
        gt=0,
        description="Days with a false alarm, over all features, symbols, windows and statistics together",
    )


@dg.asset(group_name="monitoring", kinds={"evidently"}, deps=[released_bundle, training_dataset])
def drift_report(
    context: dg.AssetExecutionContext, config: WatchConfig, market: MarketResource, alerts: AlertsResource
) -> dg.MaterializeResult[None]:
    """The newest week and hour against the champion's training rows, and the verdict, carried out."""

    def make() -> dict[str, Any]:
        home = market.home
        champion = _champion(market)
        newest = _newest(home, champion)
        found = watch(
            home,
            champion,
            newest,
            false_alarms_a_month=config.false_alarms_a_month,
            policy=market.verdict_policy,
        )
        context.log.info(f"verdict: {found.verdict.action}: {found.verdict.reason}")
        if found.verdict.action != "keep":
            links = alerts.drift_links(home, context.run.run_id)
            told = drift_alert(home, found.verdict, links=links, now=market.clock())
            raise_alert(home, illustrated(home, told, found.drift))
        else:
            drift_is_over(home, market.clock())
        done = act(home, found.verdict, version=_version(home), at=market.clock())
        _deliver(context, market, alerts)
        return {
            "verdict": found.verdict.action,
            "reason": found.verdict.reason,
            "done": done or _LEFT.get(found.verdict.action, "done before"),
            "largest_drift": picture(drift_figure(found.drift)),
            "drift": table(found.drift, found.drift.height),
            **_told_apart(found),
            "newest_hour": "too few days before the release" if found.hourly is None else table(found.hourly),
            "report": dg.MetadataValue.url(found.report.html.resolve().as_uri()),
            "report_path": dg.MetadataValue.path(str(found.report.html)),
        }

    return materialized(drift_report_recipe(market), make)


@dg.asset(group_name="monitoring", kinds={"evidently"}, deps=[released_bundle, training_dataset])
def hourly_drift(
    context: dg.AssetExecutionContext, config: WatchConfig, market: MarketResource, alerts: AlertsResource
) -> dg.MaterializeResult[None]:
    """Each column of each symbol in the newest hour; a page of Evidently is drawn on an alarm."""
    home = market.home
    champion = _champion(market)
    newest, rate = _newest(home, champion), hourly_rate(config.false_alarms_a_month)
    found = watch_hour(home, champion, newest, rate, release=POLICY.release)
    if found is None:
        return dg.MaterializeResult(metadata={"found": "too few days are known before the release"})
    metadata: dict[str, Any] = {"columns": table(found.table, 20), "drifted": found.table["drifted"].sum()}
    if found.began is None:
        hour_is_calm(home, market.clock())
    else:
        page = draw_hour(home, champion, newest, found)
        links = {"Dagster run": alerts.run_address(context.run.run_id)}
        raise_alert(home, hourly_alert(home, found, found.began, links=links, now=market.clock()))
        _deliver(context, market, alerts)
        metadata |= {"since": str(found.began)} | ({"report_path": str(page.html)} if page else {})
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(group_name="monitoring", deps=[released_bundle, training_dataset])
def live_scores(market: MarketResource) -> dg.MaterializeResult[None]:
    """Scores of what was served: a row a version, variant, symbol, horizon, window and metric; hourly."""
    home = market.home
    champion = _champion(market)
    trained_until = datetime.fromisoformat(champion.manifest.trained_until)
    found = newest_live_scores(home, _newest(home, champion), trained_until)
    shown = found.filter(symbol=EVERY_SYMBOL)
    pictures = {
        metric: picture(live_score_figure(found, metric=metric, symbol=EVERY_SYMBOL))
        for metric in ("accuracy", "brier")
        if shown.filter(metric=metric).height
    }
    return dg.MaterializeResult(
        metadata={"dagster/row_count": found.height, "scores": table(shown, shown.height), **pictures}
    )


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
    """The newest experiment on what is served: how far it is, or, at its length, its effect and a verdict.

    A probation that has its length is decided here, and the next one that waits begins.
    """
    home = market.home
    experiment = newest_experiment(home)
    if experiment is None:
        begun = begin_probation(home, market.probation, market.clock()) if market.probation else ""
        return dg.MaterializeResult(
            metadata={"recommendation": "no experiment was ever begun", "probation": begun}
        )
    dataset = read_stored_parquet(home.training_dataset)
    result = reckoned(home, experiment, outcomes_of(dataset, market.settings))
    ended = ended_experiment(home, experiment.name)
    write_json(home.monitoring / RESULT_NAME, result_record(experiment, result, ended))
    context.log.info(f"experiment {experiment.name}: {result.recommendation}")
    probation = [conclude_probation(home, experiment, result, market.clock())]
    if market.probation:
        probation.append(begin_probation(home, market.probation, market.clock()))
    return dg.MaterializeResult(
        metadata={
            "experiment": experiment.name,
            "recommendation": result.recommendation,
            "times": result.times,
            "times_needed": result.times_needed,
            "users": result.users,
            "effect": "" if result.effect is None else str(result.effect),
            "probation": "; ".join(filter(None, probation)),
            "figure": picture(experiment_figure(experiment, result)),
            "mlflow_run": record(home, experiment, result),
        }
    )


def _told_apart(found: Watched) -> dict[str, Any]:
    if found.apart is None:
        return {"then_from_now": "too few rows to tell the newest week from those of the training"}
    return {
        "then_from_now": table(found.apart.table),
        "what_tells_then_from_now": table(found.apart.shares, found.apart.shares.height),
        "largest_shares": picture(telling_figure(found.apart)),
    }


def _champion(market: MarketResource) -> Forecaster:
    champion = champion_forecaster(market.home.releases, market.settings.model)
    if champion is None:
        raise dg.Failure("nothing is released yet, so there is no training window to compare with")
    return champion


def _version(home: Home) -> int:
    """Version of the champion, which was loaded before."""
    channel = read_channel(home.releases, home.market.model)
    return channel.champion.version if channel and channel.champion else 0


def _newest(home: Home, champion: Forecaster) -> pl.DataFrame:
    """Dataset with the bars that came since it was made."""
    names = dict.fromkeys([*champion.manifest.features, LAST_RETURN])
    return newest_dataset(home, read_stored_parquet(home.training_dataset), list(names))


def _deliver(context: dg.AssetExecutionContext, market: MarketResource, alerts: AlertsResource) -> None:
    """Send at once what waits; what a channel does not take is tried again by the sensor."""
    for failure in alerts.deliver(market.home, context.log.info, market.clock()):
        context.log.warning(failure)
