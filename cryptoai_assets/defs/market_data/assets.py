"""Candles as the source gave them, and candles that passed every rule."""

from typing import Any

import dagster as dg

from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH, symbol_and_month
from cryptoai_assets.defs.market_data.recipes import clean_candles_recipe, raw_candles_recipe
from cryptoai_assets.defs.materialization import materialized_partitions, table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.market import month_window
from cryptoai_assets.lib.market_data import TakenIn, appended, cleaned, ingested
from cryptoai_assets.lib.sources.candle_source import Fetched

# Of the stored part, fetched again in search of late and revised bars.
OVERLAP_BARS = 30
ONE_RUN = dg.BackfillPolicy.single_run()


@dg.asset(partitions_def=SYMBOL_MONTH, backfill_policy=ONE_RUN, group_name="market_data", kinds={"parquet"})
def raw_candles(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and closed bar, as the source gave it, with what it said about empty slots.

    From the market's source. A market that ends with its data is read a whole month at a time; of one that
    grows, what came since the last stored bar is added, and a bar that changed since is told as a revision.
    """
    source = market.source()

    def ingest(key: str) -> dict[str, Any]:
        symbol, month = symbol_and_month(key)
        settings, stores, now = market.settings, market.stores, market.now()
        start, end = month_window(settings, month, now)
        added: Fetched | TakenIn
        if settings.grows:
            added = appended(
                source,
                stores,
                symbol=symbol,
                month=month,
                start=start,
                end=end,
                interval=settings.interval,
                overlap=OVERLAP_BARS * settings.bar,
                now=now,
            )
        else:
            added = ingested(source, stores, symbol=symbol, month=month, start=start, end=end)
        stored = stores.raw_candles.month(symbol, month)
        return {
            "dagster/row_count": stored.height,
            "added_rows": added.candles.height,
            "added_facts": added.facts.height,
            "source": source.name,
            "span": f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
            "preview": table(stored.tail(10)),
        }

    return materialized_partitions(context, lambda key: raw_candles_recipe(market, key), ingest)


@dg.asset(
    partitions_def=SYMBOL_MONTH,
    backfill_policy=ONE_RUN,
    group_name="market_data",
    kinds={"parquet"},
    deps=[raw_candles],
)
def clean_candles(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and closed bar that passed every rule, sorted and unique, and the no-trade facts.

    From `raw_candles`. Rejected rows lie in ``data/<market>/quarantine`` with a reason; nothing is mended.
    """

    def clean(key: str) -> dict[str, Any]:
        symbol, month = symbol_and_month(key)
        told = cleaned(
            market.stores,
            symbol=symbol,
            month=month,
            interval=market.settings.interval,
            plausibility=market.settings.plausibility,
        )
        return {
            "dagster/row_count": told.accepted.height,
            "rejected_rows": told.rejected.height,
            "rows_by_finding": told.counts,
            "quarantine": dg.MetadataValue.path(str(market.stores.quarantine.path(symbol, month))),
            "preview": table(told.accepted),
        }

    return materialized_partitions(context, lambda key: clean_candles_recipe(market, key), clean)
