"""Candles as the source gave them, and candles that passed every rule."""

from typing import Any

import dagster as dg

from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH, symbol_and_month
from cryptoai_assets.defs.market_data.recipes import clean_candles_recipe, raw_candles_recipe
from cryptoai_assets.defs.materialization import materialized_partitions, table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.market import month_window
from cryptoai_assets.lib.market_data import cleaned, ingested

ONE_RUN = dg.BackfillPolicy.single_run()


@dg.asset(partitions_def=SYMBOL_MONTH, backfill_policy=ONE_RUN, group_name="market_data", kinds={"parquet"})
def raw_candles(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and closed bar, as the source gave it, with what it said about empty slots.

    From the market's source; a month is replaced whole, so that it may be materialized again at any time.
    """
    source = market.source()

    def ingest(key: str) -> dict[str, Any]:
        symbol, month = symbol_and_month(key)
        start, end = month_window(market.settings, month, market.now())
        fetched = ingested(source, market.stores, symbol=symbol, month=month, start=start, end=end)
        rows, facts = fetched.candles.height, fetched.facts.height
        span = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        preview = table(fetched.candles)
        return {"dagster/row_count": rows, "no_trade_facts": facts, "span": span, "preview": preview}

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
        told = cleaned(market.stores, symbol=symbol, month=month, interval=market.settings.interval)
        return {
            "dagster/row_count": told.accepted.height,
            "rejected_rows": told.rejected.height,
            "repeated_rows": told.repeated,
            "reordered_rows": told.reordered,
            "quarantine": dg.MetadataValue.path(str(market.stores.quarantine.path(symbol, month))),
            "preview": table(told.accepted),
        }

    return materialized_partitions(context, lambda key: clean_candles_recipe(market, key), clean)
