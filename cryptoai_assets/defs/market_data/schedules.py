"""When a market that grows is read: its candles every few minutes, its gaps every hour, and what follows."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from cryptoai_assets.defs.market_data.partitions import partition_of, symbol_months_at
from cryptoai_assets.defs.resources import MarketResource, configured_market
from cryptoai_assets.lib.gaps import OPEN

GROWS = configured_market().grows
STATUS = dg.DefaultScheduleStatus.RUNNING if GROWS else dg.DefaultScheduleStatus.STOPPED
UNDER_WAY = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
# A long history may hold many months with gaps: the newest come first, the others an hour later.
MOST_REPAIRS = 24

# A month of one symbol, from its source to its features.
refreshed_candles = dg.define_asset_job(
    "refreshed_candles",
    selection=dg.AssetSelection.assets("raw_candles", "clean_candles", "features"),
)
# A month of one symbol whose gaps are worked off and which is then cleaned again.
refilled_candles = dg.define_asset_job(
    "refilled_candles",
    selection=dg.AssetSelection.assets("repaired_gaps", "clean_candles", "features"),
)
_WRITERS = (refreshed_candles.name, refilled_candles.name)


@dg.schedule(cron_schedule="*/5 * * * *", job=refreshed_candles, default_status=STATUS)
def candles_every_five_minutes(
    context: dg.ScheduleEvaluationContext, market: MarketResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for the running month of every symbol, and for ended ones at whose end nobody has looked.

    A run that has not ended yet is not overtaken.
    """
    if not market.settings.grows:
        return dg.SkipReason(f"the market {market.name} ends with its data")
    wanted = symbol_months_at(market.settings, market.stores, market.now())
    return free_requests(context, wanted, jobs=_WRITERS)


@dg.schedule(cron_schedule="20 * * * *", job=refilled_candles, default_status=STATUS)
def gaps_every_hour(
    context: dg.ScheduleEvaluationContext, market: MarketResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for every month of a symbol that has an open gap, the newest first."""
    settings = market.settings
    if not settings.grows:
        return dg.SkipReason(f"the market {market.name} ends with its data")
    gaps = market.gaps.current(settings.symbols, interval=settings.interval)
    found = gaps.filter(state=OPEN).sort("from", descending=True)
    wanted = dict.fromkeys(
        partition_of(symbol, start) for symbol, start in found.select("symbol", "from").rows()
    )
    if not wanted:
        return dg.SkipReason("no gap is open")
    return free_requests(context, list(wanted)[:MOST_REPAIRS], jobs=_WRITERS)


def free_requests(
    context: dg.ScheduleEvaluationContext,
    wanted: Sequence[str],
    *,
    jobs: Sequence[str],
    run_config: Mapping[str, Any] | None = None,
) -> list[dg.RunRequest] | dg.SkipReason:
    """Runs of the partitions that no run of these jobs is at work on: two would write the same files."""
    under_way = [dg.RunsFilter(job_name=job, statuses=list(UNDER_WAY)) for job in jobs]
    runs = [run for own in under_way for run in context.instance.get_runs(own)]
    busy = {run.tags.get("dagster/partition") for run in runs}
    free = [key for key in wanted if key not in busy]
    # Several requests of one tick need keys of their own, or Dagster refuses them all.
    tick = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
    requests = [
        dg.RunRequest(run_key=f"{key} {tick}", partition_key=key, run_config=run_config) for key in free
    ]
    return requests or dg.SkipReason("the last runs go on")


def lone_request(
    context: dg.ScheduleEvaluationContext, market: MarketResource, *, job: str
) -> dg.RunRequest | dg.SkipReason:
    """A run of a job that one process is at a time; none where a market ends, or the last run goes on."""
    if not market.settings.grows:
        return dg.SkipReason(f"the market {market.name} ends with its data")
    if context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(UNDER_WAY)), limit=1):
        return dg.SkipReason("the last run goes on")
    return dg.RunRequest()
