"""When bars of the order book are made of what was recorded: every few minutes while a market grows."""

import dagster as dg

from cryptoai_assets.defs.market_data.schedules import STATUS, free_requests
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.microstructure_days import days_to_go_on_with

refreshed_books = dg.define_asset_job(
    "refreshed_books", selection=dg.AssetSelection.assets("microstructure_bars")
)
_RESUME = {"ops": {"microstructure_bars": {"config": {"resume": True}}}}


@dg.schedule(cron_schedule="2-59/5 * * * *", job=refreshed_books, default_status=STATUS)
def books_every_five_minutes(
    context: dg.ScheduleEvaluationContext, market: MarketResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Go on with the days of every symbol that are recorded, from the last one that has bars on."""
    if not market.settings.grows:
        return dg.SkipReason(f"the market {market.name} ends with its data")
    days = days_to_go_on_with(market.home, market.now())
    wanted = [f"{day:%Y-%m-%d}|{symbol}" for symbol, own in days.items() for day in own]
    if not wanted:
        return dg.SkipReason("nothing is recorded: make up and make record do, where the venue allows it")
    return free_requests(context, wanted, jobs=[refreshed_books.name], run_config=_RESUME)
