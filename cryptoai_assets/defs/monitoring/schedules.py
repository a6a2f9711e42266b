"""When what was served is looked at."""

import dagster as dg

from cryptoai_assets.defs.monitoring.assets import experiment_results, replayed_forecasts

replay_every_hour = dg.ScheduleDefinition(
    name="replay_every_hour",
    cron_schedule="40 * * * *",
    target=dg.AssetSelection.assets(replayed_forecasts)
    | dg.AssetSelection.checks_for_assets(replayed_forecasts),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

experiment_every_day = dg.ScheduleDefinition(
    name="experiment_every_day",
    cron_schedule="50 3 * * *",
    target=dg.AssetSelection.assets(experiment_results),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
