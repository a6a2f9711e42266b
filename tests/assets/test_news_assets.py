"""News in real Dagster runs on the simulated sources: kept once, scored once, and a mood as it was known."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.archives import embedded_candles
from fakes.loopback_app import serving

from cryptoai_assets.defs.news.assets import news_assets, scored_news
from cryptoai_assets.defs.news.checks import news_checks
from cryptoai_assets.defs.news.recipes import scored_news_recipe, scored_path
from cryptoai_assets.defs.news.sources import news_sources, user_agent
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.telegram import TelegramSource
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_assets.sandbox.__main__ import sandbox_app
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_serving.settings import ServingSettings
from edge_bundle.news.feed_addresses import FEEDS
from edge_bundle.news.mood import OF_A_COIN, OF_THE_MARKET, SOURCE
from edge_bundle.sentiment.outlook import OUTLOOK_NAME, Outlooks

START = datetime(2019, 9, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


class World:
    """The simulated sources, at a market time that the test sets."""

    def __init__(self) -> None:
        self.time = START
        market = SandboxMarket(embedded_candles(), seed=1, start=START, speed=1, clock=lambda: self.time)
        self.app = sandbox_app(market, seed=1)


def run(market: MarketResource, instance: dg.DagsterInstance) -> dict[str, dict[str, object]]:
    result = dg.materialize([*news_assets, *news_checks], resources={"market": market}, instance=instance)
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    return {
        event.asset_key.to_user_string(): {
            name: entry.value
            for name, entry in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_news_are_kept_scored_and_told_once_whatever_runs_again(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    world = World()
    with serving(world.app) as server:
        market = MarketResource(name="sandbox", root=str(tmp_path), sandbox=server.http, tries=1)
        first = run(market, instance)
        mood = market.home.facts.read([*OF_A_COIN, *OF_THE_MARKET], source=SOURCE)
        again = run(market, instance)
        world.time += 6 * HOUR
        later = run(market, instance)
    assert first["raw_news"]["added_rows"] == first["scored_news"]["dagster/row_count"]
    assert again["raw_news"]["added_rows"] == again["news_mood"]["added_rows"] == 0
    assert int(str(later["raw_news"]["added_rows"])) > 0
    assert int(str(later["news_mood"]["added_rows"])) > 0
    scored = read_stored_parquet(scored_path(market))
    assert scored["version"].is_unique().all()
    assert scored["score"].is_between(-1, 1).all()
    # What was told of an hour stays, whatever came later.
    now = market.home.facts.read([*OF_A_COIN, *OF_THE_MARKET], source=SOURCE, known_by=mood["known_at"].max())
    assert now.equals(mood)
    assert set(mood.filter(pl.col("symbol").is_not_null())["symbol"]) == set(market.settings.symbols)
    # What the service reads was told of the newest hour, by the method that scored.
    told = Outlooks.read(market.home.outlooks)
    assert told is not None
    assert told.moment == (START + 6 * HOUR).replace(minute=0)
    assert set(told.symbols) == set(market.settings.symbols)
    assert told.market.values["news_count_24h"] > 0
    assert not told.live  # the simulated venue's clock is not ours
    assert f"{told.method} {told.method_version}" == later["scored_news"]["method"]
    assert later["news_mood"]["market_recommendation"] == told.market.recommendation
    method_that_is_set_scores_anew(market, instance)


def method_that_is_set_scores_anew(market: MarketResource, instance: dg.DagsterInstance) -> None:
    other = MarketResource(**{**market.model_dump(), "sentiment": "keywords"})
    assert scored_news_recipe(other).fingerprint() != scored_news_recipe(market).fingerprint()
    made = dg.materialize([scored_news], resources={"market": other}, instance=instance)
    assert made.success
    assert set(read_stored_parquet(scored_path(market))["method"]) == {"keywords"}


def test_source_without_a_key_is_shown_as_not_configured(tmp_path: Path) -> None:
    market = MarketResource(
        name="live", root=str(tmp_path), news_feeds={"mine.test": "https://mine.test/rss"}
    )
    assert not any(name in os.environ for name in ("CRYPTOAI_NEWSAPI_KEY", "CRYPTOAI_X_TOKEN"))
    told = {source.name: source.missing for source in news_sources(market)}
    assert told["mine.test"] is None
    assert told["CoinDesk"] is None
    assert all(told[name] for name in ("NewsAPI", "Reddit", "X", "Telegram"))
    assert news_sources(MarketResource(name="sample", root=str(tmp_path))) == ()


def test_service_reads_what_the_news_say_where_the_platform_tells_it(tmp_path: Path) -> None:
    told = MarketResource(name="sandbox", root=str(tmp_path)).home.outlooks
    assert ServingSettings.inside(tmp_path, market="sandbox").told / OUTLOOK_NAME == told


def test_whole_articles_are_read_of_the_feeds_whose_hosts_are_set(tmp_path: Path) -> None:
    def read(*hosts: str) -> set[str]:
        market = MarketResource(name="live", root=str(tmp_path), article_texts=list(hosts))
        sources = [source for source in news_sources(market) if isinstance(source, FeedSource)]
        assert len(sources) == len(FEEDS)
        return {source.name for source in sources if source.texts is not None}

    assert read() == set()
    assert read("decrypt.co", "coindesk.com", "elsewhere.test") == {"Decrypt", "CoinDesk"}
    assert read("all") == set(FEEDS)


def test_telegram_is_asked_about_the_channels_that_are_set(tmp_path: Path) -> None:
    market = MarketResource(name="live", root=str(tmp_path), telegram_channels=["coins"])
    [telegram] = [source for source in news_sources(market) if isinstance(source, TelegramSource)]
    assert (telegram.names, telegram.channels) == (["coins"], None)


def test_site_is_told_whom_to_write_to_where_that_is_set() -> None:
    assert user_agent(None) == "CryptoAI/0.1 (reads news feeds)"
    assert user_agent("you@example.com") == "CryptoAI/0.1 (reads news feeds; you@example.com)"
