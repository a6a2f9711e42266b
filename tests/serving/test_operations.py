"""Readiness, liveness and metrics: what whoever watches over the service is told."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
from fakes.forecast_service import service_in
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import START, walk_candles

from cryptoai_serving.bars import no_trade_facts
from cryptoai_serving.settings import ServingSettings

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=30, interval="30m", seed=3)
CLOSED = START + 30 * timedelta(minutes=30)


def test_ready_when_a_version_is_verified_and_bars_are_there(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=3, seed=1)
    with service_in(tmp_path) as (client, app):
        empty = client.get("/readyz")
        assert (empty.status_code, empty.json()["version"]) == (503, 3)
        assert empty.json()["reason"].startswith("the online store holds no bar of BTCUSD; ")
        app.rooms.bars.write_bars(CANDLES)
        ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "reason": "", "version": 3, "stale_symbols": [], "refused": None}


def test_one_symbol_that_trades_is_enough_and_the_others_are_named(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="live", live=True)
    later = CLOSED + timedelta(minutes=90)
    quiet = pl.DataFrame({"symbol": "ETHUSD", "open_time": later - timedelta(minutes=30)}).with_columns(
        pl.col("open_time").cast(CANDLES.schema["open_time"])
    )
    with service_in(tmp_path, market="live", now=later) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        assert client.get("/readyz").status_code == 503
        app.rooms.bars.write_no_trade(no_trade_facts(quiet, interval="30m", source="s"))
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["stale_symbols"]) == (200, ["BTCUSD"])


def test_two_intervals_are_fresh_and_a_second_more_is_not(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="live", live=True)
    for late, status in ((60 * 60, 200), (60 * 60 + 1, 503)):
        with service_in(tmp_path, market="live", now=CLOSED + timedelta(seconds=late)) as (client, app):
            app.rooms.bars.write_bars(CANDLES)
            assert client.get("/readyz").status_code == status
            abstention = client.get("/forecast/BTCUSD").json()["forecasts"][0]["abstention"]
            assert (abstention is None) == (status == 200)


def test_store_that_cannot_be_read_is_not_ready_and_comes_back(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    path = ServingSettings.inside(tmp_path).bars
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 200)
    with service_in(tmp_path) as (client, app):
        broken = client.get("/readyz")
        assert (broken.status_code, "bars.db cannot be used" in broken.json()["reason"]) == (503, True)
        assert client.get("/livez").json() == {"alive": True}
        assert client.get("/forecast/BTCUSD").json()["code"] == "store_unavailable"
        path.unlink()
        app.rooms.bars.write_bars(CANDLES)
        assert client.get("/readyz").status_code == 200
        assert client.get("/forecast/BTCUSD").status_code == 200


def test_metrics_count_what_was_computed_and_what_was_there(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        for _ in range(3):
            client.get("/forecast/BTCUSD")
        text = client.get("/metrics").text
    assert "cryptoai_forecast_cache_misses 1.0" in text
    assert "cryptoai_forecast_cache_hits 2.0" in text
    assert 'cryptoai_forecasts_total{origin="store",outcome="answered",symbol="BTCUSD"} 3.0' in text


def test_locked_store_answers_what_it_has_and_never_hangs_the_others(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        assert client.get("/forecast/BTCUSD").status_code == 200
        with closing(sqlite3.connect(app.rooms.settings.bars, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert client.get("/forecast/BTCUSD").status_code == 200
            assert client.get("/forecast/ETHUSD").status_code == 200
            assert client.get("/readyz").status_code == 200
