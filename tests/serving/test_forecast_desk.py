"""The desk: a forecast from the store is computed once, and anew when bars, facts, version or age say so."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.asgi_client import client_of
from fakes.forecast_service import service_in
from fakes.hand_clock import HandClock
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import START, walk_candles
from fakes.waiting import wait_until

from cryptoai_serving.app import ForecastApplication, create_app
from cryptoai_serving.bars import BarStore, no_trade_facts
from cryptoai_serving.forecast_log import ForecastLog
from cryptoai_serving.settings import ServingSettings

CANDLES = walk_candles(("BTCUSD",), bars=40, interval="30m", seed=3)
CLOSED = START + 40 * timedelta(minutes=30)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[httpx.Client, ForecastApplication]]:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES.head(30))
        yield client, app


def known_at(client: httpx.Client) -> datetime:
    (forecast,) = client.get("/forecast/BTCUSD").json()["forecasts"]
    return datetime.fromisoformat(forecast["known_at"])


def computed(app: ForecastApplication) -> int:
    return app.rooms.desk.forecasts.misses


def test_same_bars_are_forecast_once_and_every_answer_is_logged(
    served: tuple[httpx.Client, ForecastApplication], tmp_path: Path
) -> None:
    client, app = served
    answers = [client.get("/forecast/BTCUSD").json() for _ in range(5)]
    assert computed(app) == 1
    assert all(answer["forecasts"] == answers[0]["forecasts"] for answer in answers)
    app.rooms.recorder.close()
    with ForecastLog(ServingSettings.inside(tmp_path).forecast_log) as log:
        logged = log.request_ids(model=app.rooms.settings.model)
    assert logged == {answer["request_id"] for answer in answers}
    app.rooms.recorder = type(app.rooms.recorder)(ForecastLog(tmp_path / "other.db"))
    app.rooms.recorder.start()


def test_many_who_ask_at_once_cost_one_forecast(served: tuple[httpx.Client, ForecastApplication]) -> None:
    client, app = served
    with ThreadPoolExecutor(16) as users:
        found = list(users.map(lambda _: client.get("/forecast/BTCUSD").json()["forecasts"], range(64)))
    assert computed(app) == 1
    assert all(forecasts == found[0] for forecasts in found)


def test_bar_that_another_process_writes_is_in_the_next_answer(
    served: tuple[httpx.Client, ForecastApplication], tmp_path: Path
) -> None:
    client, app = served
    before = known_at(client)
    with BarStore(ServingSettings.inside(tmp_path).bars) as writer:
        for bar in range(30, 33):
            writer.write_bars(CANDLES[bar])
            assert known_at(client) == before + (bar - 29) * timedelta(minutes=30)
        writer.write_no_trade(no_trade_facts(CANDLES[33], interval="30m", source="s"))
        assert known_at(client) == before + 4 * timedelta(minutes=30)
    assert computed(app) == 5


def test_corrected_bar_changes_the_answer(served: tuple[httpx.Client, ForecastApplication]) -> None:
    client, app = served
    first = client.get("/forecast/BTCUSD").json()["forecasts"]
    app.rooms.bars.write_bars(CANDLES[29].with_columns(close=pl.col("high")))
    assert client.get("/forecast/BTCUSD").json()["forecasts"] != first


def test_store_that_is_replaced_is_read_anew(
    served: tuple[httpx.Client, ForecastApplication], tmp_path: Path
) -> None:
    client, _ = served
    before = known_at(client)
    with BarStore(tmp_path / "other.db") as other:
        other.write_bars(CANDLES.head(39))
    bars = ServingSettings.inside(tmp_path).bars
    with closing(sqlite3.connect(bars)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / "other.db").replace(bars)
    assert known_at(client) == before + 9 * timedelta(minutes=30)
    with BarStore(bars) as writer:
        writer.write_bars(CANDLES[39])
    assert known_at(client) == before + 10 * timedelta(minutes=30)


def test_new_champion_answers_at_once(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path, poll_seconds=0.01) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        first = client.get("/forecast/BTCUSD").json()
        release_tiny_bundle(tmp_path / "releases", version=2, seed=2)
        wait_until(lambda: client.get("/readyz").json()["version"] == 2, "version 2 is loaded")
        second = client.get("/forecast/BTCUSD").json()
    assert (first["model_version"], second["model_version"]) == (1, 2)
    assert first["forecasts"][0]["bundle"] != second["forecasts"][0]["bundle"]


def test_kept_forecast_is_no_excuse_for_a_stale_bar(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="live", live=True)
    clock = HandClock(CLOSED + timedelta(minutes=59, seconds=50))
    app = create_app(ServingSettings.inside(tmp_path, market="live"), clock=clock)
    assert isinstance(app, ForecastApplication)
    with client_of(app) as client:
        app.rooms.bars.write_bars(CANDLES)
        assert client.get("/forecast/BTCUSD").json()["forecasts"][0]["abstention"] is None
        clock.now += timedelta(seconds=20)
        stale = client.get("/forecast/BTCUSD").json()["forecasts"][0]
    assert stale["abstention"]["reason"] == "stale_data"
    assert stale["horizons"][0]["probability_up"] is None


def test_stale_symbol_that_is_compared_with_ends_the_kept_forecast_too(tmp_path: Path) -> None:
    names = ("log_return_1", "return_rank_60")
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="live", live=True, features=names)
    candles = walk_candles(("BTCUSD", "ETHUSD"), bars=80, interval="30m", seed=3)
    clock = HandClock(START + 80 * timedelta(minutes=30) + timedelta(minutes=59, seconds=50))
    app = create_app(ServingSettings.inside(tmp_path, market="live"), clock=clock)
    assert isinstance(app, ForecastApplication)
    with client_of(app) as client:
        app.rooms.bars.write_bars(candles)
        assert client.get("/forecast/ETHUSD").json()["forecasts"][0]["abstention"] is None
        clock.now += timedelta(seconds=20)
        reason = client.get("/forecast/ETHUSD").json()["forecasts"][0]["abstention"]["reason"]
    assert reason == "stale_data"
