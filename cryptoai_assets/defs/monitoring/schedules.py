"""When what was served is looked at."""

import dagster as dg

from cryptoai_assets.defs.monitoring.assets import (
    drift_report,
    experiment_results,
    hourly_drift,
    live_scores,
    replayed_forecasts,
)
from cryptoai_assets.defs.resources import MarketResource
from edge_bundle.releases import read_channel

replay_every_hour = dg.ScheduleDefinition(
    name="replay_every_hour",
    cron_schedule="40 * * * *",
    target=dg.AssetSelection.assets(replayed_forecasts)
    | dg.AssetSelection.checks_for_assets(replayed_forecasts),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


@dg.schedule(
    cron_schedule="10 * * * *",
    target=dg.AssetSelection.assets(hourly_drift, live_scores),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def watch_every_hour(market: MarketResource) -> dg.RunRequest | dg.SkipReason:
    """Judge the newest hour, and score what was served, once something is released."""
    return _once_released(market)


@dg.schedule(
    cron_schedule="20 4 * * *",
    target=dg.AssetSelection.assets(drift_report),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def verdict_every_day(market: MarketResource) -> dg.RunRequest | dg.SkipReason:
    """Judge the newest week, and decide, once something is released."""
    return _once_released(market)


def _once_released(market: MarketResource) -> dg.RunRequest | dg.SkipReason:
    channel = read_channel(market.home.releases, market.settings.model)
    if channel is None or channel.champion is None:
        return dg.SkipReason("nothing is released yet")
    return dg.RunRequest()


experiment_every_day = dg.ScheduleDefinition(
    name="experiment_every_day",
    cron_schedule="50 3 * * *",
    target=dg.AssetSelection.assets(experiment_results),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
