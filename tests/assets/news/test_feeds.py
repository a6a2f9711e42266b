"""Feeds with all their oddities: nothing lost, nothing doubled, nothing crashes."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from fakes.news_site import ETAG, MODIFIED, NewsSite, news_site, rss
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.news_source import NOTHING, Brought, Memory
from cryptoai_assets.lib.news.visits import Visitor
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.patience import Patience
from edge_bundle.news.articles import sifted
from edge_bundle.news.feed_items import USER_AGENT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = NOW - timedelta(days=1)
DATED = "<pubDate>Sun, 01 Mar 2026 11:00:00 GMT</pubDate>"
FIRST = f"<title>Bitcoin rises</title><link>https://n.test/1</link><guid>1</guid>{DATED}"
SECOND = f"<title>Ether falls</title><link>https://n.test/2</link><guid>2</guid>{DATED}"


@pytest.fixture
def site() -> Iterator[NewsSite]:
    with news_site() as running:
        yield running


def visitor(**changed: Any) -> Visitor:
    patience = Patience(tries=2, first_seconds=0, longest_seconds=0, sleep=lambda _: None, jitter=lambda: 0.0)
    return Visitor(USER_AGENT, 1e6, 5.0, patience, lambda: NOW, **changed)


def fetched(site: NewsSite, memory: Memory = NOTHING, *, body: bytes | None = None) -> Brought:
    if body is not None:
        site.pages["/rss"] = body
    return FeedSource("T", f"{site.url}/rss", visitor()).fetch(START, memory)


def titles(brought: Brought) -> list[str]:
    return sifted(brought.found, now=NOW, history_until=None).articles["title"].to_list()


def test_feed_that_has_not_changed_is_asked_with_its_marks_and_brings_nothing(site: NewsSite) -> None:
    first = fetched(site, body=rss(FIRST))
    again = fetched(site, first.memory)
    assert titles(first) == ["Bitcoin rises"]
    assert not again.found
    assert again.memory == first.memory
    _, headers = site.asked[-1]
    assert (headers["if-none-match"], headers["if-modified-since"]) == (ETAG, MODIFIED)
    assert {headers["user-agent"] for _, headers in site.asked} == {USER_AGENT}


def test_mark_that_no_header_can_hold_is_not_sent_back(site: NewsSite) -> None:
    site.headers = {"ETag": '"\u00e9"'}
    first = fetched(site, body=rss(FIRST))
    assert titles(fetched(site, first.memory)) == ["Bitcoin rises"]


def test_feed_in_letters_that_nothing_reads_is_an_error(site: NewsSite) -> None:
    site.headers = {"Content-Type": "text/xml; charset=undefined"}
    with pytest.raises(SourceError, match="charset=undefined', which cannot be read"):
        fetched(site, body=rss(FIRST))


@pytest.mark.parametrize(
    ("status", "remembered"), [(301, "/new"), (308, "/new"), (302, "/rss"), (307, "/rss")]
)
def test_feed_that_moved_is_followed_and_remembered_when_it_moved_for_good(
    site: NewsSite, status: int, remembered: str
) -> None:
    site.moved["/rss"] = (status, f"{site.url}/new")
    site.pages["/new"] = rss(FIRST)
    brought = fetched(site)
    assert titles(brought) == ["Bitcoin rises"]
    assert brought.memory["address"] == site.url + remembered
    fetched(site, brought.memory)
    assert site.paths()[2] == remembered


def test_feed_that_moves_in_a_circle_is_an_error(site: NewsSite) -> None:
    site.moved["/rss"] = (301, f"{site.url}/rss")
    with pytest.raises(SourceError, match="leads on more than 3 times"):
        fetched(site)


def test_site_that_a_feed_leads_to_is_asked_for_its_leave_as_well(site: NewsSite) -> None:
    with news_site() as other:
        other.pages["/feed"], site.moved["/rss"] = rss(FIRST), (302, f"{other.url}/feed")
        assert titles(fetched(site)) == ["Bitcoin rises"]
        assert [path for path, _ in other.asked] == ["/robots.txt", "/feed"]
        other.asked.clear()
        other.robots = "User-agent: *\nDisallow: /feed\n"
        with pytest.raises(SourceRefusedError, match=rf"{other.url}/robots.txt does not allow /feed"):
            fetched(site)
        assert other.paths() == []


def test_robots_txt_is_asked_once_and_obeyed(site: NewsSite) -> None:
    site.robots, site.pages["/rss"] = "User-agent: *\nDisallow: /rss\n", rss(FIRST)
    source = FeedSource("T", f"{site.url}/rss", visitor())
    for _ in range(2):
        with pytest.raises(SourceRefusedError, match=r"robots.txt does not allow /rss"):
            source.fetch(START)
    assert [path for path, _ in site.asked] == ["/robots.txt"]


@pytest.mark.parametrize("rule", ["Crawl-delay: ²", "Request-rate: 1/²", "Disallow: //["])
def test_robots_txt_that_cannot_be_read_allows_nothing(site: NewsSite, rule: str) -> None:
    site.robots, site.pages["/rss"] = f"User-agent: *\n{rule}\n", rss(FIRST)
    with pytest.raises(SourceRefusedError, match=r"robots.txt cannot be read .* leave this feed out"):
        fetched(site)


def test_entry_of_which_nothing_can_be_read_says_nothing(site: NewsSite) -> None:
    torn = b'<feed><entry><title type="html".test/1?x</link><guid>1>E<content>text</content></entry></feed>'
    [found] = fetched(site, body=torn).found
    assert (found.title, found.text) == ("", "")


def test_site_is_asked_at_its_rate(site: NewsSite) -> None:
    waited: list[float] = []
    patience = Patience(tries=1, first_seconds=0, longest_seconds=0, sleep=waited.append, jitter=lambda: 0.0)
    polite = Visitor(USER_AGENT, 0.5, 5.0, patience, lambda: NOW, stopwatch=lambda: 100.0)
    site.pages["/rss"] = rss(FIRST)
    FeedSource("T", f"{site.url}/rss", polite).fetch(START)
    assert waited == [2.0]  # between robots.txt and the feed


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(rss(FIRST)), {"Content-Encoding": "gzip"}),
        (gzip.compress(rss(FIRST)), {}),
        (rss(FIRST), {"Content-Encoding": "gzip"}),
    ],
    ids=["told", "untold", "a lie"],
)
def test_packed_feed_is_unpacked_whatever_the_header_says(
    site: NewsSite, body: bytes, headers: dict[str, str]
) -> None:
    site.headers = headers
    assert titles(fetched(site, body=body)) == ["Bitcoin rises"]


def test_answer_that_unpacks_to_too_much_is_refused(site: NewsSite) -> None:
    site.pages["/rss"] = gzip.compress(b" " * 50_000_000)
    source = FeedSource("T", f"{site.url}/rss", visitor(max_body_bytes=1_000_000))
    with pytest.raises(SourceRefusedError, match="longer than 1,000,000 bytes"):
        source.fetch(START)


@pytest.mark.parametrize(
    ("dated", "moment"),
    [
        ("", None),
        ("<pubDate>yesterday, more or less</pubDate>", None),
        ("<pubDate>Sun, 01 Mar 2026 11:00:00 +0200</pubDate>", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("<pubDate>Sun, 01 Mar 2026 11:00:00 EST</pubDate>", datetime(2026, 3, 1, 16, tzinfo=UTC)),
        ("<pubDate>2026-03-01T11:00:00Z</pubDate>", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("<pubDate>Mon, 01 Mar 2026 11:00:00 GMT</pubDate>", datetime(2026, 3, 1, 11, tzinfo=UTC)),
    ],
)
def test_date_is_read_in_its_zone_and_none_is_made_up(
    site: NewsSite, dated: str, moment: datetime | None
) -> None:
    [found] = fetched(site, body=rss(f"<title>A</title><guid>1</guid>{dated}")).found
    assert found.published == moment


def test_item_of_a_wrong_zone_or_of_the_future_is_put_aside_and_not_lost(site: NewsSite) -> None:
    future = "<title>Soon</title><guid>3</guid><pubDate>Sun, 01 Mar 2026 19:00:00 GMT</pubDate>"
    sifting = sifted(fetched(site, body=rss(FIRST, future)).found, now=NOW, history_until=None)
    assert sifting.articles["title"].to_list() == ["Bitcoin rises"]
    assert sifting.quarantine["title"].to_list() == ["Soon"]


def test_relative_link_is_meant_from_the_feed(site: NewsSite) -> None:
    item = f"<title>A</title><link>/articles/1?utm_source=rss</link>{DATED}"
    rows = sifted(fetched(site, body=rss(item)).found, now=NOW, history_until=None).articles
    assert rows["address"].to_list() == [f"{site.url}/articles/1".replace("http:", "https:")]


def test_markup_in_cdata_becomes_text(site: NewsSite) -> None:
    item = (
        "<title><![CDATA[Bitcoin <b>rises</b> & falls]]></title><guid>1</guid>"
        "<description><![CDATA[<p>One</p><script>steal()</script><p>Two</p>]]></description>"
    )
    [row] = sifted(fetched(site, body=rss(item)).found, now=NOW, history_until=None).articles.to_dicts()
    assert (row["title"], row["text"]) == ("Bitcoin rises & falls", "One Two")


def test_broken_xml_gives_what_can_be_read_with_a_complaint(site: NewsSite) -> None:
    whole = rss(FIRST, SECOND)
    brought = fetched(site, body=whole[: whole.index(b"Ether") + 5])
    assert titles(brought)[0] == "Bitcoin rises"
    assert brought.complaint
    assert "broken" in brought.complaint
    assert fetched(site, body=whole).complaint is None


def test_external_entity_is_not_read(site: NewsSite) -> None:
    site.pages["/secret"] = b"the secret"
    body = (
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a SYSTEM "{site.url}/secret">'
        '<!ENTITY b SYSTEM "file:///etc/passwd">]>'
        "<rss version='2.0'><channel><item><title>A &a; &b; end</title><guid>1</guid></item></channel></rss>"
    ).encode()
    said = repr(fetched(site, body=body).found)
    assert "secret" not in said
    assert "root:" not in said
    assert "/secret" not in site.paths()


def test_entities_that_grow_do_not(site: NewsSite) -> None:
    grown = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    body = (
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "lol">{grown}]>'
        "<rss version='2.0'><channel><item><title>A &l9;</title><guid>1</guid></item></channel></rss>"
    ).encode()
    assert len(repr(fetched(site, body=body).found)) < 10_000


def test_feed_of_ten_thousand_items_is_read_once_each(site: NewsSite) -> None:
    items = [f"<title>Item {n}</title><link>https://n.test/{n}</link>{DATED}" for n in range(10_000)]
    brought = fetched(site, body=rss(*items, *items[:50]))
    assert titles(brought) == [f"Item {n}" for n in range(10_000)]


def test_atom_is_read_as_rss_is(site: NewsSite) -> None:
    body = (
        b'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>T</title><entry><id>urn:1</id>'
        b'<title type="html">Bitcoin &lt;i&gt;rises&lt;/i&gt;</title><link href="https://n.test/1"/>'
        b"<author><name>Ann</name></author><updated>2026-03-01T11:00:00+01:00</updated>"
        b"<content>Whole text</content></entry></feed>"
    )
    rows = sifted(fetched(site, body=body).found, now=NOW, history_until=None).articles
    [row] = rows.select("title", "text", "author", "language", "address").rows()
    assert row == ("Bitcoin rises", "Whole text", "Ann", "en", "https://n.test/1")


@pytest.mark.parametrize("body", [b"", b"<html><body>Log in</body></html>", b"{}", b"\x00\x01\x02"])
def test_what_is_no_feed_is_an_error(site: NewsSite, body: bytes) -> None:
    with pytest.raises(SourceError, match="no feed"):
        fetched(site, body=body)


def test_absent_feed_is_an_error_by_its_status(site: NewsSite) -> None:
    with pytest.raises(SourceRefusedError, match="status 404"):
        fetched(site)


@given(cut=st.integers(0, 400), noise=st.binary(max_size=20))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_damage_gives_items_or_an_error_of_ours(site: NewsSite, cut: int, noise: bytes) -> None:
    whole = rss(FIRST, SECOND)
    try:
        brought = fetched(site, body=whole[:cut] + noise + whole[cut:])
    except SourceError:
        return
    assert len(titles(brought)) <= 2


@pytest.mark.parametrize(
    "address", ["https://n.test:x/rss", "https://n.test/a\x7fb", "https://\xad.test/rss"]
)
def test_feed_whose_address_is_none_is_an_error_of_ours(address: str) -> None:
    with pytest.raises(SourceRefusedError, match="is no address"):
        FeedSource("T", address, visitor()).fetch(START)


def test_page_that_does_not_end_in_time_is_given_up(site: NewsSite) -> None:
    site.pages["/rss"] = rss(FIRST)
    seconds = count(step=10)  # ten at each look
    slow = visitor(stopwatch=lambda: next(seconds))
    with pytest.raises(SourceError, match="did not end within 5 s"):
        FeedSource("T", f"{site.url}/rss", slow).fetch(START)
