"""The online store as ingestion fills it: in a file, or in Redis where the environment names one."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.archives import archive, embedded_candles
from fakes.redis_server import RedisServer, redis_server

from cryptoai_assets.defs.market_data.assets import clean_candles, raw_candles
from cryptoai_assets.defs.release.assets import online_bars
from cryptoai_assets.defs.release.recipes import online_bars_recipe
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_serving.bar_shelf import RedisPlace
from cryptoai_serving.bars import BarStore

VARIABLE = "BARS_OF_THIS_TEST"
FILE_OF_THIS_TEST = "FILE_OF_THIS_TEST"
OCTOBER, NOVEMBER = datetime(2018, 10, 1, tzinfo=UTC), datetime(2018, 11, 1, tzinfo=UTC)


def bitcoin() -> pl.DataFrame:
    """Bars of October, and one more."""
    own = embedded_candles().filter(symbol="BTCUSD")
    return own.filter(pl.col("open_time").is_between(OCTOBER, NOVEMBER))


def make_october(market: MarketResource) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"market": market}
        for assets, key in (([raw_candles, clean_candles], "2018-10-01|BTCUSD"), ([online_bars], None)):
            done = dg.materialize(assets, resources=resources, instance=instance, partition_key=key)
            assert done.success


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        os.environ[VARIABLE] = running.address
        yield running
        del os.environ[VARIABLE]


@pytest.mark.parametrize("variable", [VARIABLE, FILE_OF_THIS_TEST])
def test_newest_bars_are_where_the_setting_says(tmp_path: Path, server: RedisServer, variable: str) -> None:
    market = MarketResource(name="sample", root=str(tmp_path), bars_variable=variable)
    place = market.home.bars_database
    in_redis = variable == VARIABLE
    assert place == (
        RedisPlace(server.address, "sample") if in_redis else tmp_path / "data" / "sample" / "bars.db"
    )
    make_october(market)
    with BarStore(place) as store:
        kept = store.latest(market.settings.symbols, 10_000)
    assert kept.equals(bitcoin().filter(pl.col("open_time") < NOVEMBER))
    assert list(online_bars_recipe(market).writes) == ([] if in_redis else [place])


def test_bar_that_cleaning_rejects_does_not_stay_and_one_that_only_the_stream_has_does(
    tmp_path: Path,
) -> None:
    doubtful = pl.col("open_time") == NOVEMBER - timedelta(hours=15)
    streamed = bitcoin().with_columns(low=pl.when(doubtful).then(0.01).otherwise("low"))
    venue = archive(tmp_path / "venue", streamed)
    market = MarketResource(name="sample", root=str(tmp_path), archive=str(venue))
    with BarStore(market.home.bars_database) as store:
        store.write_bars(streamed)
        make_october(market)
        served = store.latest(["BTCUSD"], 10_000)
    assert market.stores.quarantine.month("BTCUSD", "2018-10")["low"].to_list() == [0.01]
    assert served.equals(bitcoin().filter(~doubtful))
