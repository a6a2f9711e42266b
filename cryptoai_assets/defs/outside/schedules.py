"""When facts are asked for: after the hours at which the day's values are published."""

import dagster as dg

from cryptoai_assets.defs.market_data.schedules import STATUS, lone_request
from cryptoai_assets.defs.outside.assets import GROUP
from cryptoai_assets.defs.resources import MarketResource, configured_market

# The index is shown after midnight, on-chain days are ready by noon; a simulated day takes minutes.
CRON = "*/5 * * * *" if configured_market().clock == "venue" else "15 1,13 * * *"

refreshed_facts = dg.define_asset_job(
    "refreshed_facts",
    selection=dg.AssetSelection.groups(GROUP),
    description="Ask every source of facts; their checks tell when one is stale.",
)


@dg.schedule(
    cron_schedule=CRON,
    job=refreshed_facts,
    default_status=STATUS,
)
def facts_every_day(
    context: dg.ScheduleEvaluationContext, market: MarketResource
) -> dg.RunRequest | dg.SkipReason:
    """Ask every source; a run that has not ended yet is not overtaken, for one process writes at a time."""
    return lone_request(context, market, job=refreshed_facts.name)
