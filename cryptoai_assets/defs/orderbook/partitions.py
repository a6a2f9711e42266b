"""Partitions of what is kept by symbol and day."""

from datetime import UTC, date, datetime, time

import dagster as dg

from cryptoai_assets.defs.resources import configured_market
from cryptoai_assets.lib.market import Market


def symbol_days(market: Market) -> dg.MultiPartitionsDefinition:
    """One partition per symbol and day; a market without an end has the running day too."""
    end = market.history_end
    days = dg.DailyPartitionsDefinition(
        start_date=datetime.combine(market.history_start, time(), tzinfo=UTC),
        end_date=datetime.combine(end, time(), tzinfo=UTC) if end else None,
        end_offset=0 if end else 1,
    )
    symbols = dg.StaticPartitionsDefinition(list(market.symbols))
    return dg.MultiPartitionsDefinition({"day": days, "symbol": symbols})


def symbol_and_day(partition_key: str) -> tuple[str, date]:
    """Symbol and day of a key such as ``2026-03-01|BTCUSDT``."""
    day, symbol = partition_key.split("|")
    return symbol, date.fromisoformat(day)


SYMBOL_DAY = symbol_days(configured_market())
