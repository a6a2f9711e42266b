"""The online store: the latest closed bars of each symbol, and facts, written for the service to read."""

import sqlite3
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_serving.database import Database
from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS, candle_frame, interval_duration
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts, validated_facts
from edge_bundle.windows import MarketWindow

# Twice what the longest memory of the catalog may ever need.
KEPT_BARS = 10_000
# One bar as SQLite keeps it: reading thousands of numbers one by one would take longer than the forecast.
_NUMBERS = tuple(name for name in CANDLE_SCHEMA if name not in ("open_time", "symbol"))
BAR = np.dtype([("open_time", "<i8"), *((name, "<f8") for name in _NUMBERS)])
_SCHEMA = """
CREATE TABLE IF NOT EXISTS bars (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, bar BLOB NOT NULL,
    PRIMARY KEY (symbol, open_time)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS no_trade (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, known_at INTEGER NOT NULL,
    PRIMARY KEY (symbol, open_time)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    symbol TEXT, event_time INTEGER NOT NULL, known_at INTEGER NOT NULL,
    source TEXT NOT NULL, name TEXT NOT NULL, value REAL
);
"""


class BarStore:
    """Bars and no-trade slots in a SQLite file; nothing is opened before the first call."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=_SCHEMA, version=1)

    def write_bars(self, candles: pl.DataFrame) -> None:
        """Add closed bars or replace them; only the newest `KEPT_BARS` of a symbol are kept.

        Raises
        ------
        CandlesRefusedError
            When a column is absent or cannot be read.
        StoreUnavailableError
            When the file cannot be written.
        """
        candles = candle_frame(candles)
        values = np.empty(candles.height, BAR)
        values["open_time"] = candles["open_time"].dt.epoch("us").to_numpy()
        for name in _NUMBERS:
            values[name] = candles[name].to_numpy()
        rows = zip(candles["symbol"], values["open_time"].tolist(), _payloads(values), strict=True)
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO bars VALUES (?, ?, ?)", rows)
            for symbol in candles["symbol"].unique():
                oldest = connection.execute(
                    "SELECT open_time FROM bars WHERE symbol = ? ORDER BY open_time DESC LIMIT 1 OFFSET ?",
                    (symbol, KEPT_BARS - 1),
                ).fetchone()
                for table in ("bars", "no_trade") if oldest else ():
                    connection.execute(
                        f"DELETE FROM {table} WHERE symbol = ? AND open_time < ?",  # noqa: S608 — two own names
                        (symbol, *oldest),
                    )

    def write_no_trade(self, facts: pl.DataFrame) -> None:
        """Add the ``no_trade`` facts of a fact frame; facts of other names are left out.

        Raises
        ------
        FactsRefusedError
            When the frame breaks the fact contract.
        StoreUnavailableError
            When the file cannot be written.
        """
        quiet = validated_facts(facts).filter(pl.col("name") == NO_TRADE, pl.col("symbol").is_not_null())
        rows = quiet.select("symbol", pl.col("event_time", "known_at").dt.epoch("us")).rows()
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO no_trade VALUES (?, ?, ?)", rows)

    def write_facts(self, facts: pl.DataFrame) -> None:
        """Replace the facts that are no ``no_trade`` facts; what is handed over is all that is kept.

        Raises
        ------
        FactsRefusedError
            When the frame breaks the fact contract.
        StoreUnavailableError
            When the file cannot be written.
        """
        kept = validated_facts(facts).filter(pl.col("name") != NO_TRADE)
        rows = kept.with_columns(pl.col("event_time", "known_at").dt.epoch("us")).rows()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM facts")
            connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", rows)

    def facts(self, names: Collection[str]) -> pl.DataFrame:
        """Facts of these names, in the order in which they were written.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        query = "SELECT * FROM facts WHERE name = ? ORDER BY rowid"
        with self._database.transaction() as connection:
            rows = [row for name in sorted(names) for row in connection.execute(query, (name,))]
        schema = {**FACT_SCHEMA, "event_time": pl.Int64(), "known_at": pl.Int64()}
        return pl.DataFrame(rows, schema=schema, orient="row").cast(pl.Schema(FACT_SCHEMA))

    def latest(self, symbols: Sequence[str], bars: int) -> pl.DataFrame:
        """Candle frame with at most the newest `bars` closed bars of each symbol.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        with self._database.transaction() as connection:
            return _candle_frame(_latest(connection, symbols, bars))

    def window(self, symbols: Sequence[str], bars: int) -> MarketWindow:
        """Latest bars, and the no-trade slots after the oldest of them.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        query = "SELECT symbol, open_time, known_at FROM no_trade WHERE symbol = ? AND open_time > ?"
        with self._database.transaction() as connection:
            found = _latest(connection, symbols, bars)
            oldest = [
                (symbol, int(values["open_time"][0])) for symbol, values in found.items() if len(values)
            ]
            quiet = [row for key in oldest for row in connection.execute(query, key)]
        facts = _no_trade_facts(quiet, source="online_store") if quiet else empty_facts()
        return MarketWindow(_candle_frame(found), facts)

    def revision(self) -> Hashable | None:
        """Something that every write changes, whoever makes it; None when it cannot be told at once."""
        return self._database.revision()

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def no_trade_facts(slots: pl.DataFrame, *, interval: str, source: str) -> pl.DataFrame:
    """Fact frame from ``symbol`` and ``open_time`` of slots without a trade, known when they close."""
    close = pl.col("open_time") + interval_duration(interval)
    rows = slots.select("symbol", pl.col("open_time").dt.epoch("us"), close.dt.epoch("us").alias("known_at"))
    return _no_trade_facts(rows.rows(), source=source)


def _no_trade_facts(rows: Sequence[tuple[str, int, int]], *, source: str) -> pl.DataFrame:
    columns = {"symbol": pl.String, "event_time": pl.Int64, "known_at": pl.Int64}
    return (
        pl.DataFrame(rows, schema=columns, orient="row")
        .with_columns(
            pl.col("event_time", "known_at").cast(UTC_MICROSECONDS),
            source=pl.lit(source),
            name=pl.lit(NO_TRADE),
            value=pl.lit(1.0),
        )
        .select(*FACT_SCHEMA)
    )


def _payloads(values: npt.NDArray[Any]) -> list[bytes]:
    packed = values.tobytes()
    return [packed[start : start + BAR.itemsize] for start in range(0, len(packed), BAR.itemsize)]


def _latest(connection: sqlite3.Connection, symbols: Sequence[str], bars: int) -> dict[str, npt.NDArray[Any]]:
    """Bars by symbol, both in order."""
    query = "SELECT bar FROM bars WHERE symbol = ? ORDER BY open_time DESC LIMIT ?"
    packed = {
        symbol: b"".join([bar for (bar,) in connection.execute(query, (symbol, bars))])
        for symbol in sorted(set(symbols))
    }
    return {symbol: np.frombuffer(newest_first, BAR)[::-1] for symbol, newest_first in packed.items()}


def _candle_frame(found: Mapping[str, npt.NDArray[Any]]) -> pl.DataFrame:
    if not found:
        return pl.DataFrame(schema=CANDLE_SCHEMA)
    values = np.concatenate(list(found.values()))
    times = pl.Series(np.ascontiguousarray(values["open_time"])).cast(UTC_MICROSECONDS)
    owners = np.repeat(np.arange(len(found)), [len(own) for own in found.values()])
    numbers = {name: np.ascontiguousarray(values[name]) for name in _NUMBERS}
    return pl.DataFrame({"open_time": times, "symbol": pl.Series(list(found)).gather(owners), **numbers})
