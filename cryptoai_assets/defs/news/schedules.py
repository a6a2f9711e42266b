"""When news are asked for: each quarter of an hour, in a market that grows."""

import dagster as dg

from cryptoai_assets.defs.market_data.schedules import STATUS, lone_request
from cryptoai_assets.defs.news.assets import GROUP
from cryptoai_assets.defs.resources import MarketResource, configured_market

refreshed_news = dg.define_asset_job(
    "refreshed_news",
    selection=dg.AssetSelection.groups(GROUP),
    description="Ask every source of news, score what is new, and tell the mood.",
)


@dg.schedule(
    cron_schedule="*/5 * * * *" if configured_market().clock == "venue" else "*/15 * * * *",
    job=refreshed_news,
    default_status=STATUS,
)
def news_each_quarter(
    context: dg.ScheduleEvaluationContext, market: MarketResource
) -> dg.RunRequest | dg.SkipReason:
    """Ask every source; a run that has not ended yet is not overtaken, for one process writes at a time."""
    return lone_request(context, market, job=refreshed_news.name)
