"""Candles of a file, the embedded sample or one of one's own, read through the interface of a venue."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.quality import QUOTE_VOLUME
from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError, SourceRefusedError
from edge_bundle.candles import TIME_WANTED, cast_candles, interval_duration, on_grid, shown_value, utc_time
from edge_bundle.errors import CandlesRefusedError
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE

# Names under which an archive may keep the open time.
TIME_COLUMNS = ("open_time", "open_time_ms", "timestamp", "ts")


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """Candles of a Parquet file: a column for the open time, ``symbol``, prices and volume.

    Parameters
    ----------
    path
        The file; a column ``quote_volume`` more is handed on, for the quality rules to read.
    name
        Stands as the source of its facts.
    """

    path: Path
    interval: str
    name: str

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Bars with ``start <= open_time < end``, in the order of the file.

        A slot for which the archive holds a bar of another symbol is one at which the venue answered: the
        symbol was not traded, and the slot becomes a ``no_trade`` fact, known at its close. A slot that is
        absent for all symbols stays unknown.

        Raises
        ------
        SourceError
            When the archive is absent, or does not hold the symbol.
        SourceRefusedError
            When it holds no candles.
        """
        if not self.path.is_file():
            raise SourceError(f"the archive {self.path} is absent")
        try:
            return self._fetched(symbol, start, end)
        # A time far outside the calendar makes polars panic.
        except (CandlesRefusedError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise SourceRefusedError(f"{self.path} holds no candles: {error}") from error

    def _fetched(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        archive = self._opened()
        market = self._read(archive.filter(pl.col("open_time").is_between(start, end, closed="left")))
        own = market.filter(pl.col("symbol") == symbol)
        if own.is_empty():
            held = archive.select(pl.col("symbol").cast(pl.String).unique().sort()).collect()["symbol"]
            if symbol not in held:
                raise SourceError(f"the {self.name} does not hold {symbol}; it holds {', '.join(held)}")
        return Fetched(own, quiet_slots(market, own, symbol=symbol, interval=self.interval, source=self.name))

    def _opened(self) -> pl.LazyFrame:
        archive = pl.scan_parquet(self.path)
        schema = archive.collect_schema()
        time = next((name for name in TIME_COLUMNS if name in schema), None)
        if time is None:
            raise SourceRefusedError(f"{self.path} has the columns {', '.join(schema)}: none is open_time")
        opened = utc_time(pl.col(time), schema[time])
        # Before a window is cut: a time that is told in another unit lies in none.
        unread = archive.filter(opened.is_null()).select(time).head(1).collect()[time]
        if len(unread):
            raise CandlesRefusedError(f"column {time}: {shown_value(unread, 0)} is not a {TIME_WANTED}")
        return archive.with_columns(open_time=opened)

    def _read(self, asked: pl.LazyFrame) -> pl.DataFrame:
        rows = asked.collect()
        candles = cast_candles(rows)
        if QUOTE_VOLUME not in rows.columns:
            return candles
        return candles.with_columns(rows[QUOTE_VOLUME].cast(pl.Float64))


def quiet_slots(
    market: pl.DataFrame, own: pl.DataFrame, *, symbol: str, interval: str, source: str
) -> pl.DataFrame:
    """``no_trade`` facts of slots at which a market has bars and a symbol has none, known at their close."""
    seen = market.filter(on_grid(interval_duration(interval))).select(pl.col("open_time").unique())
    quiet = seen.join(own, on="open_time", how="anti").sort("open_time")
    facts = quiet.select(
        symbol=pl.lit(symbol),
        event_time=pl.col("open_time"),
        known_at=pl.col("open_time") + interval_duration(interval),
        source=pl.lit(source),
        name=pl.lit(NO_TRADE),
        value=pl.lit(1.0),
    )
    return facts.cast(pl.Schema(FACT_SCHEMA))
