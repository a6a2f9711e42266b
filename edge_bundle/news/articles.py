"""The table of news: one row a version of an article, and what is put aside because it lies about its time.

A version is told by its address, title and text. It is known when we fetched it: what a publisher changes
later is a new row, and the old one stays what was known until then.
"""

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.news.addresses import AddressRefusedError, canonical_address
from edge_bundle.news.hostile_text import plain
from edge_bundle.news.mentions import mentioned

CHANNELS = ("news", "x", "reddit", "telegram")
ARTICLE_SCHEMA: dict[str, pl.DataType] = {
    "address": pl.String(),
    "source": pl.String(),
    "channel": pl.String(),
    "author": pl.String(),
    "title": pl.String(),
    "text": pl.String(),
    "language": pl.String(),
    "published_at": UTC_MICROSECONDS,
    "known_at": UTC_MICROSECONDS,
    "coins": pl.List(pl.String()),
    "version": pl.String(),
}
QUARANTINE_SCHEMA: dict[str, pl.DataType] = {**ARTICLE_SCHEMA, "reason": pl.String()}
MOST_TITLE, MOST_TEXT, MOST_NAME = 400, 20_000, 120
# Clocks differ; a publisher whose items come from later than this does not know the time.
CLOCK_TOLERANCE = timedelta(minutes=5)
# Between publication and the fetch of somebody who was there: feeds are asked every few minutes.
BACKFILL_DELAY = timedelta(hours=1)
# The first block of bitcoin: nothing on coins is older.
EARLIEST = datetime(2009, 1, 3, tzinfo=UTC)


class Found(NamedTuple):
    """An item as its source gave it; nothing in it is trusted.

    Parameters
    ----------
    address
        None where the source gives none: then `identity` tells it apart.
    published
        None where the source gives none, or none that can be read.
    """

    address: str | None
    identity: str
    source: str
    channel: str
    author: str | None
    title: str
    text: str
    language: str | None
    published: datetime | None
    found_at: str | None = None


@dataclass(frozen=True, slots=True)
class Sifted:
    """Items as rows of the table, and those that are put aside, each with its reason."""

    articles: pl.DataFrame
    quarantine: pl.DataFrame


def sifted(found: Iterable[Found], *, now: datetime, history_until: datetime | None) -> Sifted:
    """Make rows of items: plain text, one address an article, the coins it speaks of, and when it was known.

    Known is when it was fetched, whatever date it bears: what a source tells late, nobody can have read.
    Only what a first visit finds of the time before it is history: known `BACKFILL_DELAY` after its
    publication, as to somebody who was there. An item from the future, or older than bitcoin, is put aside.

    Parameters
    ----------
    history_until
        When the first visit began; None at any other, where nothing is history.
    """
    kept, aside = [], []
    for item in found:
        row = _row(item, now, history_until)
        if reason := _reason(item, row, now):
            aside.append((*row.values(), reason))
        else:
            kept.append(tuple(row.values()))
    return Sifted(
        pl.DataFrame(kept, schema=ARTICLE_SCHEMA, orient="row").unique("version", maintain_order=True),
        pl.DataFrame(aside, schema=QUARANTINE_SCHEMA, orient="row").unique("version", maintain_order=True),
    )


def _row(item: Found, now: datetime, history_until: datetime | None) -> dict[str, object]:
    title, text = plain(item.title, most=MOST_TITLE), plain(item.text, most=MOST_TEXT)
    address, published = _address(item), item.published
    known = now
    if history_until is not None and published is not None and published < history_until:
        known = min(now, published + BACKFILL_DELAY)
    said = "\n".join((address, title, text))
    return {
        "address": address,
        "source": plain(item.source, most=MOST_NAME),
        "channel": item.channel,
        "author": plain(item.author, most=MOST_NAME) if item.author else None,
        "title": title,
        "text": text,
        "language": plain(item.language, most=2).lower() if item.language else None,
        "published_at": published,
        "known_at": known,
        "coins": list(mentioned(f"{title} {text[:2000]}")),
        "version": hashlib.sha256(said.encode(errors="replace")).hexdigest()[:32],
    }


def _address(item: Found) -> str:
    if item.address:
        try:
            return canonical_address(item.address, found_at=item.found_at)
        except AddressRefusedError:
            pass
    return f"urn:{plain(item.source, most=MOST_NAME)}:{plain(item.identity, most=MOST_TITLE)}"


def _reason(item: Found, row: dict[str, object], now: datetime) -> str | None:
    if not row["title"] and not row["text"]:
        return "it says nothing"
    if item.published is None:
        return None
    if item.published > now + CLOCK_TOLERANCE:
        return f"it is dated {item.published:%Y-%m-%d %H:%M}, after it was fetched at {now:%Y-%m-%d %H:%M}"
    if item.published < EARLIEST:
        return f"it is dated {item.published:%Y-%m-%d}, before there were coins"
    return None


def new_versions(held: pl.DataFrame, articles: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Those of `articles` that say something else than what is held of their address.

    An address that is held and says something else was edited: what it says is known from `now` on, however
    old the article is. It may say again what it said before. Where one fetch holds several texts of an
    address, nothing tells which is the newer one, and those count that were never held.
    """
    last = (
        held.sort("known_at", maintain_order=True)
        .unique("address", keep="last", maintain_order=True)
        .select("address", last="version")
    )
    ever = held.select("version", held=pl.lit(value=True)).unique("version")
    told = articles.join(last, on="address", how="left", maintain_order="left").join(
        ever, on="version", how="left", maintain_order="left"
    )
    several = pl.len().over("address") > 1
    known = (several & pl.col("held").is_not_null()) | (pl.col("version") == pl.col("last")).fill_null(
        value=False
    )
    known_at = pl.when(pl.col("last").is_not_null()).then(pl.lit(now)).otherwise(pl.col("known_at"))
    return told.filter(~known).with_columns(known_at.alias("known_at")).select(articles.columns)


def as_known(articles: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Each article as it was known at a time: its last version until then."""
    known = articles.filter(pl.col("known_at") <= moment).sort("known_at", maintain_order=True)
    return known.unique("address", keep="last", maintain_order=True)


def with_copies(articles: pl.DataFrame, *, within: timedelta, likeness: float) -> pl.DataFrame:
    """Add ``copies``: how many articles that were known before it, by others, say nearly the same.

    Two texts are alike when the words of one and of the other make the same set, but for a cosine of at least
    `likeness`, from 0 to 1. Only what was known at most `within` before an article counts for it, so that
    what comes later changes nothing. Rows are in the order in which they were known.
    """
    ordered = articles.sort("known_at", "version", maintain_order=True)
    words = [_words(title, text) for title, text in ordered.select("title", "text").iter_rows()]
    telling = _telling(words, likeness)
    times, addresses = ordered["known_at"].to_list(), ordered["address"].to_list()
    index: defaultdict[str, deque[int]] = defaultdict(deque)
    first, copies = 0, []
    for place, own in enumerate(words):
        while times[place] - times[first] > within:
            for word in telling[first]:
                index[word].popleft()
            first += 1
        near = {other for word in telling[place] for other in index[word]}
        alike = {
            addresses[other]
            for other in near
            if len(own & words[other]) >= likeness * (len(own) * len(words[other])) ** 0.5
        }
        copies.append(len(alike - {addresses[place]}))
        for word in telling[place]:
            index[word].append(place)
    return ordered.with_columns(copies=pl.Series(copies, dtype=pl.UInt32))


def _telling(texts: Sequence[frozenset[str]], likeness: float) -> list[list[str]]:
    """Of each text its rarest words, so many that texts that are alike have one of them in common.

    Texts of m and n words that are alike share ``likeness * sqrt(m * n)`` or more, and n at most, which makes
    ``likeness**2 * m`` or more: in one order of all words, the first of those that they share stands among
    the first ``(1 - likeness**2) * m + 1`` of either.

    Source: Chaudhuri, Ganti, Kaushik, A primitive operator for similarity joins in data cleaning, ICDE 2006.
    """
    common = Counter(word for own in texts for word in own)
    in_order = (sorted(own, key=lambda word: (common[word], word)) for own in texts)
    # One word more, for what is lost in rounding.
    return [words[: int((1 - likeness**2) * len(words)) + 2] for words in in_order]


def _words(title: str, text: str) -> frozenset[str]:
    """Words of the start of an article; agencies' copies differ behind it."""
    return frozenset(f"{title} {text}".lower().split()[:60])
