"""News of the device: feeds asked politely, nothing lost or doubled, scored, and told by the hour."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import polars as pl
import pytest
from fakes.installed_device import SYMBOLS
from fakes.news_site import ETAG, NewsSite, news_site, rss
from fakes.scripted_server import reply, scripted_server

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.news import (
    CAUGHT_UP,
    DAY,
    NEWS_API_EVERY,
    NEWS_API_HEADER,
    News,
    Told,
    named_feeds,
    named_method,
)
from edge_bundle.device.news_shelf import HELD_SCHEMA, KEPT_CHARACTERS, WHOLE_MARKET, NewsShelf
from edge_bundle.device.settings import NEWS_METHODS
from edge_bundle.device.web import Web
from edge_bundle.news.articles import ARTICLE_SCHEMA
from edge_bundle.news.feed_addresses import FEEDS
from edge_bundle.news.feed_items import USER_AGENT
from edge_bundle.news.mood import HOUR, WEIGHING, mood_facts
from edge_bundle.news.scored_news import with_scores
from edge_bundle.sentiment.keywords import KeywordSentiment
from edge_bundle.sentiment.release import METHODS

NOW = datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
COINS = dict(zip(SYMBOLS, ("BTC", "ETH"), strict=True))
KEYWORDS = KeywordSentiment()


def item(number: int, title: str, *, at: datetime = NOW - timedelta(minutes=30), text: str = "") -> str:
    dated = f"<pubDate>{format_datetime(at)}</pubDate>"
    told = f"<description>{text}</description>" if text else ""
    return f"<title>{title}</title><link>https://n.test/{number}</link><guid>{number}</guid>{dated}{told}"


GOOD, BAD = item(1, "Bitcoin adoption booms"), item(2, "Ethereum crash: hack, fraud and losses")


@pytest.fixture
def site() -> Iterator[NewsSite]:
    with news_site() as running:
        running.pages["/rss"] = rss(GOOD, BAD)
        yield running


@pytest.fixture
def news(site: NewsSite, tmp_path: Path) -> News:
    feeds = {"T": f"{site.url}/rss"}
    database = DeviceDatabase(tmp_path / "device.db")
    return News(database, feeds, None, KEYWORDS, COINS, timedelta(days=90), lambda: NOW)


def run(news: News, now: datetime) -> Told:
    return replace(news, clock=lambda: now).run()


def held(news: News) -> pl.DataFrame:
    return NewsShelf(news.database).articles(NOW - timedelta(days=400))


def test_news_are_kept_once_scored_and_told_by_the_hour(news: News, site: NewsSite) -> None:
    assert run(news, NOW) == Told(2, 1, ())
    kept = held(news)
    assert dict(kept.schema) == HELD_SCHEMA
    assert dict(zip(kept["coins"].explode(), kept["score"].sign(), strict=True)) == {"BTC": 1, "ETH": -1}
    site.pages["/rss"] = rss(BAD, GOOD)
    site.headers = {"ETag": '"v2"'}
    assert run(news, NOW + timedelta(minutes=15)) == Told(0, 0, ())
    assert run(news, NOW + HOUR).hours == 1
    told = NewsShelf(news.database).moods("BTCUSDT", ["sentiment_24h", "news_count_24h"], since=NOW - HOUR)
    assert told["news_count_24h"] == [0, 1]
    assert told["sentiment_24h"][0] is None
    assert told["sentiment_24h"][1] > 0


def test_mood_is_that_of_the_platform_for_the_same_articles(news: News) -> None:
    run(news, NOW)
    run(news, NOW + HOUR)
    slot = (NOW + HOUR).replace(minute=0)
    scored = with_scores(held(news).select(list(ARTICLE_SCHEMA)), KEYWORDS, held(news).clear())
    for symbol, name, value in (
        mood_facts(scored, COINS, [slot], weighing=WEIGHING).select("symbol", "name", "value").iter_rows()
    ):
        told = NewsShelf(news.database).moods(symbol or WHOLE_MARKET, [name], since=slot)
        assert told[name] == [value]


def test_feed_that_has_not_changed_is_asked_with_its_marks_by_who_we_are(news: News, site: NewsSite) -> None:
    run(news, NOW)
    assert run(news, NOW + HOUR).failures == ()
    path, headers = site.asked[-1]
    assert (path, headers["if-none-match"], headers["user-agent"]) == ("/rss", ETAG, USER_AGENT)
    assert [path for path, _ in site.asked].count("/robots.txt") == 1


def test_feed_whose_site_forbids_it_is_not_read(news: News, site: NewsSite) -> None:
    site.robots = "User-agent: *\nDisallow: /rss"
    [failure] = run(news, NOW).failures
    assert "leave this feed out" in failure
    assert site.paths() == []
    site.robots = ""
    assert run(news, NOW + timedelta(minutes=15)).failures == (failure,)
    assert run(news, NOW + timedelta(days=1)).added == 2


def test_feed_that_fails_holds_up_no_other(news: News, site: NewsSite) -> None:
    site.pages["/page"] = b"<html>no feed</html>"
    feeds = {"lost": f"{site.url}/absent", "page": f"{site.url}/page", "gone": "http://127.0.0.1:9/rss"}
    done = replace(news, feeds={**feeds, **news.feeds}).run()
    assert done.added == 2
    assert [failure.split()[0] for failure in done.failures] == ["lost", "page", "gone's"]


@pytest.mark.parametrize(
    ("header", "failures"),
    [({"ETag": '"\u00e9"'}, 0), ({"Content-Type": "text/xml; charset=undefined"}, 1)],
)
def test_odd_header_of_a_feed_holds_up_no_other(
    news: News, site: NewsSite, header: dict[str, str], failures: int
) -> None:
    with news_site() as odd:
        odd.pages["/feed"], odd.headers = rss(GOOD), header
        both = replace(news, feeds={"odd": f"{odd.url}/feed", **news.feeds})
        for moment in (NOW, NOW + timedelta(minutes=15)):
            assert len(run(both, moment).failures) == failures
    assert site.paths() == ["/rss", "/rss"]


def test_feed_that_leads_to_no_address_holds_up_no_other(news: News, site: NewsSite) -> None:
    site.moved["/old"] = (302, "http://[oops")
    done = replace(news, feeds={"lost": f"{site.url}/old", **news.feeds}).run()
    assert done.added == 2
    assert done.failures == ("lost leads on to 'http://[oops', which is no address",)


def test_feed_that_moved_is_followed(news: News, site: NewsSite) -> None:
    site.moved["/old"] = (301, f"{site.url}/rss")
    assert replace(news, feeds={"T": f"{site.url}/old"}).run() == Told(2, 1, ())


def test_site_that_a_feed_leads_to_is_asked_for_its_leave_as_well(news: News, site: NewsSite) -> None:
    with news_site() as other:
        other.pages["/feed"], other.robots = rss(GOOD), "User-agent: *\nDisallow: /feed\n"
        site.moved["/rss"] = (302, f"{other.url}/feed")
        [failure] = run(news, NOW).failures
        assert "robots.txt does not allow" in failure
        assert other.paths() == []


def test_feed_that_leads_in_a_circle_is_given_up(news: News, site: NewsSite) -> None:
    site.moved["/rss"] = (302, "/rss")
    [failure] = run(news, NOW).failures
    assert "leads on more than" in failure


def test_edit_is_a_new_version_that_is_known_from_then_on(news: News, site: NewsSite) -> None:
    run(news, NOW)
    site.pages["/rss"] = rss(item(1, "Bitcoin adoption crashes: losses"), BAD)
    site.headers = {"ETag": '"v2"'}
    database_asks_again(news)
    assert run(news, NOW + HOUR).added == 1
    versions = held(news).filter(pl.col("address") == "https://n.test/1")
    assert versions["known_at"].to_list() == [NOW, NOW + HOUR]
    assert versions["score"].sign().to_list() == [1, -1]


def database_asks_again(news: News) -> None:
    """Let the server answer though its marks have not changed."""
    news.database.mark("news asked: T", "{}", now=NOW)


def test_article_is_known_when_it_was_fetched_by_who_was_there(news: News, site: NewsSite) -> None:
    """What the first visit finds is history; afterwards nobody can have read what was not fetched."""
    old = item(5, "Bitcoin before", at=NOW - 5 * HOUR)
    site.pages["/rss"] = rss(old)
    run(news, NOW)
    told_late = item(7, "Bitcoin long before", at=NOW - 6 * HOUR)
    site.pages["/rss"] = rss(old, item(6, "Bitcoin meanwhile", at=NOW + HOUR), told_late)
    database_asks_again(news)
    run(news, NOW + 3 * HOUR)
    assert held(news)["known_at"].to_list() == [NOW - 4 * HOUR, *[NOW + 3 * HOUR] * 2]


def test_article_is_known_when_its_feed_answered_however_long_that_and_the_others_took(
    news: News, site: NewsSite
) -> None:
    minute = timedelta(minutes=1)
    with news_site() as slow:
        slow.pages["/rss"], slow.headers, site.headers = rss(), *[{"ETag": '"changes"'}] * 2
        feeds = {"slow": f"{slow.url}/rss", **news.feeds}
        both = replace(news, feeds=feeds, clock=lambda: NOW + 9 * minute * len(slow.asked))
        both.run()
        begun, answered = both.clock(), both.clock() + 9 * minute
        early, late = (item(n, f"Bitcoin {n}", at=begun + n * minute) for n in (3, 8))
        slow.pages["/rss"], site.pages["/rss"] = rss(early), rss(late)
        assert both.run().added == 2
    meanwhile = held(news).filter(pl.col("published_at") > begun)
    assert meanwhile["known_at"].to_list() == [answered] * 2


def test_what_is_older_than_is_kept_does_not_come_back(news: News, site: NewsSite) -> None:
    site.pages["/rss"] = rss(item(3, "Bitcoin in the olden days", at=NOW - timedelta(days=91)))
    assert run(news, NOW).added == 0


def test_text_is_kept_short_and_forgotten_with_the_bars(news: News, site: NewsSite) -> None:
    site.pages["/rss"] = rss(item(4, "Bitcoin", text="word " * 2000))
    run(news, NOW)
    assert held(news)["text"].str.len_chars().to_list() == [KEPT_CHARACTERS]
    run(news, NOW + HOUR)
    news.database.forget(before=NOW + timedelta(days=1))
    assert held(news).is_empty()
    assert NewsShelf(news.database).newest_slot(until=NOW + HOUR) is None


def test_hours_that_were_slept_through_are_told_and_not_for_ever(news: News) -> None:
    run(news, NOW)
    assert run(news, NOW + timedelta(hours=5)).hours == 5
    assert run(news, NOW + timedelta(days=30)).hours == CAUGHT_UP // HOUR


def test_clock_that_was_ahead_keeps_no_later_hour_from_being_told(news: News, site: NewsSite) -> None:
    run(news, NOW)
    run(news, NOW + timedelta(days=20))
    assert run(news, NOW + timedelta(hours=3)).hours == 3
    assert run(news, NOW + timedelta(hours=3)).hours == 0
    site.robots = "User-agent: *\nDisallow: /"
    assert "does not allow" in run(news, NOW + timedelta(days=2)).failures[0]


ARTICLE = {
    "source": {"id": None, "name": "Decrypt"},
    "author": None,
    "title": "Bitcoin rises",
    "description": "Much.",
    "url": "https://decrypt.test/1",
    "publishedAt": "2026-03-01T11:00:00Z",
}


def test_news_api_is_asked_with_its_key_now_and_then(tmp_path: Path) -> None:
    with scripted_server() as server:
        server.will_answer(
            reply(json.dumps({"status": "ok", "articles": [ARTICLE]})),
            reply(json.dumps({"status": "error", "message": "rate limited"})),
            reply("[]"),
        )
        web = Web("NewsAPI", server.url, headers={NEWS_API_HEADER: "secret"})
        database = DeviceDatabase(tmp_path / "d.db")
        news = News(database, {}, web, KEYWORDS, COINS, timedelta(days=90), lambda: NOW)
        assert run(news, NOW).added == 1
        assert run(news, NOW + NEWS_API_EVERY / 2) == Told(0, 0, ())
        later = NOW + NEWS_API_EVERY
        assert "rate limited" in run(news, later).failures[0]
        assert "shape" in run(news, later).failures[0]
    assert [asked.partition("?")[0] for asked in server.asked] == ["/v2/everything"] * 3
    assert "secret" not in "".join(server.asked) + repr(web)
    assert "from=2026-02-28" in server.asked[0]
    assert "from=2026-03-01T12%3A10" in server.asked[1]


def test_news_api_is_asked_from_when_it_was_asked_last_however_long_it_took(tmp_path: Path) -> None:
    with scripted_server() as server:
        server.will_answer(*[reply(json.dumps({"status": "ok", "articles": []}))] * 2)
        web = Web("NewsAPI", server.url, headers={NEWS_API_HEADER: "secret"})
        database = DeviceDatabase(tmp_path / "d.db")
        news = News(database, {}, web, KEYWORDS, COINS, DAY, lambda: NOW + HOUR * len(server.asked))
        assert [news.run().failures for _ in range(2)] == [(), ()]
    assert "from=2026-03-01T12%3A10" in server.asked[1]


def test_news_api_is_asked_again_after_a_clock_was_ahead(tmp_path: Path) -> None:
    with scripted_server() as server:
        server.will_answer(*[reply(json.dumps({"status": "ok", "articles": []}))] * 2)
        web = Web("NewsAPI", server.url, headers={NEWS_API_HEADER: "secret"})
        database = DeviceDatabase(tmp_path / "d.db")
        news = News(database, {}, web, KEYWORDS, COINS, timedelta(days=90), lambda: NOW)
        run(news, NOW + timedelta(days=20))
        assert run(news, NOW).failures == ()
    assert "from=2026-02-28" in server.asked[1]


def test_feeds_have_the_names_that_they_are_known_under() -> None:
    addresses = (*FEEDS.values(), "https://n.test/feed")
    assert named_feeds(addresses) == {**FEEDS, "n.test/feed": "https://n.test/feed"}


@pytest.mark.parametrize("name", NEWS_METHODS)
def test_method_is_loaded_by_its_name(name: str) -> None:
    assert named_method(name).name == name
    assert set(NEWS_METHODS) == set(METHODS)
