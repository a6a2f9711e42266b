"""The online store's back end in a SQLite file: a symbol's bars are one value, whose end is read at once."""

import sqlite3
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from cryptoai_serving.bar_shelf import BAR, KEPT_BARS, SLOT, BarShelf, Packed, merged, replaced, unpacked
from cryptoai_serving.database import Database
from edge_bundle.facts import FACT_SCHEMA

_SCHEMA = """
CREATE TABLE IF NOT EXISTS packed_bars (symbol TEXT PRIMARY KEY, bars BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS no_trade (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, known_at INTEGER NOT NULL,
    PRIMARY KEY (symbol, open_time)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    symbol TEXT, event_time INTEGER NOT NULL, known_at INTEGER NOT NULL,
    source TEXT NOT NULL, name TEXT NOT NULL, value REAL
);
"""


class SqliteShelf(BarShelf):
    """Bars in a file; nothing is opened before the first call."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=_SCHEMA, version=2, upgrade=_pack_rows)

    def put_bars(self, bars: Mapping[str, Packed]) -> None:
        """Add bars or replace them, and keep the newest."""
        self._keep(bars, merged)

    def replace_bars(self, bars: Mapping[str, Packed]) -> None:
        """Put bars in the place of all up to the newest of them; newer ones stay."""
        self._keep(bars, replaced)

    def _keep(self, bars: Mapping[str, Packed], joined: Callable[[Packed, Packed], Packed]) -> None:
        with self._database.transaction(writing=True) as connection:
            for symbol, own in bars.items():
                newest = joined(_latest(connection, symbol, KEPT_BARS), own)[-KEPT_BARS:]
                connection.execute(
                    "INSERT OR REPLACE INTO packed_bars VALUES (?, ?)", (symbol, newest.tobytes())
                )
                if len(newest) == KEPT_BARS:
                    connection.execute(
                        "DELETE FROM no_trade WHERE symbol = ? AND open_time < ?",
                        (symbol, int(newest["open_time"][0])),
                    )

    def put_slots(self, slots: Mapping[str, Packed]) -> None:
        """Add slots without a trade or replace them."""
        rows = [(symbol, *slot) for symbol, own in slots.items() for slot in own.tolist()]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO no_trade VALUES (?, ?, ?)", rows)

    def replace_facts(self, facts: pl.DataFrame) -> None:
        """Keep these facts and no others."""
        rows = facts.with_columns(pl.col("event_time", "known_at").dt.epoch("us")).rows()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM facts")
            connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", rows)

    def facts(self, names: Collection[str]) -> pl.DataFrame:
        """Facts of these names, in the order in which they were put."""
        query = "SELECT * FROM facts WHERE name = ? ORDER BY rowid"
        with self._database.transaction() as connection:
            rows = [row for name in sorted(names) for row in connection.execute(query, (name,))]
        schema = {**FACT_SCHEMA, "event_time": pl.Int64(), "known_at": pl.Int64()}
        return pl.DataFrame(rows, schema=schema, orient="row").cast(pl.Schema(FACT_SCHEMA))

    def latest(self, symbols: Sequence[str], bars: int) -> dict[str, Packed]:
        """At most the newest `bars` bars of each symbol."""
        with self._database.transaction() as connection:
            return {symbol: _latest(connection, symbol, bars) for symbol in sorted(set(symbols))}

    def window(self, symbols: Sequence[str], bars: int) -> tuple[dict[str, Packed], dict[str, Packed]]:
        """The same, and the slots after the oldest of them, in one transaction."""
        query = "SELECT open_time, known_at FROM no_trade WHERE symbol = ? AND open_time > ?"
        with self._database.transaction() as connection:
            found = {symbol: _latest(connection, symbol, bars) for symbol in sorted(set(symbols))}
            slots = {
                symbol: connection.execute(query, (symbol, int(own["open_time"][0]))).fetchall()
                for symbol, own in found.items()
                if len(own)
            }
        return found, {symbol: np.array(own, SLOT) for symbol, own in slots.items()}

    def revision(self) -> Hashable | None:
        """Number of the file's last change."""
        return self._database.revision()

    def close(self) -> None:
        """End the connection."""
        self._database.close()


def _latest(connection: sqlite3.Connection, symbol: str, bars: int) -> Packed:
    """At most the newest bars of a symbol, in order."""
    query = "SELECT substr(bars, ?) FROM packed_bars WHERE symbol = ?"
    row = connection.execute(query, (-min(bars, KEPT_BARS) * BAR.itemsize, symbol)).fetchone()
    return unpacked(row[0] if row else None, BAR)


def _pack_rows(connection: sqlite3.Connection) -> None:
    """Take over a file of version 1, which had a row for each bar."""
    query = "SELECT bar FROM bars WHERE symbol = ? ORDER BY open_time"
    for (symbol,) in connection.execute("SELECT DISTINCT symbol FROM bars").fetchall():
        packed = b"".join(bar for (bar,) in connection.execute(query, (symbol,)))
        connection.execute("INSERT OR REPLACE INTO packed_bars VALUES (?, ?)", (symbol, packed))
    connection.execute("DROP TABLE bars")
