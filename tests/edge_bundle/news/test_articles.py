"""The table of news: when an item is known, what is put aside, versions, and copies."""

import random
import string
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import TypedDict

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.news.articles import (
    BACKFILL_DELAY,
    Found,
    as_known,
    new_versions,
    sifted,
    with_copies,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WITHIN, LIKENESS = timedelta(days=3), 0.9


def item(title: str = "Bitcoin rises", **changed: object) -> Found:
    given = {
        "address": "https://news.test/1",
        "identity": "1",
        "source": "A",
        "channel": "news",
        "author": None,
        "title": title,
        "text": "",
        "language": "en-GB",
        "published": NOW - HOUR,
    }
    return Found(**{**given, **changed})


class Seen(TypedDict):
    now: datetime
    history_until: datetime | None


def seen(now: datetime = NOW, *, history_until: datetime | None = None) -> Seen:
    return {"now": now, "history_until": history_until}


@pytest.mark.parametrize(
    ("published", "history_until", "known"),
    [
        (NOW - HOUR, None, NOW),
        (NOW - 11 * HOUR, None, NOW),
        (NOW - 11 * HOUR, NOW, NOW - 11 * HOUR + BACKFILL_DELAY),
        (NOW - 11 * HOUR, NOW - 12 * HOUR, NOW),
        (NOW - timedelta(minutes=2), NOW, NOW),
        (None, NOW, NOW),
    ],
)
def test_item_is_known_when_it_was_fetched_or_would_have_been(
    published: datetime | None, history_until: datetime | None, known: datetime
) -> None:
    found = sifted([item(published=published)], **seen(history_until=history_until)).articles
    assert found["known_at"].to_list() == [known]
    assert found["published_at"].to_list() == [published]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"published": NOW + HOUR}, "after it was fetched"),
        ({"published": datetime(1970, 1, 1, tzinfo=UTC)}, "before there were coins"),
        ({"title": "<script>x</script>"}, "it says nothing"),
    ],
)
def test_item_that_lies_is_put_aside_with_its_reason(changed: dict[str, object], reason: str) -> None:
    found = sifted([item(**changed)], **seen())
    assert found.articles.is_empty()
    [told] = found.quarantine["reason"].to_list()
    assert reason in told


def test_last_day_of_all_is_a_lie_like_any_other() -> None:
    found = sifted([item(published=datetime.max.replace(tzinfo=UTC))], **seen(history_until=NOW))
    assert found.quarantine.height == 1


def test_clock_that_is_a_little_fast_is_no_lie() -> None:
    assert sifted([item(published=NOW + timedelta(minutes=4))], **seen()).articles.height == 1


def test_row_is_plain_and_names_its_coins() -> None:
    found = sifted(
        [item("<b>Ether</b>eum &amp; bitcoin", address="http://www.news.test/1?utm_source=x")], **seen()
    )
    [row] = found.articles.to_dicts()
    assert (row["title"], row["address"], row["coins"], row["language"]) == (
        "Ethereum & bitcoin",
        "https://news.test/1",
        ["BTC", "ETH"],
        "en",
    )


def test_half_a_letter_in_any_field_makes_a_row() -> None:
    half = "\ud800"
    found = sifted(
        [item(f"Bitcoin{half}", address=f"https://n.test/{half}", author=half, source=half, language=half)],
        **seen(),
    )
    [row] = found.articles.to_dicts()
    assert (row["title"], row["source"], row["author"], row["language"]) == ("Bitcoin", "", "", "")
    assert row["address"] == "urn::1"


def test_item_without_an_address_is_told_apart_by_its_identity() -> None:
    found = sifted([item(address=None, identity=name) for name in ("a", "b", "a")], **seen())
    assert found.articles["address"].to_list() == ["urn:A:a", "urn:A:b"]


def test_edited_article_is_a_new_row_and_the_old_one_is_what_was_known() -> None:
    first = sifted([item("Bitcoin rises")], **seen(NOW)).articles
    again = sifted([item("Bitcoin rises"), item("Bitcoin falls")], **seen(NOW + HOUR)).articles
    new = new_versions(first, again, NOW + HOUR)
    assert new["title"].to_list() == ["Bitcoin falls"]
    table = pl.concat([first, new])
    assert as_known(table, NOW - HOUR).is_empty()
    assert as_known(table, NOW + HOUR / 2)["title"].to_list() == ["Bitcoin rises"]
    assert as_known(table, NOW + HOUR)["title"].to_list() == ["Bitcoin falls"]


def test_article_that_says_again_what_it_said_is_a_third_version() -> None:
    held = sifted([item("Bitcoin rises")], **seen(NOW)).articles
    for hours, title in ((1, "Bitcoin falls"), (2, "Bitcoin rises"), (3, "Bitcoin rises")):
        now = NOW + hours * HOUR
        held = pl.concat([held, new_versions(held, sifted([item(title)], **seen(now)).articles, now)])
    assert held["title"].to_list() == ["Bitcoin rises", "Bitcoin falls", "Bitcoin rises"]
    assert as_known(held, NOW + 1.5 * HOUR)["title"].to_list() == ["Bitcoin falls"]
    assert as_known(held, NOW + 5 * HOUR)["title"].to_list() == ["Bitcoin rises"]


def test_feed_that_always_tells_two_texts_of_an_address_adds_each_once() -> None:
    both = [item("Bitcoin rises"), item("Bitcoin falls")]
    held = sifted(both, **seen(NOW)).articles
    assert held.height == 2
    again = sifted(both, **seen(NOW + HOUR)).articles
    assert new_versions(held, again, NOW + HOUR).is_empty()


def test_old_article_that_is_edited_is_known_from_the_edit_on() -> None:
    old = NOW - 100 * HOUR
    first = sifted([item("Bitcoin rises", published=old)], **seen(NOW, history_until=NOW)).articles
    edited = sifted([item("Bitcoin falls", published=old)], **seen(NOW + HOUR)).articles
    new = new_versions(first, edited, NOW + HOUR)
    assert new["known_at"].to_list() == [NOW + HOUR]
    assert as_known(pl.concat([first, new]), NOW)["title"].to_list() == ["Bitcoin rises"]


def test_copies_by_others_are_counted_and_own_versions_are_not() -> None:
    text = "Bitcoin rises above a level that it last saw in spring as traders return to the market"
    rows = [
        sifted(
            [item(text, address=f"https://{host}.test/1", published=None)], **seen(NOW + place * HOUR)
        ).articles
        for place, host in enumerate(("a", "b", "b", "c"))
    ]
    other = sifted([item("Ethereum falls", address="https://d.test/1")], **seen(NOW)).articles
    late = sifted([item(text, address="https://e.test/1", published=None)], **seen(NOW + 90 * HOUR)).articles
    edited = rows[2].with_columns(title=pl.lit(text + " today"), version=pl.lit("edited"))
    found = with_copies(
        pl.concat([late, rows[3], rows[0], rows[1], edited, other]), within=WITHIN, likeness=LIKENESS
    )
    by = {(row["address"], row["version"] == "edited"): row["copies"] for row in found.to_dicts()}
    assert by[("https://a.test/1", False)] == 0
    assert by[("https://b.test/1", False)] == 1
    assert by[("https://b.test/1", True)] == 1
    assert by[("https://c.test/1", False)] == 2
    assert by[("https://d.test/1", False)] == 0
    assert by[("https://e.test/1", False)] == 0


words = st.lists(
    st.sampled_from(["bitcoin", "rises", "falls", "again", "today", "ether"]), min_size=1, max_size=5
)


@given(st.lists(st.tuples(words, st.integers(0, 50)), min_size=1, max_size=12), st.integers(0, 50))
def test_copies_never_count_what_is_known_later(texts: list[tuple[list[str], int]], until: int) -> None:
    rows = [
        sifted(
            [item(" ".join(text), address=f"https://n.test/{place}", published=None)],
            **seen(NOW + hours * HOUR),
        ).articles
        for place, (text, hours) in enumerate(texts)
    ]
    every = pl.concat(rows)
    all_known = with_copies(every, within=WITHIN, likeness=LIKENESS)
    then = NOW + until * HOUR
    known = with_copies(every.filter(pl.col("known_at") <= then), within=WITHIN, likeness=LIKENESS)
    assert all_known.filter(pl.col("known_at") <= then).equals(known)


def counted_one_by_one(articles: pl.DataFrame, likeness: float) -> list[int]:
    """Copies of each article, from comparing it with every other one."""
    rows = [
        (row["known_at"], row["address"], set(f"{row['title']} {row['text']}".lower().split()[:60]))
        for row in articles.to_dicts()
    ]
    return [
        len(
            {
                other
                for before, other, said in rows[:place]
                if known - before <= WITHIN and other != address
                if len(own & said) >= likeness * (len(own) * len(said)) ** 0.5
            }
        )
        for place, (known, address, own) in enumerate(rows)
    ]


alike = st.lists(st.sampled_from(string.ascii_lowercase[:7]), min_size=1, max_size=12).map(" ".join)


@given(
    st.lists(st.tuples(alike, st.integers(0, 200), st.integers(0, 9)), max_size=25),
    st.sampled_from([0.5, 0.75, 0.8, LIKENESS, 1.0]),
)
def test_copies_are_those_that_comparing_every_two_articles_finds(
    told: list[tuple[str, int, int]], likeness: float
) -> None:
    articles = pl.DataFrame(
        [
            (NOW + hours * HOUR, f"{place}", f"https://n.test/{page}", "", text)
            for place, (text, hours, page) in enumerate(told)
        ],
        schema={
            "known_at": UTC_MICROSECONDS,
            **dict.fromkeys(("version", "address", "title", "text"), pl.String()),
        },
        orient="row",
    )
    found = with_copies(articles, within=WITHIN, likeness=likeness)
    assert found["copies"].to_list() == counted_one_by_one(found, likeness)


def test_time_to_count_copies_does_not_grow_with_the_square_of_the_news() -> None:
    words = [f"word{number}" for number in range(300)]
    draw = random.Random(1)

    def seconds(count: int) -> float:
        articles = pl.DataFrame(
            [
                (NOW + place * HOUR, f"{place}", f"{place}", "", " ".join(draw.choices(words, k=60)))
                for place in range(count)
            ],
            schema=["known_at", "version", "address", "title", "text"],
            orient="row",
        )
        began = process_time()
        with_copies(articles, within=WITHIN, likeness=LIKENESS)
        return process_time() - began

    assert seconds(6_000) < 8 * seconds(1_500)
