"""Bars of the order book and the trades, from what was recorded of them."""

from collections import Counter
from typing import Any

import dagster as dg

from cryptoai_assets.defs.market_data.assets import ONE_RUN
from cryptoai_assets.defs.materialization import materialized_partitions, table
from cryptoai_assets.defs.orderbook.partitions import SYMBOL_DAY, symbol_and_day
from cryptoai_assets.defs.orderbook.recipes import microstructure_bars_recipe
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.microstructure_days import day_bars
from cryptoai_assets.lib.sources.exchange_stream import counts_changes


class BarsConfig(dg.Config):
    """How a day of bars is made.

    Parameters
    ----------
    resume
        Whether the bars that are kept stay and only later ones are made, as the schedule asks; by hand, all
        of them are made anew.
    """

    resume: bool = False


@dg.asset(partitions_def=SYMBOL_DAY, backfill_policy=ONE_RUN, group_name="order_book", kinds={"parquet"})
def microstructure_bars(
    context: dg.AssetExecutionContext, config: BarsConfig, market: MarketResource
) -> dg.MaterializeResult[None]:
    """One row per symbol and bar: imbalance, spread, microprice and depth at its end, and the trades in it.

    From the recordings that `make up` makes of a market that grows, or `make record` of any. Where the book
    was out of step, its columns are null.
    """

    def make(key: str) -> dict[str, Any]:
        symbol, day = symbol_and_day(key)
        bars, anomalies = day_bars(market.home, symbol, day, until=market.now(), resume=config.resume)
        return {
            "dagster/row_count": bars.height,
            "state": "configured" if market.home.recordings.path(symbol, day).is_file() else "not recorded",
            "bars_without_a_book": bars["top_imbalance"].null_count(),
            "lost_changes_are_noticed": counts_changes(market.settings.venue),
            "anomalies": dict(Counter(str(anomaly.kind) for anomaly in anomalies)),
            "preview": table(bars.tail(10)),
        }

    return materialized_partitions(context, lambda key: microstructure_bars_recipe(market, key), make)
