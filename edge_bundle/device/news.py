"""News: every quarter of an hour what feeds and NewsAPI tell, scored here, and its mood by the hour."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.news_shelf import NewsShelf
from edge_bundle.device.web import Answer, NoAnswerError, Web
from edge_bundle.news.articles import ARTICLE_SCHEMA, Found, new_versions, sifted
from edge_bundle.news.feed_addresses import FEEDS
from edge_bundle.news.feed_items import (
    ACCEPTED,
    USER_AGENT,
    FeedRefusedError,
    asked_since,
    feed_items,
    robot_file,
)
from edge_bundle.news.mood import HOUR, WEIGHING, mood_facts, slots_between
from edge_bundle.news.news_api import (
    PATH,
    QUERY,
    NewsApiRefusedError,
    news_api_items,
    news_api_question,
)
from edge_bundle.news.scored_news import COPIES_WITHIN, SCORE_SCHEMA, with_scores
from edge_bundle.sentiment.method import SentimentMethod
from edge_bundle.sentiment.release import METHODS
from edge_bundle.sentiment.transformer import WEIGHTS

PROGRAM = "news"
NEWS_API_HEADER = "X-Api-Key"
DAY = timedelta(days=1)
OK, NOT_MODIFIED = 200, 304
LEADS_ON, MOST_STEPS = (301, 302, 303, 307, 308), 3
MOST_FEED_BYTES = 2 * 2**20
# A free key has 100 requests a day.
NEWS_API_EVERY = timedelta(minutes=30)
# Hours that were slept through are told anew so far back; no more is read of older news.
CAUGHT_UP = timedelta(days=2)
# What a parser meets in an answer of another shape.
_OTHER_SHAPES = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Told:
    """What one run brought.

    Parameters
    ----------
    added
        Versions of articles that were not there yet.
    hours
        For which a mood was written down.
    failures
        A sentence for each source that did not answer.
    """

    added: int
    hours: int
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class News:
    """Articles from feeds and NewsAPI into the database.

    Parameters
    ----------
    feeds
        Addresses by name.
    news_api
        None without a key.
    method
        That scores them.
    coins
        Coin by symbol.
    reach
        How long articles are kept; older ones are not taken in again.
    clock
        Our time.
    """

    database: DeviceDatabase
    feeds: Mapping[str, str]
    news_api: Web | None
    method: SentimentMethod
    coins: Mapping[str, str]
    reach: timedelta
    clock: Callable[[], datetime]

    @property
    def sources(self) -> int:
        """How many places are asked."""
        return len(self.feeds) + (self.news_api is not None)

    def run(self) -> Told:
        """Ask every source, score what is new, and tell the mood of the hours that have passed."""
        added, failures = 0, []
        for name, address in self.feeds.items():
            try:
                added += self._visited(name, partial(self._feed, name, address))
            except (NoAnswerError, FeedRefusedError) as error:
                failures.append(f"{error}")
        if self.news_api is not None:
            try:
                added += self._visited(self.news_api.name, partial(self._articles, self.news_api))
            except (NoAnswerError, NewsApiRefusedError) as error:
                failures.append(f"{error}")
        return Told(added, self._hours(self.clock()), tuple(failures))

    def _visited(self, source: str, fetch: "Callable[[datetime], _Brought | None]") -> int:
        """Keep what is new of a source: it is known when it has answered, and asked from when it was asked.

        Parameters
        ----------
        fetch
            Told the time; None when the source was not asked or has nothing new.
        """
        asked = self.clock()
        brought = fetch(asked)
        if brought is None:
            return 0
        now, shelf = self.clock(), NewsShelf(self.database)
        young = [
            item for item in brought.found if item.published is None or item.published > now - self.reach
        ]
        articles = sifted(
            young, now=now, history_until=None if self.database.marked(_asked(source)) else asked
        ).articles
        held = shelf.articles(now - self.reach).select(list(ARTICLE_SCHEMA))
        added = shelf.add(new_versions(held, articles, now))
        # The memory comes last: what a killed run did not keep is asked for again.
        self.database.mark(_asked(source), json.dumps(dict(brought.memory)), now=asked)
        return added

    def _feed(self, name: str, address: str, now: datetime) -> "_Brought | None":
        """Items of a feed that has changed since it was last asked."""
        memory = self._memory(name)
        headers = {"Accept": ACCEPTED} | asked_since(memory.get("etag"), memory.get("last_modified"))
        answer = self._led_on(name, address, headers, now)
        if answer.status == NOT_MODIFIED:
            return None
        told = answer.headers
        items = feed_items(
            answer.body, address=answer.address, content_type=told.get("content-type", ""), source=name
        )
        return _Brought(items.found, {"etag": told.get("etag"), "last_modified": told.get("last-modified")})

    def _led_on(self, name: str, address: str, headers: Mapping[str, str], now: datetime) -> Answer:
        """Answer of the last page that an address leads to; each is asked for its site's leave first."""
        at = address
        for _ in range(MOST_STEPS + 1):
            self._ask_for_leave(name, at, now)
            answer = Web(name, at, headers={"User-Agent": USER_AGENT}).answer(
                "", {}, most_bytes=MOST_FEED_BYTES, wanted=(OK, NOT_MODIFIED, *LEADS_ON), headers=headers
            )
            if answer.status not in LEADS_ON:
                return answer
            at = _led_to(name, at, answer.headers.get("location", ""))
        raise NoAnswerError(f"{name} leads on more than {MOST_STEPS} times: leave this feed out")

    def _ask_for_leave(self, name: str, address: str, now: datetime) -> None:
        """Hold to a site's robots.txt, which is read once a day; where there is none all is allowed.

        Source: RFC 9309, Robots Exclusion Protocol, section 2.3.1.
        """
        read = self.database.marked(_leave(address))
        if read is None or abs(now - read[1]) >= DAY:  # a clock that was ahead has read it later than now
            parts = urlsplit(address)
            site = Web(
                f"{name}'s site", f"{parts.scheme}://{parts.netloc}", headers={"User-Agent": USER_AGENT}
            )
            answer = site.answer("/robots.txt", {}, wanted=(OK, *range(400, 500)), follows=True)
            try:
                rules = robot_file(answer.body if answer.status == OK else b"")
            except ValueError as error:
                raise NoAnswerError(
                    f"{name} has a robots.txt that cannot be read: leave this feed out"
                ) from error
            self.database.mark(_leave(address), str(rules.can_fetch(USER_AGENT, address)), now=now)
            read = self.database.marked(_leave(address))
        if read is None or read[0] != str(True):
            raise NoAnswerError(f"{name}'s robots.txt does not allow {address}: leave this feed out")

    def _articles(self, news_api: Web, now: datetime) -> "_Brought | None":
        """Articles of NewsAPI, unless it was asked a moment ago."""
        asked = self.database.marked(_asked(news_api.name))
        since = asked[1] if asked and asked[1] <= now else now - DAY
        if now - since < NEWS_API_EVERY:
            return None
        answer = news_api.json(PATH, news_api_question(QUERY, since=since, now=now))
        try:
            return _Brought(news_api_items(answer), {})
        except _OTHER_SHAPES as error:
            raise NoAnswerError(f"{news_api.name} answered in a shape that is not understood") from error

    def _hours(self, now: datetime) -> int:
        """Score what has no score of the method, and write down the mood of each hour that has passed."""
        shelf = NewsShelf(self.database)
        # What a clock that was ahead told of later hours keeps none from being told now.
        newest = shelf.newest_slot(until=now) or now - HOUR
        slots = slots_between(max(newest, now - CAUGHT_UP), now, every=HOUR)
        held = shelf.articles(now - CAUGHT_UP - COPIES_WITHIN - DAY)
        known = held.filter(held["method_version"] == self.method.version)
        scored = with_scores(held.select(list(ARTICLE_SCHEMA)), self.method, known)
        fresh = scored.join(known, on="version", how="anti")
        shelf.score(fresh.select("version", *SCORE_SCHEMA))
        shelf.add_moods(mood_facts(scored, self.coins, slots, weighing=WEIGHING))
        return len(slots)

    def _memory(self, source: str) -> dict[str, Any]:
        marked = self.database.marked(_asked(source))
        return json.loads(marked[0]) if marked else {}


@dataclass(frozen=True, slots=True)
class _Brought:
    found: tuple[Found, ...]
    memory: Mapping[str, str | None]


def named_feeds(addresses: tuple[str, ...]) -> dict[str, str]:
    """Feeds by name: the one it is known under, else its host and path."""
    known = {address: name for name, address in FEEDS.items()}
    return {known.get(address, address.partition("://")[2] or address): address for address in addresses}


def named_method(name: str) -> SentimentMethod:
    """Load the method of that name, from what this program was installed with."""
    return METHODS[name](WEIGHTS)


def _led_to(name: str, at: str, location: str) -> str:
    try:
        return urljoin(at, location)
    except ValueError as error:
        raise NoAnswerError(f"{name} leads on to {location[:100]!r}, which is no address") from error


def _asked(source: str) -> str:
    return f"news asked: {source}"


def _leave(address: str) -> str:
    return f"robots: {address}"
