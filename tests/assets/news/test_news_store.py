"""The store of news: nothing lost and nothing doubled over visits, and a source's failure is its own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.outside_world import DrivenMarket, quick_web

from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.news_source import Brought, Memory
from cryptoai_assets.lib.news.news_store import NewsStore, visits
from cryptoai_assets.lib.news.social import NewsApiSource, RedditKey, RedditSource
from cryptoai_assets.lib.news.visits import Visitor
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.patience import Patience
from cryptoai_assets.sandbox.news import items, news_app
from edge_bundle.news.articles import BACKFILL_DELAY, Found
from edge_bundle.news.feed_items import USER_AGENT
from edge_bundle.news.news_api import KEY_NAME

NOW = datetime(2019, 9, 10, 12, 30, tzinfo=UTC)
START = NOW - timedelta(days=5)
HOUR = timedelta(hours=1)


class Wire:
    """A source in memory, which is told what it said and remembers what it was asked."""

    name, missing = "wire", None

    def __init__(self) -> None:
        self.items: list[Found] = []
        self.asked: list[tuple[datetime, Memory]] = []
        self.fails = False

    def tell(self, title: str, published: datetime) -> None:
        self.items.append(
            Found(
                f"https://wire.test/{len(self.items)}",
                title,
                "wire",
                "news",
                None,
                title,
                "",
                None,
                published,
            )
        )

    def fetch(self, since: datetime, memory: Memory) -> Brought:
        self.asked.append((since, memory))
        if self.fails:
            raise SourceError("the wire is cut")
        return Brought(tuple(self.items), {"seen": str(len(self.items))})


@pytest.fixture
def store(tmp_path: Path) -> NewsStore:
    return NewsStore(tmp_path / "news", tmp_path / "memories")


def visit(store: NewsStore, source: Wire, now: datetime) -> dict[str, object]:
    return visits(store, [source], start=START, now=now).row(0, named=True)


def test_visits_add_what_is_new_once_and_date_it_as_it_was_known(store: NewsStore) -> None:
    wire = Wire()
    wire.tell("history", NOW - 30 * HOUR)
    assert visit(store, wire, NOW)["added"] == 1
    assert visit(store, wire, NOW + HOUR)["added"] == 0
    wire.tell("late", NOW + HOUR / 2)
    wire.tell("told late of before we came", NOW - HOUR / 2)
    assert visit(store, wire, NOW + 2 * HOUR)["added"] == 2
    known = dict(store.read().select("title", "known_at").iter_rows())
    assert known["history"] == NOW - 30 * HOUR + BACKFILL_DELAY
    assert known["late"] == NOW + 2 * HOUR
    assert wire.asked == [(START, {}), (NOW, {"seen": "1"}), (NOW + HOUR, {"seen": "1"})]


def test_source_that_fails_is_told_and_keeps_its_memory(store: NewsStore) -> None:
    wire, other = Wire(), Wire()
    other.name = "other"
    other.tell("good", NOW - HOUR)
    visit(store, wire, NOW)
    wire.fails = True
    keyless = NewsApiSource(quick_web("NewsAPI", "http://127.0.0.1:9"), "bitcoin")
    found = visits(store, [wire, other, keyless], start=START, now=NOW + HOUR)
    assert found["state"].to_list() == ["no answer", "answered", "not configured"]
    assert found["told"][0] == "the wire is cut"
    assert store.read()["title"].to_list() == ["good"]
    wire.fails = False
    visit(store, wire, NOW + 2 * HOUR)
    assert wire.asked[-1] == (NOW, {"seen": "0"})


def test_item_of_the_future_is_put_aside_once(store: NewsStore) -> None:
    wire = Wire()
    wire.tell("soon", NOW + 5 * HOUR)
    assert [visit(store, wire, NOW)["put_aside"] for _ in range(2)] == [1, 0]
    assert store.quarantine.read(["wire"])["title"].to_list() == ["soon"]


@pytest.fixture
def sandbox() -> Iterator[str]:
    with serving(news_app(DrivenMarket(NOW), seed=1)) as loopback:
        yield loopback.http


def test_simulated_sources_are_read_by_the_same_code_and_say_what_they_are(
    store: NewsStore, sandbox: str
) -> None:
    patience = Patience(tries=1, first_seconds=0, longest_seconds=0, sleep=lambda _: None, jitter=lambda: 0.0)
    web = quick_web("NewsAPI", sandbox, {KEY_NAME: "any"})
    web.clock = lambda: NOW
    sources = [
        FeedSource("feed", f"{sandbox}/rss", Visitor(USER_AGENT, 1e6, 10.0, patience, lambda: NOW)),
        NewsApiSource(web, "bitcoin"),
        RedditSource(quick_web("Reddit", sandbox), sandbox, RedditKey("a", "b"), ("Bitcoin",), USER_AGENT),
    ]
    told = [visits(store, sources, start=START, now=NOW) for _ in range(2)]
    assert told[0]["state"].to_list() == ["answered"] * 3
    kinds = [("rss", 48), ("newsapi", 100), ("reddit Bitcoin", 100)]
    assert told[0]["added"].to_list() == [len(list(items(1, kind, NOW, hours))) for kind, hours in kinds]
    assert told[1]["added"].to_list() == [0, 0, 0]
    articles = store.read()
    assert articles["title"].str.starts_with("[simulated] ").all()
    assert articles.filter(pl.col("coins").list.len() != 1).is_empty()
    assert set(articles["channel"]) == {"news", "reddit"}
