"""Microstructure bars as features: a month reads its days of bars, where a market's setting says so."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.defs.features.recipes import feature_names, features_recipe
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.microstructure_days import microstructure_facts
from cryptoai_assets.lib.monthly_features import month_features
from cryptoai_assets.lib.orderbook.microstructure import BAR_SCHEMA
from cryptoai_assets.lib.store import write_parquet_atomically
from edge_bundle.facts import empty_facts

SYMBOL, START = "BTCUSDT", datetime(2019, 7, 1, tzinfo=UTC)
DAYS = (date(2019, 7, 1), date(2019, 7, 2))


def bars_of(day: date) -> pl.DataFrame:
    """A day of minutes, of which one has no book."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = [start + minute * timedelta(minutes=1) for minute in range(1440)]
    numbers = {name: [0.5 + (minute % 7) / 10 for minute in range(1440)] for name in BAR_SCHEMA}
    bars = pl.DataFrame({**numbers, "open_time": times, "symbol": SYMBOL}, schema=BAR_SCHEMA)
    lost = pl.col("open_time") == start + timedelta(hours=1)
    return bars.with_columns(top_imbalance=pl.when(~lost).then("top_imbalance"))


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    market = MarketResource(
        name="sandbox", root=str(tmp_path), beyond=["microstructure"], time="2019-07-03T00:00Z"
    )
    candles = walk_candles([SYMBOL], bars=2880, interval="1m", seed=1, start=START)
    market.stores.clean_candles.write(SYMBOL, "2019-07", candles)
    market.stores.clean_facts.write(SYMBOL, "2019-07", empty_facts())
    for day in DAYS:
        write_parquet_atomically(bars_of(day), market.home.microstructure.path(SYMBOL, day))
    return market


def test_bars_become_features_of_their_own_bar(market: MarketResource) -> None:
    names = feature_names(market)
    assert {"book_imbalance", "trade_intensity_ratio_60"} < set(names)
    frame = month_features(market.home, SYMBOL, "2019-07", names)
    assert frame.height == 2880
    assert frame["book_imbalance"].to_list()[:3] == [0.5, 0.6, 0.7]
    missing = frame.filter(pl.col("book_imbalance").is_null())["open_time"].to_list()
    assert missing == [START + timedelta(hours=1), START + timedelta(hours=25)]
    assert frame.drop_nulls().height > 1000


def test_market_without_the_setting_does_not_read_them(market: MarketResource) -> None:
    own = MarketResource(name="sandbox", root=market.root, time=market.time)
    assert not {"book_imbalance"} & set(feature_names(own))
    key = f"2019-07-01|{SYMBOL}"
    before = [features_recipe(one, key).fingerprint() for one in (market, own)]
    path = market.home.microstructure.path(SYMBOL, DAYS[1])
    write_parquet_atomically(bars_of(DAYS[1]).head(700), path)
    after = [features_recipe(one, key).fingerprint() for one in (market, own)]
    assert [was != now for was, now in zip(before, after, strict=True)] == [True, False]


def test_facts_are_of_the_bars_asked_for_and_known_at_their_end(market: MarketResource) -> None:
    noon = START + timedelta(hours=12)
    facts = microstructure_facts(market.home, [SYMBOL], noon, noon + timedelta(hours=1))
    assert facts["event_time"].n_unique() == 60
    assert (facts["known_at"] - facts["event_time"]).unique().to_list() == [timedelta(minutes=1)]
    assert microstructure_facts(market.home, ["ETHUSDT"], None, None).is_empty()
