"""The items of a feed, RSS or Atom, and what a site says to those who read it.

It knows nothing about how a feed is fetched.
"""

import calendar
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.robotparser import RobotFileParser

import feedparser

from edge_bundle.errors import EdgeBundleError
from edge_bundle.news.articles import Found

USER_AGENT = "CryptoAI/0.1 (reads news feeds)"
ACCEPTED = "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"
_MOST_ROBOTS = 500 * 1024


class FeedRefusedError(EdgeBundleError):
    """What was fetched is no feed."""


@dataclass(frozen=True, slots=True)
class FeedItems:
    """Items of a feed, the first one first.

    Parameters
    ----------
    complaint
        What is wrong with the feed though it can be read; None when nothing is.
    """

    found: tuple[Found, ...]
    complaint: str | None


def feed_items(body: bytes, *, address: str, content_type: str, source: str) -> FeedItems:
    """Items of a feed; broken XML gives those that can be read, with a complaint.

    Parameters
    ----------
    address
        Where it was fetched in the end; addresses in it may be relative.

    Raises
    ------
    FeedRefusedError
        When it is none.
    """
    try:
        parsed = feedparser.parse(
            body,
            response_headers={"content-type": content_type, "content-location": address},
            # We make text of markup ourselves, and read nothing but what is here.
            sanitize_html=False,
        )
    except UnicodeError as error:
        raise FeedRefusedError(f"{source} says that it is {content_type!r}, which cannot be read") from error
    if not parsed.entries and not parsed.get("version"):
        raise FeedRefusedError(f"{source} answered with what is no feed: is its address right?")
    language = parsed.feed.get("language")
    return FeedItems(tuple(_found(parsed.entries, source, address, language)), _complaint(parsed))


def asked_since(etag: str | None, last_modified: str | None) -> dict[str, str]:
    """Headers that ask a site for a page if it has changed; a mark that no header can hold is left out."""
    marks = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: mark for name, mark in marks.items() if mark and mark.isascii()}


def robot_file(body: bytes) -> RobotFileParser:
    """Rules of a robots.txt; an empty one allows all.

    Raises
    ------
    ValueError
        When it has a delay in other digits, or an address that is none.
    """
    rules = RobotFileParser()
    rules.parse(body[:_MOST_ROBOTS].decode(errors="replace").splitlines())
    return rules


def _found(entries: list[Any], source: str, found_at: str, language: str | None) -> Iterator[Found]:
    for entry in entries:
        content = entry.get("content") or [{}]
        # An empty element may be told as None.
        text = max(entry.get("summary") or "", content[0].get("value") or "", key=len)
        title = entry.get("title") or ""
        yield Found(
            address=entry.get("link") or None,
            identity=entry.get("id") or entry.get("link") or title,
            source=source,
            channel="news",
            author=entry.get("author"),
            title=title,
            text=text,
            language=entry.get("language") or language,
            published=_moment(_dated(entry)),
            found_at=found_at,
        )


def _dated(entry: Any) -> time.struct_time | None:
    """Time of an entry; feedparser warns where it would answer for the one with the other."""
    times = (entry[name] for name in ("published_parsed", "updated_parsed") if name in entry)
    return next((moment for moment in times if moment), None)


def _moment(parsed: time.struct_time | None) -> datetime | None:
    """Time that feedparser read, which is in UTC; None where it is no time."""
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _complaint(parsed: Any) -> str | None:
    if not parsed.bozo:
        return None
    return f"the feed is broken ({type(parsed.bozo_exception).__name__}): items may be missing"
