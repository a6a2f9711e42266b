"""News feeds, RSS and Atom, of any site that allows it."""

from dataclasses import dataclass
from datetime import datetime

from cryptoai_assets.lib.news.article_texts import ArticleTexts
from cryptoai_assets.lib.news.news_source import NOTHING, Brought, Memory
from cryptoai_assets.lib.news.visits import Mark, Visitor
from cryptoai_assets.lib.sources.candle_source import SourceError
from edge_bundle.news.feed_items import FeedRefusedError, feed_items

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
        try:
            items = feed_items(
                page.body, address=page.address, content_type=page.content_type, source=self.name
            )
        except FeedRefusedError as error:
            raise SourceError(f"{error}") from error
        marks = {"address": kept, "etag": page.mark.etag, "last_modified": page.mark.last_modified}
        if self.texts is None:
            return Brought(items.found, marks, items.complaint)
        whole, read = self.texts.of(items.found, site=page.address, read=(memory.get(_READ) or "").split())
        return Brought(whole, {**marks, _READ: " ".join(read)}, items.complaint)
