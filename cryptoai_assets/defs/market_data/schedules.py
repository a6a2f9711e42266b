"""When a market that grows is read: its candles every few minutes, and what follows from them at once."""

import dagster as dg

from cryptoai_assets.defs.market_data.partitions import symbol_months_at
from cryptoai_assets.defs.resources import MarketResource, configured_market

GROWS = configured_market().grows

# A month of one symbol, from its source to its features.
refreshed_candles = dg.define_asset_job(
    "refreshed_candles",
    selection=dg.AssetSelection.assets("raw_candles", "clean_candles", "features"),
)


@dg.schedule(
    cron_schedule="*/5 * * * *",
    job=refreshed_candles,
    default_status=dg.DefaultScheduleStatus.RUNNING if GROWS else dg.DefaultScheduleStatus.STOPPED,
)
def candles_every_five_minutes(
    context: dg.ScheduleEvaluationContext, market: MarketResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for the running month of every symbol; a run that has not ended yet is not overtaken."""
    if not market.settings.grows:
        return dg.SkipReason(f"the market {market.name} ends with its data")
    under_way = dg.RunsFilter(
        job_name=refreshed_candles.name,
        statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
    )
    busy = {run.tags.get("dagster/partition") for run in context.instance.get_runs(under_way)}
    wanted = [key for key in symbol_months_at(market.settings, market.now()) if key not in busy]
    return [dg.RunRequest(partition_key=key) for key in wanted] or dg.SkipReason("the last runs go on")
