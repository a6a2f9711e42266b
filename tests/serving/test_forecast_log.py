"""The forecast log: one row a symbol, time and horizon, and nothing lost on the way to the disk."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles, write_tiny_bundle

from cryptoai_serving.forecast_log import LOG_SCHEMA, ForecastLog, ForecastRecorder, LoggedForecast
from edge_bundle.forecast import VALUE_NAMES, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

ASKED = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODEL = "cryptoai-forecaster-sample"


@pytest.fixture(scope="module")
def forecasts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecast, ...]:
    """An answer for one symbol and an abstention for the other."""
    forecaster = Forecaster.load(write_tiny_bundle(tmp_path_factory.mktemp("bundle"), seed=1))
    candles = walk_candles(("BTCUSD", "ETHUSD"), bars=30, interval="30m", seed=2)
    short = (pl.col("symbol") == "BTCUSD") | (pl.int_range(pl.len()).over("symbol") >= 25)
    return forecaster.forecast(MarketWindow(candles.filter(short)))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ForecastLog]:
    with ForecastLog(tmp_path / "forecasts.db") as opened:
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
