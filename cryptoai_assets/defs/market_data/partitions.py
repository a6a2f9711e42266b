"""Partitions of everything that is kept by symbol and month."""

from datetime import UTC, datetime, time, timedelta

import dagster as dg

from cryptoai_assets.defs.resources import configured_market
from cryptoai_assets.lib.market import Market, month_after, month_start
from cryptoai_assets.lib.market_data import MarketStores
from cryptoai_assets.lib.market_month import months_to_take


def symbol_months(market: Market) -> dg.MultiPartitionsDefinition:
    """One partition per symbol and month; a market without an end has the running month too."""
    end = market.history_end
    months = dg.MonthlyPartitionsDefinition(
        start_date=datetime.combine(market.history_start.replace(day=1), time(), tzinfo=UTC),
        # A month that the history leaves unfinished is one too.
        end_date=month_start(month_after(f"{end - timedelta(days=1):%Y-%m}")) if end else None,
        end_offset=0 if end else 1,
    )
    return dg.MultiPartitionsDefinition(
        {"month": months, "symbol": dg.StaticPartitionsDefinition(list(market.symbols))}
    )


def symbol_and_month(partition_key: str) -> tuple[str, str]:
    """Symbol and month (``YYYY-MM``) of a key such as ``2018-03-01|BTCUSD``."""
    month, symbol = partition_key.split("|")
    return symbol, month[:7]


def symbol_months_at(market: Market, stores: MarketStores, now: datetime) -> list[str]:
    """Keys of the months that each symbol's source is asked for at a time, in order; see `months_to_take`."""
    return sorted(
        partition_of(symbol, month_start(month))
        for symbol in market.symbols
        for month in months_to_take(market, stores, symbol, now)
    )


def partition_of(symbol: str, moment: datetime) -> str:
    """Key of the month in which a moment lies."""
    return f"{moment:%Y-%m}-01|{symbol}"


SYMBOL_MONTH = symbol_months(configured_market())


def venue_pool(market: Market) -> str | None:
    """Pool of what asks a market's venue, one at a time whatever runs beside it: its rate limit is kept.

    None where no venue is asked.
    """
    return (
        None
        if not market.grows
        else "".join(letter if letter.isalnum() else "_" for letter in market.venue.lower())
    )


VENUE_POOL = venue_pool(configured_market())
