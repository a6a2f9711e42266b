"""The text of an article from its own page, where the site allows it; otherwise what the feed says of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import trafilatura

from cryptoai_assets.lib.news.visits import Mark, Visitor
from cryptoai_assets.lib.sources.candle_source import SourceError
from edge_bundle.news.articles import Found

# Of a feed at one visit: the newest; the others keep what the feed says.
MOST_PAGES = 20
MOST_PAGE_BYTES = 2 * 2**20
# Items that a feed is remembered to have shown; feeds hold some tens.
MOST_REMEMBERED = 2_000


@dataclass(frozen=True, slots=True)
class ArticleTexts:
    """Reads pages of a feed's own site, once an item; robots.txt and the site's rate hold for them too."""

    visitor: Visitor

    def of(
        self, found: Sequence[Found], *, site: str, read: Sequence[str]
    ) -> tuple[tuple[Found, ...], tuple[str, ...]]:
        """Items that the feed did not show before as it shows them now, with the text of their pages.

        Parameters
        ----------
        site
            Address of the feed: a page of another site is not visited, since a feed may name any.
        read
            Marks of the items that were shown before.

        Returns
        -------
        tuple
            The items, and the marks to be given at the next visit.
        """
        marks = {mark_of(item): item for item in found}
        before = set(read)
        new = {mark: item for mark, item in marks.items() if mark not in before}
        whole = tuple(
            self._whole(item, site) if place < MOST_PAGES else item for place, item in enumerate(new.values())
        )
        shown = [*(mark for mark in read if mark not in marks), *marks]
        return whole, tuple(shown[-MOST_REMEMBERED:])

    def _whole(self, item: Found, site: str) -> Found:
        address = urljoin(item.found_at or site, item.address or "")
        if not item.address or not _of_one_site(address, site):
            return item
        try:
            page = self.visitor.page(address, Mark())
        except SourceError:
            return item
        if page.body is None or not _of_one_site(page.address, site):
            return item
        text = article_text(page.body)
        return item._replace(text=text) if len(text) > len(item.text) else item


def article_text(page: bytes) -> str:
    """Text of the article on a page, without menus, comments and tables; empty where there is none."""
    if len(page) > MOST_PAGE_BYTES:
        return ""
    found = trafilatura.extract(
        page, include_comments=False, include_tables=False, favor_precision=True, deduplicate=False
    )
    return found or ""


def mark_of(item: Found) -> str:
    """Tells whether a feed shows an item as it did before."""
    said = "\n".join((item.identity, item.title, item.text))
    return hashlib.sha256(said.encode(errors="replace")).hexdigest()[:16]


def _of_one_site(address: str, site: str) -> bool:
    page, feed = urlsplit(address), urlsplit(site)
    return page.scheme in ("http", "https") and _host(page.netloc) == _host(feed.netloc) != ""


def _host(place: str) -> str:
    return place.lower().removeprefix("www.")
