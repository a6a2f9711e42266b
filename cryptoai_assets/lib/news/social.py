"""News and talk from services that ask for a key: NewsAPI, Reddit, X; each is not configured without.

Of a person only the public name under an item is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx

from cryptoai_assets.lib.news.news_source import NOTHING, Brought, Memory, each_read
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError, plausible, understood
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.news.articles import Found
from edge_bundle.news.news_api import (
    KEY_NAME,
    PATH,
    NewsApiRefusedError,
    iso_moment,
    json_text,
    news_api_items,
    news_api_question,
)

REDDIT_URL, REDDIT_LOGIN_URL = "https://oauth.reddit.com", "https://www.reddit.com"
# https://support.reddithelp.com/hc/en-us/articles/16160319875092: 100 a minute.
REDDIT_REQUESTS_PER_SECOND, REDDIT_PAGE, REDDIT_MOST_PAGES = 1.5, 100, 10
X_URL = "https://api.x.com"
# https://docs.x.com/x-api/posts/search-recent-posts: the last seven days, up to 100 a page.
X_REQUESTS_PER_SECOND, X_PAGE, X_MOST_PAGES, X_REACH = 0.5, 100, 10, timedelta(days=6, hours=23)


@dataclass(frozen=True, slots=True)
class _OverWeb:
    """What every source has that is asked over the web."""

    web: WebClient

    @property
    def name(self) -> str:
        """Stands as the source of its items."""
        return self.web.name


@dataclass(frozen=True, slots=True)
class NewsApiSource(_OverWeb):
    """Articles of many publishers that match a query; a `NewsSource`."""

    query: str

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        return None if KEY_NAME in self.web.secrets else "no key of NewsAPI is set"

    def fetch(self, since: datetime, memory: Memory = NOTHING) -> Brought:
        """See `NewsSource.fetch`; the newest hundred, which is what a free key gives."""
        _configured(self)
        asked = news_api_question(self.query, since=since, now=self.web.clock())
        with understood(self.name):
            try:
                return Brought(news_api_items(self.web.json(PATH, asked)), memory)
            except NewsApiRefusedError as error:
                raise SourceRefusedError(f"{self.name} {error}") from error


class RedditKey(NamedTuple):
    """Credentials of an application of type *script*."""

    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class RedditSource(_OverWeb):
    """New posts of subreddits, through Reddit's own API; a `NewsSource`.

    Parameters
    ----------
    login_url
        Where a token is asked for.
    user_agent
        Says who we are, as Reddit's rules ask.
    """

    login_url: str
    key: RedditKey | None
    subreddits: Sequence[str]
    user_agent: str

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        return None if self.key else "no client id and secret of Reddit are set"

    def fetch(self, since: datetime, memory: Memory = NOTHING) -> Brought:
        """See `NewsSource.fetch`; Reddit lists the newest thousand of a subreddit, and each is read apart."""
        _configured(self)
        with understood(self.name):
            headers = {"Authorization": f"bearer {self._token()}", "User-Agent": self.user_agent}
        web = replace(self.web, secret_headers=headers)

        def read(place: str, begin: datetime) -> list[Found]:
            with understood(self.name):
                return list(self._posts(web, place, begin))

        return each_read(self.subreddits, since, memory, read)

    def _token(self) -> str:
        """Token of the application itself.

        Source: https://github.com/reddit-archive/reddit/wiki/OAuth2#application-only-oauth
        """
        try:
            answer = httpx.post(
                f"{self.login_url}/api/v1/access_token",
                data={"grant_type": "client_credentials"},
                auth=self.key,
                headers={"User-Agent": self.user_agent},
                timeout=self.web.timeout_seconds,
            )
        except httpx.HTTPError as error:
            raise SourceError(f"{self.name} gave no token ({type(error).__name__})") from error
        if answer.status_code != httpx.codes.OK:
            told = f"{self.name} gave no token (status {answer.status_code})"
            raise SourceRefusedError(f"{told}: check the client id and secret")
        return str(answer.json()["access_token"])

    def _posts(self, web: WebClient, place: str, since: datetime) -> Iterator[Found]:
        after: str | None = None
        for _ in range(REDDIT_MOST_PAGES):
            asked: dict[str, str | int] = {"limit": REDDIT_PAGE, "raw_json": 1}
            page = web.json(f"/r/{place}/new", asked | ({"after": after} if after else {}))["data"]
            posts = [_reddit_item(child["data"], self.name) for child in page["children"]]
            yield from posts
            after = page.get("after")
            if not after or not posts or (posts[-1].published or since) < since:
                return


def _reddit_item(post: Mapping[str, Any], source: str) -> Found:
    permalink = json_text(post["permalink"])
    return Found(
        address=f"https://reddit.com{permalink}",
        identity=json_text(post["name"]),
        source=source,
        channel="reddit",
        author=json_text(post.get("author")) or None,
        title=json_text(post["title"]),
        text=json_text(post.get("selftext")),
        language=None,
        published=plausible(datetime.fromtimestamp(float(post["created_utc"]), UTC)),
    )


@dataclass(frozen=True, slots=True)
class XSource(_OverWeb):
    """Recent posts on X that match a query, through its API v2; a `NewsSource`."""

    query: str

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        return None if self.web.secret_headers else "no bearer token of X is set"

    def fetch(self, since: datetime, memory: Memory = NOTHING) -> Brought:
        """See `NewsSource.fetch`."""
        _configured(self)
        start = max(since, self.web.clock() - X_REACH)
        asked: dict[str, str | int] = {
            "query": self.query,
            "max_results": X_PAGE,
            "start_time": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "tweet.fields": "created_at,lang",
        }
        found: list[Found] = []
        with understood(self.name):
            for _ in range(X_MOST_PAGES):
                answer = self.web.json("/2/tweets/search/recent", asked)
                found += [_x_item(post, self.name) for post in answer.get("data", ())]
                following = answer["meta"].get("next_token")
                if not following:
                    break
                asked = {**asked, "next_token": following}
        return Brought(tuple(found), memory)


def _x_item(post: Mapping[str, Any], source: str) -> Found:
    identity = json_text(post["id"])
    return Found(
        address=f"https://x.com/i/status/{identity}",
        identity=identity,
        source=source,
        channel="x",
        author=None,
        title="",
        text=json_text(post["text"]),
        language=json_text(post.get("lang")) or None,
        published=iso_moment(post.get("created_at")),
    )


def _configured(source: NewsApiSource | RedditSource | XSource) -> None:
    if source.missing:
        raise NotConfiguredError(f"{source.name} is not configured: {source.missing}")
