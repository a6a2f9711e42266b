"""When the platform tells of itself."""

import dagster as dg

from cryptoai_assets.defs.upkeep.assets import weekly_digest

digest_every_monday = dg.ScheduleDefinition(
    name="digest_every_monday",
    cron_schedule="0 7 * * 1",
    target=dg.AssetSelection.assets(weekly_digest),
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
