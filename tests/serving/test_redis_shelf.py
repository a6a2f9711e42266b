"""The online store in a real Redis server: shared, refused by name, killed and back."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from fakes.forecast_service import service_in
from fakes.redis_server import RedisServer, redis_server
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles
from fakes.waiting import wait_until

from cryptoai_serving.bar_shelf import RedisPlace, bars_place
from cryptoai_serving.bars import BarStore
from cryptoai_serving.errors import StoreUnavailableError

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=120, interval="30m", seed=1)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


def test_setting_names_a_file_or_redis_and_shows_no_password() -> None:
    assert bars_place("data/sample/bars.db", market="sample") == Path("data/sample/bars.db")
    place = bars_place("rediss://:hunter2@example.org:6380/1", market="live")
    assert place == RedisPlace("rediss://:hunter2@example.org:6380/1", "live")
    assert "hunter2" not in f"{place!r} {place}"
    assert "example.org" in repr(place)


def test_markets_share_a_server_and_not_their_bars(server: RedisServer) -> None:
    with BarStore(RedisPlace(server.address, "sample")) as one:
        one.write_bars(CANDLES)
    with BarStore(RedisPlace(server.address, "other")) as another:
        assert another.latest(["BTCUSD"], 5).is_empty()


def test_password_that_is_refused_is_not_told(server: RedisServer) -> None:
    with BarStore(RedisPlace(server.address.replace("secret-of", "wrong"), "sample")) as store:
        with pytest.raises(StoreUnavailableError, match=r"Redis at 127\.0\.0\.1 cannot be used") as refused:
            store.latest(["BTCUSD"], 5)
        assert "wrong" not in refused.value.problem


def test_value_that_somebody_else_put_is_no_answer(server: RedisServer) -> None:
    place = RedisPlace(server.address, "sample")
    with BarStore(place) as store, closing(redis.Redis.from_url(server.address)) as client:
        store.write_bars(CANDLES)
        for key in client.scan_iter("*BTCUSD"):
            client.append(key, b"?")
        with pytest.raises(StoreUnavailableError, match="cannot be used"):
            store.window(["BTCUSD"], 500)
        assert store.window(["ETHUSD"], 500).candles.height == 120


def test_redis_killed_is_documented_as_unavailable_and_back_it_answers(
    server: RedisServer, tmp_path: Path
) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    place = RedisPlace(server.address, "sample")
    with service_in(tmp_path, bars=place) as (client, _), BarStore(place) as ingestion:
        ingestion.write_bars(CANDLES)
        first = client.get("/forecast/BTCUSD")
        assert (first.status_code, client.get("/readyz").status_code) == (200, 200)
        server.save()
        server.kill()
        # An answer that is kept goes out until the service has noticed.
        wait_until(lambda: client.get("/forecast/BTCUSD").status_code == 503, "the loss is noticed")
        refused = client.get("/forecast/BTCUSD").json()
        assert (refused["code"], "secret" in str(refused)) == ("store_unavailable", False)
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        with pytest.raises(StoreUnavailableError):
            ingestion.write_bars(CANDLES)
        server.start()
        assert client.get("/forecast/BTCUSD").json()["forecasts"] == first.json()["forecasts"]
        assert client.get("/readyz").status_code == 200
        # The newest bar counts from its arrival on, whatever was kept.
        longer = walk_candles(("BTCUSD", "ETHUSD"), bars=121, interval="30m", seed=1)
        ingestion.write_bars(longer.group_by("symbol", maintain_order=True).tail(1).select(CANDLES.columns))
        newest = (longer["open_time"].max()).isoformat()

        def is_newest() -> bool:
            told: str = client.get("/forecast/BTCUSD").json()["forecasts"][0]["open_time"]
            return told.removesuffix("Z") == newest.removesuffix("+00:00")

        wait_until(is_newest, "the new bar is answered from")


def test_redis_that_lost_everything_is_unavailable_until_it_is_filled_again(
    server: RedisServer, tmp_path: Path
) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path, bars=RedisPlace(server.address, "sample")) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        wait_until(lambda: app.rooms.bars.revision() is not None, "the revision is known")
        assert client.get("/forecast/BTCUSD").status_code == 200
        server.kill()
        server.start()
        wait_until(lambda: client.get("/forecast/BTCUSD").status_code == 503, "the loss is noticed")
        assert client.get("/forecast/BTCUSD").json()["code"] == "no_bars"
        app.rooms.bars.write_bars(CANDLES)
        assert client.get("/forecast/BTCUSD").status_code == 200
