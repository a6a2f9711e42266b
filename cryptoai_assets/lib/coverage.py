"""Coverage of a market's history: how many bars of each month are there, had no trade, or are missing."""

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from cryptoai_assets.lib.market import Market, month_after, month_start, month_window
from cryptoai_assets.lib.market_data import MarketStores
from edge_bundle.candles import on_grid
from edge_bundle.facts import no_trade_slots

COVERAGE_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "month": pl.String(),
    "due": pl.UInt32(),
    "present": pl.UInt32(),
    "no_trade": pl.UInt32(),
    "missing": pl.UInt32(),
}


def coverage(
    stores: MarketStores, market: Market, now: datetime, months: Iterable[tuple[str, str]] | None = None
) -> pl.DataFrame:
    """One row a symbol and month that was cleaned: bars due, and what became of them.

    In the month that runs, bars are due up to the newest one: what comes after it may be on its way, and
    that it stays away is told of by freshness.

    Parameters
    ----------
    months
        Symbols and months; None is all that are stored.
    """
    if months is None:
        months = (
            (symbol, month) for symbol in market.symbols for month in stores.clean_candles.months(symbol)
        )
    rows = [_month_coverage(stores, market, symbol, month, now) for symbol, month in months]
    return pl.DataFrame(rows, schema=COVERAGE_SCHEMA, orient="row")


def _month_coverage(
    stores: MarketStores, market: Market, symbol: str, month: str, now: datetime
) -> tuple[str, str, int, int, int, int]:
    start, end = month_window(market, month, now)
    here = pl.col("open_time").is_between(start, end, closed="left") & on_grid(market.bar)
    candles = stores.clean_candles.month(symbol, month).select("open_time").filter(here)
    quiet = no_trade_slots(stores.clean_facts.month(symbol, month)).select("open_time").unique().filter(here)
    if market.grows and now < month_start(month_after(month)):
        known = pl.concat([candles["open_time"], quiet["open_time"]])
        end = known.to_frame().select((pl.col("open_time").max() + market.bar).fill_null(start)).item()
    no_trade = quiet.join(candles, on="open_time", how="anti").height
    due = -((start - end) // market.bar)
    return symbol, month, due, candles.height, no_trade, due - candles.height - no_trade
