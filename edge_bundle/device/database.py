"""The device's database: one SQLite file that survives a cut of the power and stays of bounded size.

It is written ahead of itself (WAL). A commit is not forced to the card one by one: after a cut of the power
the last ones may be gone, never half there, and what is gone is fetched or computed again. Times are whole
milliseconds since 1970 in UTC.
"""

import math
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from edge_bundle.candles import CANDLE_SCHEMA, candle_frame
from edge_bundle.errors import EdgeBundleError
from edge_bundle.forecast import Forecast

BUSY_SECONDS = 30.0
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Troubles and readings are for people, who look days back and not years.
MOST_TROUBLES = 2_000
# The standard normal's 97.5 % point.
_Z = 1.959964
# What each version of the schema adds; a database of an older one is brought along.
_SCHEMAS = (
    """
CREATE TABLE candles (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, open REAL NOT NULL, high REAL NOT NULL,
    low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL, source TEXT NOT NULL,
    known_at INTEGER NOT NULL, PRIMARY KEY (symbol, open_time)
) WITHOUT ROWID;
CREATE TABLE gaps (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, found_at INTEGER NOT NULL, tries INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'refilled', 'not to be had')),
    PRIMARY KEY (symbol, open_time)
) WITHOUT ROWID;
CREATE TABLE reference_prices (
    symbol TEXT NOT NULL, at INTEGER NOT NULL, price REAL NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (symbol, at, source)
) WITHOUT ROWID;
CREATE TABLE forecasts (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, bundle TEXT NOT NULL, horizon INTEGER NOT NULL,
    known_at INTEGER NOT NULL, made_at INTEGER NOT NULL, model TEXT NOT NULL,
    expected_return_bps REAL, probability_up REAL, expected_volatility_bps REAL, lower_bps REAL,
    upper_bps REAL, abstention TEXT, detail TEXT, input_sha256 TEXT, return_bps REAL,
    PRIMARY KEY (symbol, open_time, bundle, horizon)
) WITHOUT ROWID;
CREATE INDEX forecasts_without_outcome ON forecasts (open_time) WHERE return_bps IS NULL;
CREATE TABLE troubles (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, program TEXT NOT NULL, what TEXT NOT NULL
);
CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
""",
    """
CREATE TABLE articles (
    version TEXT NOT NULL, known_at INTEGER NOT NULL, address TEXT NOT NULL, source TEXT NOT NULL,
    channel TEXT NOT NULL, author TEXT, title TEXT NOT NULL, text TEXT NOT NULL, language TEXT,
    published_at INTEGER, coins TEXT NOT NULL, negative REAL, neutral REAL, positive REAL, score REAL,
    method TEXT, method_version TEXT, PRIMARY KEY (version, known_at)
) WITHOUT ROWID;
CREATE INDEX articles_by_time ON articles (known_at);
CREATE TABLE moods (
    symbol TEXT NOT NULL, at INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (at, symbol, name)
) WITHOUT ROWID;
""",
)
SCHEMA_VERSION = len(_SCHEMAS)


_FORGETTING = (
    "DELETE FROM candles WHERE open_time < ?",
    "DELETE FROM gaps WHERE open_time < ?",
    "DELETE FROM reference_prices WHERE at < ?",
    "DELETE FROM forecasts WHERE open_time < ?",
    "DELETE FROM troubles WHERE at < ?",
    "DELETE FROM articles WHERE known_at < ?",
    "DELETE FROM moods WHERE at < ?",
)


class DatabaseRefusedError(EdgeBundleError):
    """The database is of a newer program, damaged, or on a full or read-only disk."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong in a program of the device."""

    at: datetime
    program: str
    what: str


@dataclass(frozen=True, slots=True)
class GapSummary:
    """Missing bars of a symbol by what is known of them."""

    symbol: str
    open: int
    refilled: int
    not_to_be_had: int


@dataclass(frozen=True, slots=True)
class ForecastRecord:
    """How right the forecasts of one horizon were.

    Parameters
    ----------
    bars
        Of the horizon.
    count
        Forecasts that did not abstain, also those whose outcome is not known yet.
    right, right_interval
        Share of those whose close moved that named the direction, and its 95 % interval (Wilson), as if they
        were independent; None before the first outcome.
    inside
        Share whose return lay in the interval; None before the first outcome.
    """

    bars: int
    count: int
    right: float | None
    right_interval: tuple[float, float] | None
    inside: float | None


@dataclass(frozen=True, slots=True)
class DeviceDatabase:
    """Everything that the device keeps; each call is one transaction."""

    path: Path

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Open connection, committed at the end of the block or not at all.

        Raises
        ------
        DatabaseRefusedError
            When it cannot be opened, read or written; the message says why, and what to do.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                self._prepared(connection)
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # what was not committed is gone
        except (sqlite3.DatabaseError, OSError) as error:
            cure = "free space on the card, or move the file away to begin anew"
            raise DatabaseRefusedError(f"{self.path}: {error}; {cure}") from error

    def _prepared(self, connection: sqlite3.Connection) -> None:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise DatabaseRefusedError(
                f"{self.path} has schema version {version}, this program reads {SCHEMA_VERSION}: "
                "install the newer archive again"
            )
        connection.execute("BEGIN IMMEDIATE")
        [version] = connection.execute("PRAGMA user_version").fetchone()
        for schema in _SCHEMAS[version:]:  # none where somebody was faster
            for statement in schema.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def integrity(self) -> str:
        """``ok``, or what SQLite finds damaged."""
        with self.connection() as connection:
            rows = connection.execute("PRAGMA integrity_check").fetchall()
        return "; ".join(str(text) for (text,) in rows)

    def add_candles(self, candles: pl.DataFrame, *, source: str, now: datetime) -> int:
        """Keep bars that are not there yet, and close their gaps; return how many were new.

        A bar that is there stays as it was first known.

        Parameters
        ----------
        candles
            In `CANDLE_SCHEMA`, closed.
        """
        known_at = milliseconds(now)
        rows = [
            (symbol, milliseconds(time), *numbers, source, known_at)
            for time, symbol, *numbers in candles.iter_rows()
        ]
        with self.connection() as connection:
            before = connection.total_changes
            connection.executemany("INSERT OR IGNORE INTO candles VALUES (?,?,?,?,?,?,?,?,?)", rows)
            added = connection.total_changes - before
            connection.executemany(
                "UPDATE gaps SET state = 'refilled' WHERE symbol = ? AND open_time = ?",
                [row[:2] for row in rows],
            )
        return added

    def candles(self, symbols: Sequence[str], *, bars: int) -> pl.DataFrame:
        """Newest bars of each symbol, in `CANDLE_SCHEMA`."""
        query = (
            "SELECT open_time, symbol, open, high, low, close, volume FROM candles "
            "WHERE symbol = ? ORDER BY open_time DESC LIMIT ?"
        )
        with self.connection() as connection:
            rows = [row for symbol in symbols for row in connection.execute(query, (symbol, bars))]
        return _frame(rows)

    def candles_between(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Bars that open in ``[start, end)``, in `CANDLE_SCHEMA`."""
        query = (
            "SELECT open_time, symbol, open, high, low, close, volume FROM candles "
            "WHERE symbol = ? AND open_time >= ? AND open_time < ? ORDER BY open_time"
        )
        with self.connection() as connection:
            rows = connection.execute(query, (symbol, milliseconds(start), milliseconds(end))).fetchall()
        return _frame(rows)

    def open_gaps(self, symbol: str, *, found_since: datetime = EPOCH) -> list[datetime]:
        """Slots without a bar that may still be had, the newest first."""
        query = (
            "SELECT open_time FROM gaps WHERE symbol = ? AND state = 'open' AND found_at >= ? "
            "ORDER BY open_time DESC"
        )
        with self.connection() as connection:
            rows = connection.execute(query, (symbol, milliseconds(found_since)))
            return [moment(time) for (time,) in rows]

    def extent(self, symbol: str) -> tuple[datetime, datetime] | None:
        """Opening times of the first and the last bar; None while there is none."""
        query = "SELECT min(open_time), max(open_time) FROM candles WHERE symbol = ?"
        with self.connection() as connection:
            first, last = connection.execute(query, (symbol,)).fetchone()
        return None if first is None else (moment(first), moment(last))

    def note_gaps(
        self, symbol: str, slots: Sequence[datetime], *, now: datetime, asked_of: int | None = None
    ) -> None:
        """Write down slots without a bar.

        Parameters
        ----------
        asked_of
            The venue answered and had no bar of them: after so many times it is believed. None when it was
            not asked.
        """
        asked = 0 if asked_of is None else 1
        rows = [(symbol, milliseconds(slot), milliseconds(now), asked) for slot in slots]
        with self.connection() as connection:
            connection.executemany(
                "INSERT INTO gaps VALUES (?, ?, ?, ?, 'open') "
                "ON CONFLICT DO UPDATE SET tries = tries + excluded.tries",
                rows,
            )
            connection.execute(
                "UPDATE gaps SET state = 'not to be had' WHERE symbol = ? AND state = 'open' AND tries >= ?",
                (symbol, asked_of or sys.maxsize),
            )

    def gaps(self, symbols: Sequence[str]) -> list[GapSummary]:
        """How many bars of each symbol are missing, and what became of them."""
        query = (
            "SELECT count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE state = 'refilled'), "
            "count(*) FILTER (WHERE state = 'not to be had') FROM gaps WHERE symbol = ?"
        )
        with self.connection() as connection:
            return [
                GapSummary(symbol, *connection.execute(query, (symbol,)).fetchone()) for symbol in symbols
            ]

    def add_reference_prices(
        self, symbol: str, prices: Sequence[tuple[datetime, float]], *, source: str
    ) -> None:
        """Keep prices that are no bars: something to look at while the venue is away."""
        rows = [(symbol, milliseconds(at), price, source) for at, price in prices]
        with self.connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO reference_prices VALUES (?, ?, ?, ?)", rows)

    def add_forecast(self, forecast: Forecast, *, made_at: datetime) -> None:
        """Keep a forecast; one of the same bar by the same bundle stays as it was first made.

        An abstention gives way to a forecast that the same bundle makes of the same bar later.
        """
        abstention = forecast.abstention
        told = (None, None) if abstention is None else (abstention.reason, abstention.detail)
        shared = (forecast.symbol, milliseconds(forecast.open_time), forecast.bundle)
        times = (milliseconds(forecast.known_at), milliseconds(made_at), forecast.model)
        rows = [
            (
                *shared,
                one.horizon_bars,
                *times,
                one.expected_return_bps,
                one.probability_up,
                one.expected_volatility_bps,
                one.lower_bps,
                one.upper_bps,
                *told,
                forecast.input_sha256,
                None,
            )
            for one in forecast.horizons
        ]
        with self.connection() as connection:
            if abstention is None:
                connection.execute(
                    "DELETE FROM forecasts WHERE symbol = ? AND open_time = ? AND bundle = ? "
                    "AND abstention IS NOT NULL",
                    shared,
                )
            connection.executemany(
                "INSERT OR IGNORE INTO forecasts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                rows,
            )

    def join_outcomes(self, *, interval: timedelta) -> int:
        """Give forecasts the return that came, where both closes are there; return how many were new.

        A return is 10,000 times the logarithm of the close at the horizon over the close that was read.
        """
        query = (
            "UPDATE forecasts SET return_bps = 10000 * ln(later.close / read.close) "
            "FROM candles AS read, candles AS later WHERE return_bps IS NULL "
            "AND read.symbol = forecasts.symbol AND read.open_time = forecasts.open_time "
            "AND later.symbol = forecasts.symbol "
            "AND later.open_time = forecasts.open_time + forecasts.horizon * ?"
        )
        with self.connection() as connection:
            return connection.execute(query, (interval // MILLISECOND,)).rowcount

    def forecasts(self, symbol: str, *, newest: int) -> pl.DataFrame:
        """Newest forecasts of a symbol, a row a horizon, latest bar first; times are UTC datetimes."""
        query = "SELECT * FROM forecasts WHERE symbol = ? ORDER BY open_time DESC, bundle, horizon LIMIT ?"
        with self.connection() as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(query, (symbol, newest))]
        frame = pl.DataFrame(rows, schema=_FORECAST_SCHEMA)
        times = pl.from_epoch(pl.col("open_time", "known_at", "made_at"), time_unit="ms")
        return frame.with_columns(times.dt.replace_time_zone("UTC"))

    def records(self, symbol: str) -> list[ForecastRecord]:
        """How right the forecasts of each horizon were, over all that are kept."""
        query = (
            "SELECT horizon, count(*) FILTER (WHERE probability_up IS NOT NULL), "
            "count(*) FILTER (WHERE return_bps <> 0 AND probability_up IS NOT NULL), "
            "count(*) FILTER (WHERE return_bps <> 0 AND (probability_up > 0.5) = (return_bps > 0)), "
            "count(*) FILTER (WHERE return_bps IS NOT NULL AND lower_bps IS NOT NULL), "
            "count(*) FILTER (WHERE return_bps BETWEEN lower_bps AND upper_bps) "
            "FROM forecasts WHERE symbol = ? GROUP BY horizon ORDER BY horizon"
        )
        with self.connection() as connection:
            rows = connection.execute(query, (symbol,)).fetchall()
        return [
            ForecastRecord(
                bars=bars,
                count=count,
                right=right / moved if moved else None,
                right_interval=wilson_interval(right, moved) if moved else None,
                inside=inside / known if known else None,
            )
            for bars, count, moved, right, known, inside in rows
        ]

    def note_trouble(self, program: str, what: str, *, now: datetime) -> None:
        """Write down what went wrong; the oldest ones make room."""
        with self.connection() as connection:
            connection.execute(
                "INSERT INTO troubles (at, program, what) VALUES (?, ?, ?)",
                (milliseconds(now), program, what),
            )
            connection.execute(
                "DELETE FROM troubles WHERE id <= (SELECT max(id) FROM troubles) - ?", (MOST_TROUBLES,)
            )

    def troubles(self, *, since: datetime) -> list[Trouble]:
        """What went wrong since a time, newest first."""
        query = "SELECT at, program, what FROM troubles WHERE at >= ? ORDER BY id DESC"
        with self.connection() as connection:
            rows = connection.execute(query, (milliseconds(since),)).fetchall()
        return [Trouble(moment(at), program, what) for at, program, what in rows]

    def mark(self, name: str, value: str, *, now: datetime) -> None:
        """Keep one word under a name, such as when a program last ended well."""
        with self.connection() as connection:
            connection.execute(
                "INSERT INTO marks VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value, at = excluded.at",
                (name, value, milliseconds(now)),
            )

    def marked(self, name: str) -> tuple[str, datetime] | None:
        """Word under a name and its time; None when there is none."""
        with self.connection() as connection:
            row = connection.execute("SELECT value, at FROM marks WHERE name = ?", (name,)).fetchone()
        return None if row is None else (row[0], moment(row[1]))

    def unmark(self, name: str) -> None:
        """Forget the word under a name."""
        with self.connection() as connection:
            connection.execute("DELETE FROM marks WHERE name = ?", (name,))

    def forget(self, *, before: datetime) -> int:
        """Drop what is older; return how many rows. The file keeps its size and uses the room again."""
        cut = milliseconds(before)
        with self.connection() as connection:
            return sum(connection.execute(statement, (cut,)).rowcount for statement in _FORGETTING)


def wilson_interval(hits: int, tries: int) -> tuple[float, float]:
    """95 % interval of a share. Source: Wilson, "Probable inference", JASA 22 (1927)."""
    share, weight = hits / tries, _Z**2 / tries
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / tries + weight / (4 * tries))
    return middle - half, middle + half


_FORECAST_SCHEMA = {
    "symbol": pl.String(),
    "open_time": pl.Int64(),
    "bundle": pl.String(),
    "horizon": pl.Int32(),
    "known_at": pl.Int64(),
    "made_at": pl.Int64(),
    "model": pl.String(),
    "expected_return_bps": pl.Float64(),
    "probability_up": pl.Float64(),
    "expected_volatility_bps": pl.Float64(),
    "lower_bps": pl.Float64(),
    "upper_bps": pl.Float64(),
    "abstention": pl.String(),
    "detail": pl.String(),
    "input_sha256": pl.String(),
    "return_bps": pl.Float64(),
}


def _frame(rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    raw = pl.DataFrame(rows, schema={**CANDLE_SCHEMA, "open_time": pl.Int64()}, orient="row")
    return candle_frame(raw)


def ran_well(program: str) -> str:
    """Mark under which a program's last good run is kept."""
    return f"{program} ran well"


def milliseconds(time: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (time - EPOCH) // MILLISECOND


def moment(time: int) -> datetime:
    """UTC time of `milliseconds`."""
    return EPOCH + time * MILLISECOND
