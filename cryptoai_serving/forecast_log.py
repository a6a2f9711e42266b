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
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cryptoai_serving.errors import StoreUnavailableError
from cryptoai_serving.log_database import LogDatabase
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.forecast import VALUE_NAMES, Forecast

Origin = Literal["request", "store"]
# Who answered: the champion; one of two versions to a user of an experiment; or one that only ran beside.
Variant = Literal["champion", "control", "challenger", "shadow"]
# One row a symbol, time and horizon; values are null where the forecast abstained.
LOG_SCHEMA: dict[str, pl.DataType] = {
    "model": pl.String(),
    "version": pl.Int64(),
    "role": pl.String(),
    "variant": pl.String(),
    "experiment": pl.String(),
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
_TABLES = sa.MetaData()
_FORECASTS = sa.Table(
    "forecasts",
    _TABLES,
    sa.Column("id", sa.BigInteger, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("model", "role", "origin", "symbol", "abstention")),
    *(sa.Column(name, sa.BigInteger) for name in ("version", "known_at", "asked_at")),
    *(sa.Column(name, sa.Text) for name in ("request_id", "forecast", "variant", "experiment", "user_token")),
    sa.Column("latency_ms", sa.Double),
)
_INPUTS = sa.Table(
    "inputs",
    _TABLES,
    sa.Column("input_sha256", sa.Text, primary_key=True),
    sa.Column("newest", sa.LargeBinary),
)
_OUTCOMES = sa.Table(
    "outcomes",
    _TABLES,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("model", "symbol")),
    *(sa.Column(name, sa.BigInteger, primary_key=True) for name in ("known_at", "horizon_bars")),
    sa.Column("return_bps", sa.Double),
)
_READ: dict[str, pl.DataType] = {
    **{name: LOG_SCHEMA[name] for name in ("model", "version", "role", "variant", "experiment", "origin")},
    "symbol": pl.String(),
    "known_at": pl.Int64(),
    "abstention": pl.String(),
    "asked_at": pl.Int64(),
    "latency_ms": pl.Float64(),
    "request_id": pl.String(),
    "forecast": pl.String(),
}
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
GATHER_SECONDS = 0.05
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
    experiment
        Key of the experiment that it belongs to.
    user_token
        Of the user who was drawn for the variant; never the name that the user gave.
    """

    forecast: Forecast
    version: int
    role: str
    origin: Origin
    asked_at: datetime
    latency_ms: float
    request_id: str
    variant: Variant = "champion"
    experiment: str | None = None
    user_token: str | None = None


class ForecastLog:
    """Forecasts in a SQLite file, or in a database at an address; nothing is opened before the first call."""

    def __init__(self, place: Path | str) -> None:
        self._database = LogDatabase(place)

    def write(self, entries: Sequence[LoggedForecast]) -> None:
        """Append all entries or none.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be written.
        """
        inputs = {
            forecast.input_sha256: forecast.newest_input
            for forecast in (entry.forecast for entry in entries)
            if forecast.newest_input is not None
        }
        kept = [{"input_sha256": sha256, "newest": newest} for sha256, newest in inputs.items()]
        with self._database.transaction() as connection:
            if entries:
                connection.execute(sa.insert(_FORECASTS), [_row(entry) for entry in entries])
            if kept:
                connection.execute(_insert(connection, _INPUTS).on_conflict_do_nothing(), kept)

    def read(
        self,
        *,
        model: str,
        since: datetime | None = None,
        until: datetime | None = None,
        experiment: str | None = None,
    ) -> pl.DataFrame:
        """Forecasts of a model with ``since <= known_at < until``, abstentions included.

        Parameters
        ----------
        experiment
            Key of the one whose forecasts alone are read.

        Returns
        -------
        DataFrame
            In `LOG_SCHEMA`, sorted by symbol, time and horizon. The last answer counts where one bundle was
            asked more than once for the same bar and from the same origin.
        """
        asked = sa.select(*(_FORECASTS.c[name] for name in _READ)).order_by(_FORECASTS.c.id)
        asked = asked.where(_FORECASTS.c.model == model)
        if since:
            asked = asked.where(_FORECASTS.c.known_at >= _microseconds(since))
        if until:
            asked = asked.where(_FORECASTS.c.known_at < _microseconds(until))
        if experiment:
            asked = asked.where(_FORECASTS.c.experiment == experiment)
        with self._database.transaction() as connection:
            rows = connection.execute(asked).fetchall()
        return (
            pl.DataFrame(list(map(tuple, rows)), schema=_READ, orient="row")
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
        asked = sa.select(_INPUTS.c.newest).where(_INPUTS.c.input_sha256 == sa.bindparam("sha256"))
        with self._database.transaction() as connection:
            found = {sha256: connection.execute(asked, {"sha256": sha256}).scalar() for sha256 in set(hashes)}
        return {
            sha256: np.frombuffer(newest, "<f4") for sha256, newest in found.items() if newest is not None
        }

    def request_ids(self, *, model: str) -> set[str]:
        """Every request that the model answered, also those that `read` gives once."""
        asked = sa.select(_FORECASTS.c.request_id).where(_FORECASTS.c.model == model).distinct()
        with self._database.transaction() as connection:
            return set(connection.execute(asked).scalars())

    def users(self, *, experiment: str) -> dict[str, int]:
        """How many users each variant of an experiment has answered."""
        users = sa.func.count(_FORECASTS.c.user_token.distinct())
        asked = sa.select(_FORECASTS.c.variant, users).group_by(_FORECASTS.c.variant)
        with self._database.transaction() as connection:
            rows = connection.execute(asked.where(_FORECASTS.c.experiment == experiment))
            return {variant: count for variant, count in rows if count}

    def write_outcomes(self, model: str, outcomes: pl.DataFrame) -> None:
        """Keep what happened after forecasts; what is known by now replaces what was known before.

        Parameters
        ----------
        outcomes
            ``symbol``, ``known_at``, ``horizon_bars`` and ``return_bps``, one row each.

        Raises
        ------
        StoreUnavailableError
            When the database cannot be written.
        """
        columns = outcomes.select("symbol", pl.col("known_at").dt.epoch("us"), "horizon_bars", "return_bps")
        rows = [{"model": model, **row} for row in columns.iter_rows(named=True)]
        with self._database.transaction() as connection:
            insert = _insert(connection, _OUTCOMES)
            known = [column.name for column in _OUTCOMES.primary_key]
            latest = {"return_bps": insert.excluded.return_bps}
            if rows:
                connection.execute(insert.on_conflict_do_update(index_elements=known, set_=latest), rows)

    def outcomes(self, *, model: str) -> pl.DataFrame:
        """What happened after the forecasts of a model, as `write_outcomes` takes it."""
        names = ("symbol", "known_at", "horizon_bars", "return_bps")
        asked = sa.select(*(_OUTCOMES.c[name] for name in names)).where(_OUTCOMES.c.model == model)
        with self._database.transaction() as connection:
            rows = connection.execute(asked.order_by(*(_OUTCOMES.c[name] for name in names[:3]))).fetchall()
        types = (pl.String(), pl.Int64(), pl.Int64(), pl.Float64())
        frame = pl.DataFrame(
            list(map(tuple, rows)), schema=dict(zip(names, types, strict=True)), orient="row"
        )
        return frame.with_columns(pl.col("known_at").cast(UTC_MICROSECONDS))

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
        if entry is not None:
            self._closing.wait(GATHER_SECONDS)  # a transaction for each would cost more than its request
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


def _row(entry: LoggedForecast) -> dict[str, object]:
    forecast = entry.forecast
    return {
        "model": forecast.model,
        "version": entry.version,
        "role": entry.role,
        "variant": entry.variant,
        "experiment": entry.experiment,
        "user_token": entry.user_token,
        "origin": entry.origin,
        "symbol": forecast.symbol,
        "known_at": _microseconds(forecast.known_at),
        "abstention": forecast.abstention.reason if forecast.abstention else None,
        "asked_at": _microseconds(entry.asked_at),
        "latency_ms": entry.latency_ms,
        "request_id": entry.request_id,
        "forecast": _text(forecast),
    }


def _insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Insertion that can tell what to do with a row that is there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


@lru_cache(maxsize=256)
def _text(forecast: Forecast) -> str:
    """JSON of a forecast; one that is kept for many answers is written out once."""
    return json.dumps(forecast.to_dict())


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
