"""News feeds, RSS and Atom, of any site that allows it."""

import calendar
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import feedparser

from cryptoai_assets.lib.news.article_texts import ArticleTexts
from cryptoai_assets.lib.news.articles import Found
from cryptoai_assets.lib.news.news_source import NOTHING, Brought, Memory
from cryptoai_assets.lib.news.visits import Mark, Visitor
from cryptoai_assets.lib.sources.candle_source import SourceError

FEEDS: Mapping[str, str] = {
    "CoinDesk": "https://www.coindesk.com/arc/outboundfeeds/rss/",
    "CryptoSlate": "https://cryptoslate.com/feed/",
    "Cointelegraph": "https://cointelegraph.com/rss",
    "Decrypt": "https://decrypt.co/feed",
    "Bitcoin Magazine": "https://bitcoinmagazine.com/feed",
}
# Of the items whose pages were read.
_READ = "read"


@dataclass(frozen=True, slots=True)
class FeedSource:
    """One feed; a `NewsSource`.

    Parameters
    ----------
    texts
        Where the whole text of an item is read; None leaves what the feed says of it.
    """

    name: str
    address: str
    visitor: Visitor
    texts: ArticleTexts | None = None

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked: nothing."""
        return None

    def fetch(self, since: datetime, memory: Memory = NOTHING) -> Brought:
        """Items of the feed when it has changed; a feed holds its newest items, whatever `since` asks for.

        A feed that moved for good is asked at its new address from then on. Broken XML gives the items that
        can be read, with a complaint.
        """
        del since
        address = memory.get("address") or self.address
        page = self.visitor.page(address, Mark(memory.get("etag"), memory.get("last_modified")))
        kept = page.address if page.moved else address
        if page.body is None:
            return Brought((), {**memory, "address": kept})
        parsed = feedparser.parse(
            page.body,
            response_headers={"content-type": page.content_type, "content-location": page.address},
            # We make text of markup ourselves, and read nothing but what is here.
            sanitize_html=False,
        )
        if not parsed.entries and not parsed.get("version"):
            raise SourceError(f"{self.name} answered with what is no feed: is its address right?")
        marks = {"address": kept, "etag": page.mark.etag, "last_modified": page.mark.last_modified}
        language = parsed.feed.get("language")
        found = tuple(self._found(parsed.entries, page.address, language))
        if self.texts is None:
            return Brought(found, marks, _complaint(parsed))
        whole, read = self.texts.of(found, site=page.address, read=(memory.get(_READ) or "").split())
        return Brought(whole, {**marks, _READ: " ".join(read)}, _complaint(parsed))

    def _found(self, entries: list[Any], found_at: str, language: str | None) -> Iterator[Found]:
        for entry in entries:
            content = entry.get("content") or [{}]
            # An empty element may be told as None.
            text = max(entry.get("summary") or "", content[0].get("value") or "", key=len)
            title = entry.get("title") or ""
            yield Found(
                address=entry.get("link") or None,
                identity=entry.get("id") or entry.get("link") or title,
                source=self.name,
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
