"""Features of every bar, by symbol and month."""

from typing import Any

import dagster as dg

from cryptoai_assets.defs.features.recipes import FEATURE_NAMES, features_recipe
from cryptoai_assets.defs.market_data.assets import ONE_RUN, clean_candles
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH, symbol_and_month
from cryptoai_assets.defs.materialization import materialized_partitions, table
from cryptoai_assets.defs.resources import MarketResource, configured_market
from cryptoai_assets.lib.monthly_features import month_features, months_before
from edge_bundle.features.catalog import largest_warmup

# A month's features read the months before it, as far back as the longest warm-up reaches.
WARMED_MONTHS = dg.MultiPartitionMapping(
    {
        "month": dg.DimensionPartitionMapping(
            "month",
            dg.TimeWindowPartitionMapping(
                start_offset=-months_before(configured_market(), FEATURE_NAMES),
                allow_nonexistent_upstream_partitions=True,
            ),
        ),
        "symbol": dg.DimensionPartitionMapping("symbol", dg.IdentityPartitionMapping()),
    }
)


@dg.asset(
    partitions_def=SYMBOL_MONTH,
    backfill_policy=ONE_RUN,
    group_name="features",
    kinds={"polars", "parquet"},
    deps=[dg.AssetDep(clean_candles, partition_mapping=WARMED_MONTHS)],
)
def features(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and grid bar, one column per catalog feature; null while warming up.

    From `clean_candles`, by the code that the device runs. A month costs the same whatever the history.
    """
    home = market.home

    def compute(key: str) -> dict[str, Any]:
        symbol, month = symbol_and_month(key)
        frame = month_features(home, symbol, month, FEATURE_NAMES)
        home.features.write(symbol, month, frame)
        complete = frame.drop_nulls().height
        return {
            "dagster/row_count": frame.height,
            "complete_rows": complete,
            "features": len(FEATURE_NAMES),
            "largest_warmup_bars": largest_warmup(FEATURE_NAMES),
            "preview": table(frame.tail(5)),
        }

    return materialized_partitions(context, lambda key: features_recipe(market, key), compute)
