"""The forecast log: every forecast that was answered, written off the request's path, read by monitoring."""

import json
import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_serving.database import Database
from cryptoai_serving.errors import StoreUnavailableError
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.forecast import VALUE_NAMES, Forecast

Origin = Literal["request", "store"]
# One row a symbol, time and horizon; values are null where the forecast abstained.
LOG_SCHEMA: dict[str, pl.DataType] = {
    "model": pl.String(),
    "version": pl.Int64(),
    "role": pl.String(),
    "bundle": pl.String(),
    "origin": pl.String(),
    "symbol": pl.String(),
    "open_time": UTC_MICROSECONDS,
    "known_at": UTC_MICROSECONDS,
    "interval": pl.String(),
    "horizon_bars": pl.Int64(),
    **{name: pl.Float64() for name in VALUE_NAMES},
    "interval_coverage": pl.Float64(),
    "abstention": pl.String(),
    "input_sha256": pl.String(),
    "asked_at": UTC_MICROSECONDS,
    "latency_ms": pl.Float64(),
    "request_id": pl.String(),
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS forecasts (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, role TEXT NOT NULL,
    origin TEXT NOT NULL, symbol TEXT NOT NULL, known_at INTEGER NOT NULL, abstention TEXT,
    asked_at INTEGER NOT NULL, latency_ms REAL NOT NULL, request_id TEXT NOT NULL, forecast TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS forecasts_by_time ON forecasts (model, known_at);
CREATE TABLE IF NOT EXISTS inputs (input_sha256 TEXT PRIMARY KEY, newest BLOB NOT NULL) WITHOUT ROWID;
"""
_FORECAST_JSON = pl.Struct(
    {
        "bundle": pl.String(),
        "open_time": pl.String(),
        "interval": pl.String(),
        "interval_coverage": pl.Float64(),
        "input_sha256": pl.String(),
        "horizons": pl.List(
            pl.Struct({"horizon_bars": pl.Int64(), **{name: pl.Float64() for name in VALUE_NAMES}})
        ),
    }
)
# What makes two answers the same one.
_SAME = ("bundle", "origin", "symbol", "known_at", "horizon_bars")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WAITING_FORECASTS = 10_000
LARGEST_BATCH = 500
PATIENCE_SECONDS = 1.0
RETRY_SECONDS = 0.5
LAST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class LoggedForecast:
    """A forecast with how it came to be.

    Parameters
    ----------
    role
        Of the version that answered, such as ``champion``.
    origin
        Whether its candles came with the request or out of the online store.
    asked_at
        With a time zone.
    """

    forecast: Forecast
    version: int
    role: str
    origin: Origin
    asked_at: datetime
    latency_ms: float
    request_id: str


class ForecastLog:
    """Forecasts in a SQLite file; nothing is opened before the first call."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=_SCHEMA, version=1)

    def write(self, entries: Sequence[LoggedForecast]) -> None:
        """Append all entries or none.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be written.
        """
        rows = [_row(entry) for entry in entries]
        inputs = {
            forecast.input_sha256: forecast.newest_input
            for forecast in (entry.forecast for entry in entries)
            if forecast.newest_input is not None
        }
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO forecasts (model, version, role, origin, symbol, known_at, abstention, "
                "asked_at, latency_ms, request_id, forecast) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.executemany("INSERT OR IGNORE INTO inputs VALUES (?, ?)", inputs.items())

    def read(
        self, *, model: str, since: datetime | None = None, until: datetime | None = None
    ) -> pl.DataFrame:
        """Forecasts of a model with ``since <= known_at < until``, abstentions included.

        Returns
        -------
        DataFrame
            In `LOG_SCHEMA`, sorted by symbol, time and horizon. The last answer counts where one bundle was
            asked more than once for the same bar and from the same origin.
        """
        bounds = (_microseconds(since) if since else 0, _microseconds(until) if until else 2**62)
        columns = {name: LOG_SCHEMA[name] for name in ("model", "version", "role", "origin", "symbol")}
        columns |= {"known_at": pl.Int64(), "abstention": pl.String(), "asked_at": pl.Int64()}
        columns |= {"latency_ms": pl.Float64(), "request_id": pl.String(), "forecast": pl.String()}
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(columns)} FROM forecasts "  # noqa: S608 — names from above
                "WHERE model = ? AND known_at >= ? AND known_at < ? ORDER BY id",
                (model, *bounds),
            ).fetchall()
        return (
            pl.DataFrame(rows, schema=columns, orient="row")
            .with_columns(pl.col("forecast").str.json_decode(_FORECAST_JSON))
            .unnest("forecast")
            .explode("horizons")
            .unnest("horizons")
            .with_columns(
                pl.col("known_at", "asked_at").cast(UTC_MICROSECONDS),
                pl.col("open_time").str.to_datetime("%+", time_unit="us", time_zone="UTC"),
            )
            .unique(_SAME, keep="last", maintain_order=True)
            .sort("symbol", "known_at", "horizon_bars", maintain_order=True)
            .select(*LOG_SCHEMA)
        )

    def newest_inputs(self, hashes: Iterable[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Features of the last bar that was read, (features,), by the hash of the whole input.

        What was logged by earlier versions of this code is absent.
        """
        query = "SELECT newest FROM inputs WHERE input_sha256 = ?"
        with self._database.transaction() as connection:
            found = {sha256: connection.execute(query, (sha256,)).fetchone() for sha256 in set(hashes)}
        return {sha256: np.frombuffer(row[0], "<f4") for sha256, row in found.items() if row}

    def request_ids(self, *, model: str) -> set[str]:
        """Every request that the model answered, also those that `read` gives once."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT DISTINCT request_id FROM forecasts WHERE model = ?", (model,))
            return {request_id for (request_id,) in rows}

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ForecastRecorder:
    """Writes forecasts from one thread, so that no request waits for the disk.

    At most `waiting` forecasts wait. When that many do, a request waits `PATIENCE_SECONDS` for room, and then
    its forecast is dropped and counted. `close` returns when everything that waits is written.
    """

    def __init__(self, log: ForecastLog, *, waiting: int = WAITING_FORECASTS) -> None:
        self._log = log
        self._queue: queue.Queue[LoggedForecast | None] = queue.Queue(waiting)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="forecast-log", daemon=True)
        self._dropped = 0
        self._attempts_left = LAST_ATTEMPTS

    @property
    def dropped(self) -> int:
        """Forecasts that were answered and could not be logged."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Forecasts that are not written yet."""
        return self._queue.qsize()

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def has_room(self, entries: int) -> bool:
        """Whether `record` would hand over so many at once, without a wait."""
        return self._queue.maxsize - self._queue.qsize() >= entries

    def record(self, entries: Sequence[LoggedForecast]) -> None:
        """Hand entries over; they are on disk a moment later."""
        for entry in entries:
            try:
                self._queue.put(entry, timeout=PATIENCE_SECONDS)
            except queue.Full:
                self._dropped += 1

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()
        self._log.close()

    def _write_all(self) -> None:
        last = False
        while not last:
            batch, last = self._next_batch()
            if not self._written(batch):
                self._dropped += len(batch)

    def _next_batch(self) -> tuple[list[LoggedForecast], bool]:
        """Wait for an entry and take what else is there; true when the queue ends with this batch."""
        batch: list[LoggedForecast] = []
        entry = self._queue.get()
        while entry is not None:
            batch.append(entry)
            if len(batch) == LARGEST_BATCH or self._queue.empty():
                return batch, False
            entry = self._queue.get()
        return batch, True

    def _written(self, batch: list[LoggedForecast]) -> bool:
        while self._attempts_left:
            try:
                self._log.write(batch)
            except StoreUnavailableError:
                # Before the end there is time: another program holds the file, or the disk is full.
                if self._closing.wait(RETRY_SECONDS):
                    self._attempts_left -= 1
            else:
                return True
        return False


def _row(entry: LoggedForecast) -> tuple[object, ...]:
    forecast = entry.forecast
    return (
        forecast.model,
        entry.version,
        entry.role,
        entry.origin,
        forecast.symbol,
        _microseconds(forecast.known_at),
        forecast.abstention.reason if forecast.abstention else None,
        _microseconds(entry.asked_at),
        entry.latency_ms,
        entry.request_id,
        _text(forecast),
    )


@lru_cache(maxsize=256)
def _text(forecast: Forecast) -> str:
    """JSON of a forecast; one that is kept for many answers is written out once."""
    return json.dumps(forecast.to_dict())


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
