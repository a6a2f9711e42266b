"""Microstructure bars by symbol and day, and the facts that features read of them."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.orderbook.book import BINANCE_SPOT, Anomaly
from cryptoai_assets.lib.orderbook.microstructure import BarSettings, bar_facts
from cryptoai_assets.lib.orderbook.recordings import recorded_bars
from cryptoai_assets.lib.sources.binance_recorder import SNAPSHOT_LEVELS
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from edge_bundle.facts import empty_facts

LEVELS, DEPTH_BPS = 10, 10.0
# A simulated venue may run a minute in a second, and tells something ten times a second.
GREATEST_SILENCE = timedelta(seconds=30)


def day_bars(home: Home, symbol: str, day: date, *, until: datetime) -> tuple[pl.DataFrame, list[Anomaly]]:
    """Make the bars of a day from its recording, and keep them; none where nothing was recorded.

    Raises
    ------
    CaptureError
        When a line of the recording cannot be read.
    """
    settings = BarSettings((home.market.bar,), LEVELS, DEPTH_BPS, GREATEST_SILENCE)
    bars, anomalies = recorded_bars(
        home.recordings,
        symbol,
        day,
        rules=BINANCE_SPOT,
        settings=settings,
        snapshot_limit=SNAPSHOT_LEVELS,
        until=until,
    )
    write_parquet_atomically(bars, home.microstructure.path(symbol, day))
    return bars, anomalies


def microstructure_facts(
    home: Home, symbols: Iterable[str], start: datetime | None, end: datetime | None
) -> pl.DataFrame:
    """Facts of the bars that open in ``[start, end)``, known when each bar ended."""
    parts = [read_stored_parquet(path) for path in home.microstructure.files(symbols, start, end).values()]
    if not parts:
        return empty_facts()
    bars = pl.concat(parts)
    if start is not None:
        bars = bars.filter(pl.col("open_time") >= start)
    if end is not None:
        bars = bars.filter(pl.col("open_time") < end)
    return bar_facts(bars, interval=home.market.bar, source=f"{home.market.venue} book")
