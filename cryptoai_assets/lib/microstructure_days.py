"""Microstructure bars by symbol and day, and the facts that features read of them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.orderbook.book import BINANCE_SPOT, Anomaly
from cryptoai_assets.lib.orderbook.microstructure import BAR_SCHEMA, BarSettings, bar_facts
from cryptoai_assets.lib.orderbook.recordings import recorded_bars
from cryptoai_assets.lib.sources.binance_recorder import SNAPSHOT_LEVELS
from cryptoai_assets.lib.store import read_stored_parquet, stored_notes, write_parquet_atomically
from edge_bundle.facts import empty_facts

LEVELS, DEPTH_BPS = 10, 10.0
# A simulated venue may run a minute in a second, and tells something ten times a second.
GREATEST_SILENCE = timedelta(seconds=30)
# Before the last day that has bars, for days whose runs failed while those of later ones did not.
LOOKED_BACK = timedelta(days=2)
# Note of a day's file: to which moment of the day its bars were made.
MADE_UNTIL = "cryptoai.made_until"


def day_bars(
    home: Home, symbol: str, day: date, *, until: datetime, resume: bool
) -> tuple[pl.DataFrame, list[Anomaly]]:
    """Make the bars of a day from its recording, and keep them; none where nothing was recorded.

    Parameters
    ----------
    resume
        Whether the bars that are kept stay, and only what follows them is made. They stay in any case where
        there is no recording any more.

    Raises
    ------
    CaptureError
        When a line of the recording cannot be read.
    """
    settings = BarSettings((home.market.bar,), LEVELS, DEPTH_BPS, GREATEST_SILENCE)
    path = home.microstructure.path(symbol, day)
    held = read_stored_parquet(path) if path.is_file() else pl.DataFrame(schema=BAR_SCHEMA)
    if held.height and not home.recordings.path(symbol, day).is_file():
        return held, []
    held = held if resume else held.clear()
    bars, anomalies = recorded_bars(
        home.recordings,
        symbol,
        day,
        # What ccxt.pro streamed holds no changes, and its trades count up as Binance's do.
        rules=BINANCE_SPOT,
        settings=settings,
        snapshot_limit=SNAPSHOT_LEVELS,
        since=held["open_time"][-1] + home.market.bar if held.height else None,
        until=until,
    )
    bars = pl.concat([held, bars])
    write_parquet_atomically(bars, path, notes={MADE_UNTIL: min(until, _end_of(day)).isoformat()})
    return bars, anomalies


def days_to_go_on_with(home: Home, now: datetime) -> dict[str, list[date]]:
    """Days of each symbol whose bars are to be made now: those recorded from the last one that has bars on.

    That one is gone on with once more after it ended, and so are those `LOOKED_BACK` before it whose bars
    were not made to their end. Where none has bars yet, the running day is the first.
    """
    today, days = now.date(), {}
    for symbol in home.market.symbols:
        made = [day for day in home.microstructure.days(symbol) if day <= today]
        last = made[-1] if made else today
        first = max(made[0], last - LOOKED_BACK) if made else today
        recorded = [day for day in home.recordings.days(symbol) if first <= day <= today]
        days[symbol] = [day for day in recorded if day >= last or not _is_whole(home, symbol, day)]
    return days


def _is_whole(home: Home, symbol: str, day: date) -> bool:
    """Whether the bars of a day were made when it had ended."""
    path = home.microstructure.path(symbol, day)
    return path.is_file() and stored_notes(path).get(MADE_UNTIL) == _end_of(day).isoformat()


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


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
