"""Whole articles from their own pages: where the site allows it, bounded, once, and never from elsewhere."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fakes.news_site import NewsSite, news_site, rss

from cryptoai_assets.lib.news import article_texts
from cryptoai_assets.lib.news.article_texts import MOST_PAGES, ArticleTexts, article_text
from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.news_source import NOTHING, Brought, Memory
from cryptoai_assets.lib.news.visits import Visitor
from cryptoai_assets.lib.sources.patience import Patience
from edge_bundle.news.feed_items import USER_AGENT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DATED = "<pubDate>Sun, 01 Mar 2026 11:00:00 GMT</pubDate>"
SAID = (
    "Bitcoin rose above a level that it last saw in spring, as traders returned to the market in numbers.",
    "Analysts named the report of the morning as the cause, and volumes were the largest of the year.",
    "Others warned that a single report is no trend, and that the next days would tell who had been right.",
)
PAGE = f"""<html><head><title>T</title><script>var hidden = 1;</script></head><body><nav><a href="/">Home</a>
<a href="/about">About us</a></nav><article><h1>Bitcoin rises</h1>{"".join(f"<p>{one}</p>" for one in SAID)}
</article><div class="comments"><p>First comment of a reader, who is not the author.</p></div>
<footer>Cookies and imprint</footer></body></html>""".encode()


@pytest.fixture
def site() -> Iterator[NewsSite]:
    with news_site() as running:
        yield running


def item(link: str, *, number: int = 1, text: str = "In short.") -> str:
    told = f"<title>Bitcoin rises {number}</title><link>{link}</link><guid>{number}</guid>"
    return f"{told}{DATED}<description>{text}</description>"


def fetched(site: NewsSite, *items: str, memory: Memory = NOTHING) -> Brought:
    site.pages["/rss"] = rss(*items)
    patience = Patience(tries=1, first_seconds=0, longest_seconds=0, sleep=lambda _: None, jitter=lambda: 0.0)
    visitor = Visitor(USER_AGENT, 1e6, 5.0, patience, lambda: NOW)
    source = FeedSource("T", f"{site.url}/rss", visitor, ArticleTexts(visitor))
    return source.fetch(NOW - timedelta(days=1), {**memory, "etag": None})


def test_item_has_the_text_of_its_page_and_nothing_of_what_stands_around_it(site: NewsSite) -> None:
    site.pages["/1"] = PAGE
    [found] = fetched(site, item(f"{site.url}/1")).found
    assert all(one in found.text for one in SAID)
    assert not any(word in found.text for word in ("About us", "Cookies", "hidden", "First comment"))
    assert site.paths() == ["/rss", "/1"]


def test_page_is_read_once_and_again_when_the_feed_says_something_else(site: NewsSite) -> None:
    site.pages["/1"] = PAGE
    first = fetched(site, item(f"{site.url}/1"))
    again = fetched(site, item(f"{site.url}/1"), memory=first.memory)
    assert again.found == ()
    edited = fetched(site, item(f"{site.url}/1", text="Otherwise."), memory=again.memory)
    assert len(edited.found) == 1
    assert site.paths() == ["/rss", "/1", "/rss", "/rss", "/1"]


@pytest.mark.parametrize("page", [None, b"", b"<html><p>short</p></html>", b"\xff\xfe\x00", b"<" * 50_000])
def test_page_that_gives_nothing_leaves_what_the_feed_says(site: NewsSite, page: bytes | None) -> None:
    if page is not None:
        site.pages["/1"] = page
    [found] = fetched(site, item(f"{site.url}/1")).found
    assert found.text == "In short."


def test_page_that_robots_txt_closes_is_not_visited(site: NewsSite) -> None:
    site.robots, site.pages["/1"] = "User-agent: *\nDisallow: /1\n", PAGE
    [found] = fetched(site, item(f"{site.url}/1")).found
    assert found.text == "In short."
    assert site.paths() == ["/rss"]


def test_no_other_site_is_visited_that_a_feed_names_or_a_page_leads_to(site: NewsSite) -> None:
    with news_site() as inside:
        inside.pages |= {"/secret": PAGE, "/led": PAGE}
        site.moved["/1"] = (302, f"{inside.url}/led")
        found = fetched(
            site, item(f"{inside.url}/secret"), item(f"{site.url}/1", number=2), item("file:///etc", number=3)
        ).found
    assert [one.text for one in found] == ["In short."] * 3
    assert "/secret" not in inside.paths()


@pytest.mark.parametrize("path", ["a&#127;b", "?a&#127;b", "a" * 70_000])
def test_item_whose_link_is_no_address_keeps_what_the_feed_says_and_the_others_are_read(
    site: NewsSite, path: str
) -> None:
    site.pages["/1"] = PAGE
    bad, good = fetched(site, item(f"{site.url}/{path}"), item(f"{site.url}/1", number=2)).found
    assert bad.text == "In short."
    assert SAID[0] in good.text
    assert site.paths() == ["/rss", "/1"]


def test_pages_of_one_visit_are_bounded_and_no_item_is_lost(site: NewsSite) -> None:
    site.pages |= {f"/{number}": PAGE for number in range(30)}
    found = fetched(site, *(item(f"{site.url}/{number}", number=number) for number in range(30))).found
    assert len(found) == 30
    assert len(site.paths()) == 1 + MOST_PAGES
    assert [one.text == "In short." for one in found] == [number >= MOST_PAGES for number in range(30)]


def test_page_that_is_too_long_is_not_read() -> None:
    assert article_text(PAGE)
    assert article_text(PAGE + b" " * article_texts.MOST_PAGE_BYTES) == ""
