"""The store of news: nothing lost and nothing doubled over visits, and a source's failure is its own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.news_site import news_site, rss
from fakes.outside_world import DrivenMarket, quick_web
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.news_source import Brought, Memory
from cryptoai_assets.lib.news.news_store import NewsStore, visits
from cryptoai_assets.lib.news.social import NewsApiSource, RedditKey, RedditSource
from cryptoai_assets.lib.news.visits import Visitor
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.patience import Patience
from cryptoai_assets.sandbox.news import items, news_app
from edge_bundle.news.articles import BACKFILL_DELAY, CLOCK_TOLERANCE, Found
from edge_bundle.news.feed_items import USER_AGENT
from edge_bundle.news.news_api import KEY_NAME

NOW = datetime(2019, 9, 10, 12, 30, tzinfo=UTC)
START = NOW - timedelta(days=5)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
PATIENCE = Patience(tries=1, first_seconds=0, longest_seconds=0, sleep=lambda _: None, jitter=lambda: 0.0)


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
    return visits(store, [source], start=START, clock=lambda: now).row(0, named=True)


def test_visits_add_what_is_new_once_and_date_it_as_it_was_known(store: NewsStore) -> None:
    wire = Wire()
    wire.tell("history", NOW - 30 * HOUR)
    assert visit(store, wire, NOW)["added"] == 1
    assert visit(store, wire, NOW + HOUR)["added"] == 0
    wire.tell("late", NOW + HOUR / 2)
    wire.tell("told late of before we came", NOW - 9 * HOUR)
    assert visit(store, wire, NOW + 2 * HOUR)["added"] == 2
    known = dict(store.read().select("title", "known_at").iter_rows())
    assert known["history"] == NOW - 30 * HOUR + BACKFILL_DELAY
    assert known["late"] == known["told late of before we came"] == NOW + 2 * HOUR
    assert [memory for _, memory in wire.asked] == [{}, {"seen": "1"}, {"seen": "1"}]


def test_item_is_known_when_its_source_answered_however_long_that_and_the_others_took(
    store: NewsStore,
) -> None:
    def item(minutes: int) -> str:
        told = f"<title>Bitcoin {minutes}</title><link>https://n.test/{minutes}</link>"
        return f"{told}<pubDate>{format_datetime(begun + minutes * MINUTE)}</pubDate>"

    with news_site() as slow, news_site() as quick:
        slow.pages["/rss"] = quick.pages["/rss"] = rss()
        slow.headers = quick.headers = {"ETag": '"changes"'}

        def clock() -> datetime:
            return NOW + 9 * MINUTE * len(slow.asked)

        visitor = Visitor(USER_AGENT, 1e6, 10.0, PATIENCE, clock)
        sources = [FeedSource(site.url, f"{site.url}/rss", visitor) for site in (slow, quick)]
        visits(store, sources, start=START, clock=clock)
        begun = clock()
        slow.pages["/rss"], quick.pages["/rss"] = rss(item(2), item(7)), rss(item(3), item(8))
        told = visits(store, sources, start=START, clock=clock)
    assert (told["added"].to_list(), told["put_aside"].to_list()) == ([2, 2], [0, 0])
    assert set(store.read()["known_at"]) == {begun + 9 * MINUTE}


def test_visit_begins_where_the_last_one_asked_by_the_slowest_clock_so_that_nothing_falls_between(
    store: NewsStore,
) -> None:
    wire = Wire()
    for _ in range(3):  # each takes an hour
        visits(store, [wire], start=START, clock=lambda: NOW + HOUR * len(wire.asked))
    assert [since for since, _ in wire.asked] == [START, NOW - CLOCK_TOLERANCE, NOW + HOUR - CLOCK_TOLERANCE]


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from((None, 0, 9))), max_size=8)
)
def test_what_was_known_at_a_time_is_what_the_store_held_then(
    told: list[tuple[str, int, int | None]],
) -> None:
    """Two wires are visited in turn, and take quarters of an hour in which one may be told something new.

    From the second visit on it may be of long before.
    """
    world, held = DrivenMarket(NOW), list[tuple[datetime, pl.DataFrame]]()

    class Slow(Wire):
        quarters = 0
        tells: int | None = None

        def fetch(self, since: datetime, memory: Memory) -> Brought:
            begun = world.time
            for _ in range(self.quarters):
                world.time += HOUR / 4
                held.append((world.time - MINUTE, store.read()))
            if self.tells is not None:
                before = self.tells * HOUR if self.asked else 0 * HOUR
                self.tell(f"{begun}", begun + (world.time - begun) / 10 - before)
            return super().fetch(since, memory)

    with TemporaryDirectory() as folder:
        store = NewsStore(Path(folder) / "news", Path(folder) / "memories")
        wires = {name: Slow() for name in "ab"}
        for name, quarters, tells in told:
            wires[name].name, wires[name].quarters, wires[name].tells = name, quarters, tells
            store.visit(wires[name], start=START, clock=world.now)
            held.append((world.time, store.read()))
            world.time += MINUTE
        for then, known in held:
            assert store.read(end=then + timedelta(microseconds=1)).equals(known)


def test_source_that_fails_is_told_and_keeps_its_memory(store: NewsStore) -> None:
    wire, other = Wire(), Wire()
    other.name = "other"
    other.tell("good", NOW - HOUR)
    visit(store, wire, NOW)
    wire.fails = True
    keyless = NewsApiSource(quick_web("NewsAPI", "http://127.0.0.1:9"), "bitcoin")
    found = visits(store, [wire, other, keyless], start=START, clock=lambda: NOW + HOUR)
    assert found["state"].to_list() == ["no answer", "answered", "not configured"]
    assert found["told"][0] == "the wire is cut"
    assert store.read()["title"].to_list() == ["good"]
    wire.fails = False
    visit(store, wire, NOW + 2 * HOUR)
    assert wire.asked[-1] == (NOW - CLOCK_TOLERANCE, {"seen": "0"})


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
    web = quick_web("NewsAPI", sandbox, {KEY_NAME: "any"})
    web.clock = lambda: NOW
    sources = [
        FeedSource("feed", f"{sandbox}/rss", Visitor(USER_AGENT, 1e6, 10.0, PATIENCE, lambda: NOW)),
        NewsApiSource(web, "bitcoin"),
        RedditSource(quick_web("Reddit", sandbox), sandbox, RedditKey("a", "b"), ("Bitcoin",), USER_AGENT),
    ]
    told = [visits(store, sources, start=START, clock=lambda: NOW) for _ in range(2)]
    assert told[0]["state"].to_list() == ["answered"] * 3
    kinds = [("rss", 48), ("newsapi", 100), ("reddit Bitcoin", 100)]
    assert told[0]["added"].to_list() == [len(list(items(1, kind, NOW, hours))) for kind, hours in kinds]
    assert told[1]["added"].to_list() == [0, 0, 0]
    articles = store.read()
    assert articles["title"].str.starts_with("[simulated] ").all()
    assert articles.filter(pl.col("coins").list.len() != 1).is_empty()
    assert set(articles["channel"]) == {"news", "reddit"}
