"""The forecast log: one row a symbol, time and horizon, and nothing lost on the way to the disk."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
import sqlalchemy as sa
from fakes.bento_process import UVICORN, answers, bento_service
from fakes.postgresql_server import new_database, postgresql_address
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles, write_tiny_bundle
from fakes.waiting import wait_until

from cryptoai_serving.bars import BarStore
from cryptoai_serving.errors import StoreUnavailableError
from cryptoai_serving.forecast_log import LOG_SCHEMA, ForecastLog, ForecastRecorder, LoggedForecast
from cryptoai_serving.settings import ServingSettings
from edge_bundle.forecast import VALUE_NAMES, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

FIRST_SCHEMA = """
CREATE TABLE forecasts (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, role TEXT NOT NULL,
    origin TEXT NOT NULL, symbol TEXT NOT NULL, known_at INTEGER NOT NULL, abstention TEXT,
    asked_at INTEGER NOT NULL, latency_ms REAL NOT NULL, request_id TEXT NOT NULL, forecast TEXT NOT NULL
);
CREATE INDEX forecasts_by_time ON forecasts (model, known_at);
CREATE TABLE inputs (input_sha256 TEXT PRIMARY KEY, newest BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
ASKED = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODEL = "cryptoai-forecaster-sample"


@pytest.fixture(scope="module")
def forecasts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecast, ...]:
    """An answer for one symbol and an abstention for the other."""
    forecaster = Forecaster.load(write_tiny_bundle(tmp_path_factory.mktemp("bundle"), seed=1))
    candles = walk_candles(("BTCUSD", "ETHUSD"), bars=30, interval="30m", seed=2)
    short = (pl.col("symbol") == "BTCUSD") | (pl.int_range(pl.len()).over("symbol") >= 25)
    return forecaster.forecast(MarketWindow(candles.filter(short)))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_address() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Path | str:
    """Where a log of nothing may be kept."""
    return tmp_path / "forecasts.db" if request.param == "sqlite" else new_database(server)


@pytest.fixture
def log(place: Path | str) -> Iterator[ForecastLog]:
    with ForecastLog(place) as opened:
        yield opened


def logged(forecast: Forecast, request_id: str = "r1") -> LoggedForecast:
    return LoggedForecast(
        forecast=forecast,
        version=3,
        role="champion",
        origin="store",
        asked_at=ASKED,
        latency_ms=1.25,
        request_id=request_id,
    )


def later(forecast: Forecast, bars: int) -> Forecast:
    shift = bars * timedelta(minutes=30)
    return replace(forecast, open_time=forecast.open_time + shift, known_at=forecast.known_at + shift)


def test_log_holds_a_row_for_each_symbol_and_horizon_with_the_forecasts_own_numbers(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    log.write([logged(forecast) for forecast in forecasts])
    frame = log.read(model=MODEL)
    assert dict(frame.schema) == LOG_SCHEMA
    assert frame.select("symbol", "horizon_bars").rows() == [
        (symbol, horizon) for symbol in ("BTCUSD", "ETHUSD") for horizon in (1, 2, 6)
    ]
    answered = forecasts[0]
    for row, horizon in zip(frame.head(3).iter_rows(named=True), answered.horizons, strict=True):
        assert [row[name] for name in VALUE_NAMES] == [getattr(horizon, name) for name in VALUE_NAMES]
        assert (row["open_time"], row["known_at"]) == (answered.open_time, answered.known_at)
        assert (row["version"], row["role"], row["origin"], row["asked_at"]) == (
            3,
            "champion",
            "store",
            ASKED,
        )
        assert row["input_sha256"] == answered.input_sha256


def test_abstention_is_a_row_with_its_reason_and_without_numbers(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    log.write([logged(forecast) for forecast in forecasts])
    abstained = log.read(model=MODEL).filter(pl.col("symbol") == "ETHUSD")
    assert abstained["abstention"].to_list() == ["too_few_bars"] * 3
    assert all(abstained[name].null_count() == 3 for name in VALUE_NAMES)


def test_bar_that_was_asked_again_is_one_row_with_the_last_answer(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    log.write([logged(forecasts[0], "first")])
    log.write([logged(forecasts[0], "second"), logged(later(forecasts[0], 1), "third")])
    assert log.read(model=MODEL)["request_id"].to_list() == ["second"] * 3 + ["third"] * 3


def test_log_is_read_by_the_time_that_forecasts_hold_from(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    log.write([logged(later(forecasts[0], bars)) for bars in range(5)])
    start = forecasts[0].known_at
    bar = timedelta(minutes=30)
    found = log.read(model=MODEL, since=start + bar, until=start + 3 * bar)
    assert found["known_at"].unique().sort().to_list() == [start + bar, start + 2 * bar]


def test_empty_log_and_another_model_give_an_empty_frame(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    assert dict(log.read(model=MODEL).schema) == LOG_SCHEMA
    log.write([logged(forecasts[0])])
    assert log.read(model="another").is_empty()


def test_everything_that_waits_is_written_before_the_recorder_ends(
    tmp_path: Path, forecasts: tuple[Forecast, ...]
) -> None:
    recorder = ForecastRecorder(ForecastLog(tmp_path / "f.db"))
    recorder.record([logged(later(forecasts[0], bars)) for bars in range(1200)])
    recorder.start()
    recorder.close()
    with ForecastLog(tmp_path / "f.db") as log:
        assert log.read(model=MODEL).height == 3 * 1200
    assert recorder.dropped == 0


def test_forecasts_wait_while_another_program_holds_the_file(
    tmp_path: Path, forecasts: tuple[Forecast, ...]
) -> None:
    path = tmp_path / "f.db"
    with ForecastLog(path) as log:
        log.write([logged(forecasts[0])])
    recorder = ForecastRecorder(ForecastLog(path))
    recorder.start()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        recorder.record([logged(later(forecasts[0], bars)) for bars in range(1, 20)])
        holder.execute("ROLLBACK")
    recorder.close()
    with ForecastLog(path) as log:
        assert log.read(model=MODEL).height == 3 * 20


def test_log_of_the_first_schema_is_taken_over_without_a_loss(
    tmp_path: Path, forecasts: tuple[Forecast, ...]
) -> None:
    path = tmp_path / "f.db"
    record = json.dumps(forecasts[0].to_dict())
    known_at = int(forecasts[0].known_at.timestamp() * 1e6)
    with closing(sqlite3.connect(path)) as first, first:
        first.executescript(FIRST_SCHEMA)
        values = (MODEL, 3, "champion", "store", "BTCUSD", known_at, None, 5, 1.25, "old", record)
        first.execute("INSERT INTO forecasts VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        first.execute("INSERT INTO inputs VALUES ('abc', x'0000803f')")
    with ForecastLog(path) as log:
        log.write([logged(later(forecasts[0], 1), "new")])
        found = log.read(model=MODEL)
        assert found["request_id"].to_list() == ["old"] * 3 + ["new"] * 3
        assert found["variant"].unique().to_list() == ["champion"]
        old = found.filter(request_id="old")
        assert old["lower_bps"].to_list() == [horizon.lower_bps for horizon in forecasts[0].horizons]
        assert log.newest_inputs(["abc"])["abc"].tolist() == [1.0]


def test_many_who_open_a_new_log_at_once_all_write_to_it(
    place: Path | str, forecasts: tuple[Forecast, ...]
) -> None:
    def write(number: int) -> None:
        with ForecastLog(place) as own:
            own.write([logged(later(forecasts[0], number))])

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(8)))
    with ForecastLog(place) as log:
        assert log.read(model=MODEL).height == 3 * 8


def test_new_logs_of_several_threads_do_not_mix(
    server: str, tmp_path: Path, forecasts: tuple[Forecast, ...]
) -> None:
    places = [*(tmp_path / f"{number}.db" for number in range(4)), *(new_database(server) for _ in range(4))]

    def write(place: Path | str) -> int:
        with ForecastLog(place) as own:
            own.write([logged(forecasts[0])])
            return own.read(model=MODEL).height

    with ThreadPoolExecutor(8) as writers:
        assert list(writers.map(write, places)) == [3] * 8


def test_log_of_newer_code_is_refused_and_left_as_it_is(place: Path | str) -> None:
    with ForecastLog(place) as log:
        log.write([])
    address = place if isinstance(place, str) else f"sqlite:///{place}"
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with ForecastLog(place) as log, pytest.raises(StoreUnavailableError, match="9999"):
        log.read(model=MODEL)


def test_recorder_goes_on_when_its_connection_was_cut(server: str, forecasts: tuple[Forecast, ...]) -> None:
    address = new_database(server)
    with ForecastLog(address) as log:
        log.write([logged(forecasts[0])])
        engine = sa.create_engine(address, poolclass=sa.NullPool)
        with engine.connect() as connection:
            cut = "SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity "
            own = "WHERE datname = current_database() AND pid != pg_backend_pid()"
            assert connection.execute(sa.text(cut + own)).scalar() == 1
        recorder = ForecastRecorder(log)
        recorder.start()
        recorder.record([logged(later(forecasts[0], bars)) for bars in range(1, 20)])
        recorder.close()
        assert recorder.dropped == 0
        assert log.read(model=MODEL).height == 3 * 20


def test_address_without_a_driver_is_refused_with_the_cure_and_without_its_password() -> None:
    log = ForecastLog("postgresql+pg8000://somebody:hidden@127.0.0.1/log")
    with pytest.raises(StoreUnavailableError) as refused:
        log.write([])
    assert "psycopg" in refused.value.cure
    assert "somebody" in refused.value.problem
    assert "hidden" not in refused.value.problem


def test_variant_and_its_users_are_kept_by_experiment(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    for number, variant in enumerate(("control", "challenger", "challenger", "shadow")):
        entry = replace(logged(later(forecasts[0], number)), experiment="e:1", variant=variant)
        log.write([replace(entry, user_token=f"u{number}" if variant != "shadow" else None)] * 2)
    log.write([logged(later(forecasts[0], 9))])
    assert log.users(experiment="e:1") == {"control": 1, "challenger": 2}
    assert log.read(model=MODEL, experiment="e:1")["variant"].to_list()[::3] == [
        "control",
        "challenger",
        "challenger",
        "shadow",
    ]
    assert log.read(model=MODEL).height == 3 * 5


def test_outcome_that_is_known_better_replaces_the_one_before(
    log: ForecastLog, forecasts: tuple[Forecast, ...]
) -> None:
    known = pl.DataFrame(
        {"symbol": "BTCUSD", "known_at": [forecasts[0].known_at] * 2, "horizon_bars": [1, 6]}
    )
    log.write_outcomes(MODEL, known.with_columns(return_bps=pl.Series([1.5, -2.0])))
    log.write_outcomes(MODEL, known.head(1).with_columns(return_bps=pl.lit(1.75)))
    assert log.outcomes(model=MODEL)["return_bps"].to_list() == [1.75, -2.0]
    assert log.outcomes(model="another").is_empty()


@pytest.mark.timeout(240)
def test_service_that_is_told_to_end_under_load_writes_all_that_it_answered_to_postgresql(
    server: str, tmp_path: Path
) -> None:
    address, settings = new_database(server), ServingSettings.inside(tmp_path)
    release_tiny_bundle(settings.releases, version=1, seed=1)
    with BarStore(settings.bars) as store:
        store.write_bars(walk_candles(("BTCUSD",), bars=30, interval="30m", seed=3))
    answered: list[str] = []

    def ask(address: httpx.URL) -> None:
        with httpx.Client(base_url=address) as own, suppress(httpx.TransportError):
            while (response := own.get("/forecast/BTCUSD")).status_code == 200:
                answered.append(response.json()["request_id"])

    log_setting = {"CRYPTOAI_FORECAST_LOG": address}

    def let_go(holder: sa.Connection, address: httpx.URL) -> None:
        with httpx.Client(base_url=address) as own:
            wait_until(lambda: not answers(own), "the service answers no more")
        holder.rollback()

    with ForecastLog(address) as log, ThreadPoolExecutor(3) as users:
        log.write([])
        holder = sa.create_engine(address, poolclass=sa.NullPool).connect()
        with (
            holder,
            bento_service(tmp_path, command=UVICORN, settings=log_setting, ended_by=signal.SIGTERM) as client,
        ):
            asking = [users.submit(ask, client.base_url) for _ in range(2)]
            wait_until(lambda: len(answered) > 100, "the service answers")
            # From here on nothing can be written until the service has begun to end.
            holder.execute(sa.text("LOCK TABLE forecasts IN EXCLUSIVE MODE"))
            seen = len(answered)
            wait_until(lambda: len(answered) > seen + 100, "the service answers on")
            asking.append(users.submit(let_go, holder, client.base_url))
        for one in asking:
            one.result()
        assert log.request_ids(model=settings.model) >= set(answered)


def test_file_that_never_opens_ends_the_recorder_and_counts_what_is_lost(
    tmp_path: Path, forecasts: tuple[Forecast, ...]
) -> None:
    (tmp_path / "file").touch()
    recorder = ForecastRecorder(ForecastLog(tmp_path / "file" / "f.db"))
    recorder.start()
    recorder.record([logged(later(forecasts[0], bars)) for bars in range(7)])
    recorder.close()
    assert recorder.dropped == 7


def test_full_queue_drops_and_counts_instead_of_holding_requests(
    tmp_path: Path, forecasts: tuple[Forecast, ...]
) -> None:
    recorder = ForecastRecorder(ForecastLog(tmp_path / "f.db"), waiting=2)
    recorder.record([logged(forecasts[0])] * 3)
    assert (recorder.waiting, recorder.dropped) == (2, 1)
