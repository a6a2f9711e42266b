"""NewsAPI, Reddit and X: documented answers become items; without a key they are not asked."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes.loopback_app import serving
from fakes.outside_world import quick_web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cryptoai_assets.lib.news.social import (
    NewsApiSource,
    RedditKey,
    RedditSource,
    XSource,
)
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError
from edge_bundle.news.news_api import KEY_NAME

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SINCE = NOW - timedelta(days=1)
KEY = RedditKey("id", "secret")
# After https://newsapi.org/docs/endpoints/everything.
ARTICLE = {
    "source": {"id": None, "name": "Decrypt"},
    "author": None,
    "title": "Bitcoin rises",
    "description": "Much.",
    "url": "https://decrypt.test/1",
    "publishedAt": "2026-03-01T11:00:00Z",
    "content": "…",
}
# After https://www.reddit.com/dev/api/#GET_new.
POST = {
    "name": "t3_a",
    "title": "To the moon",
    "selftext": "",
    "author": "u",
    "permalink": "/r/Bitcoin/comments/a/x/",
    "created_utc": (NOW - timedelta(hours=1)).timestamp(),
}
# After https://docs.x.com/x-api/posts/search-recent-posts.
TWEET = {"id": "17", "text": "$BTC up", "lang": "en", "created_at": "2026-03-01T11:00:00.000Z"}


class Service:
    """Answers by path, and notes what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[Request] = []

    def answer(self, request: Request) -> JSONResponse:
        self.asked.append(request)
        script = self.answers[request.url.path]
        status, content = script.pop(0) if len(script) > 1 else script[0]
        return JSONResponse(content, status)


@pytest.fixture
def service() -> Iterator[tuple[Service, str]]:
    running = Service()
    routes = [Route("/{path:path}", running.answer, methods=["GET", "POST"])]
    with serving(Starlette(routes=routes)) as loopback:
        yield running, loopback.http


def reddit(url: str, key: RedditKey | None = KEY, subreddits: Sequence[str] = ("Bitcoin",)) -> RedditSource:
    return RedditSource(quick_web("Reddit", url), url, key, subreddits, "CryptoAI test")


def x(url: str, token: str | None) -> XSource:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return XSource(quick_web("X", url, secret_headers=headers), "bitcoin")


def news_api(url: str, key: str | None = "key") -> NewsApiSource:
    return NewsApiSource(quick_web("NewsAPI", url, {KEY_NAME: key} if key else {}), "bitcoin")


def test_articles_of_newsapi_become_items(service: tuple[Service, str]) -> None:
    running, url = service
    running.answers["/v2/everything"] = [(200, {"status": "ok", "totalResults": 1, "articles": [ARTICLE]})]
    [found] = news_api(url).fetch(SINCE).found
    assert (found.source, found.title, found.text, found.author) == (
        "Decrypt",
        "Bitcoin rises",
        "Much.",
        None,
    )
    assert found.published == NOW - timedelta(hours=1)
    assert running.asked[0].query_params["apiKey"] == "key"


def test_posts_of_reddit_are_read_page_by_page_with_a_token(service: tuple[Service, str]) -> None:
    running, url = service
    running.answers["/api/v1/access_token"] = [(200, {"access_token": "t0k3n", "expires_in": 86400})]
    old = {**POST, "name": "t3_b", "created_utc": (SINCE - timedelta(days=1)).timestamp()}
    pages = [{"data": {"after": "t3_a", "children": [{"kind": "t3", "data": POST}]}}]
    pages += [{"data": {"after": "t3_b", "children": [{"kind": "t3", "data": old}]}}]
    running.answers["/r/Bitcoin/new"] = [(200, page) for page in pages]
    found = reddit(url).fetch(SINCE).found
    assert [one.identity for one in found] == ["t3_a", "t3_b"]
    assert found[0].address == "https://reddit.com/r/Bitcoin/comments/a/x/"
    login, *reading = running.asked
    assert login.method == "POST"
    assert login.headers["authorization"].startswith("Basic ")
    assert [one.headers["authorization"] for one in reading] == ["bearer t0k3n"] * 2
    assert [one.query_params.get("after") for one in reading] == [None, "t3_a"]


def test_subreddit_that_is_closed_silences_no_other_and_is_read_from_where_it_was_closed(
    service: tuple[Service, str],
) -> None:
    running, url = service
    running.answers["/api/v1/access_token"] = [(200, {"access_token": "t0k3n", "expires_in": 86400})]
    page = {"data": {"after": None, "children": [{"kind": "t3", "data": POST}]}}
    earlier = {**POST, "name": "t3_z", "created_utc": (SINCE - timedelta(hours=1)).timestamp()}
    older = {"data": {"after": "t3_z", "children": [{"kind": "t3", "data": earlier}]}}
    last = {"data": {"after": None, "children": []}}
    running.answers["/r/Bitcoin/new"] = [(200, page)]
    running.answers["/r/ethereum/new"] = [(403, {"reason": "private"}), (200, older), (200, last)]
    source = reddit(url, subreddits=("Bitcoin", "ethereum"))
    first = source.fetch(SINCE - timedelta(hours=2))
    assert [one.identity for one in first.found] == ["t3_a"]
    assert "/r/ethereum/new" in str(first.complaint)
    assert dict(first.memory) == {"ethereum": (SINCE - timedelta(hours=2)).isoformat()}
    second = source.fetch(SINCE, first.memory)
    assert [one.identity for one in second.found] == ["t3_a", "t3_z"]
    # It was asked for a second page: what it said first is of after the time that was left.
    assert [one.query_params.get("after") for one in running.asked if "ethereum" in one.url.path] == [
        None,
        None,
        "t3_z",
    ]
    assert (second.complaint, dict(second.memory)) == (None, {})
    running.answers["/r/Bitcoin/new"] = running.answers["/r/ethereum/new"] = [(403, {"reason": "private"})]
    with pytest.raises(SourceError, match="403"):
        source.fetch(SINCE)


def test_posts_of_x_are_read_page_by_page(service: tuple[Service, str]) -> None:
    running, url = service
    running.answers["/2/tweets/search/recent"] = [
        (200, {"data": [TWEET], "meta": {"next_token": "n"}}),
        (200, {"meta": {"result_count": 0}}),
    ]
    [found] = x(url, KEY.client_secret).fetch(SINCE).found
    assert (found.address, found.language, found.channel) == ("https://x.com/i/status/17", "en", "x")
    assert [one.query_params.get("next_token") for one in running.asked] == [None, "n"]


SOURCES: dict[str, Callable[[str], Any]] = {
    "newsapi": lambda url: news_api(url, None),
    "reddit": lambda url: reddit(url, None),
    "x": lambda url: x(url, None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_source_without_its_credentials_says_what_is_missing_and_asks_nobody(
    service: tuple[Service, str], name: str
) -> None:
    running, url = service
    source = SOURCES[name](url)
    assert source.missing
    with pytest.raises(NotConfiguredError, match="is not configured: no "):
        source.fetch(SINCE)
    assert running.asked == []


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_told_without_the_key(service: tuple[Service, str], status: int) -> None:
    running, url = service
    running.answers["/v2/everything"] = [(status, {"message": "your key key-17 is bad"})]
    running.answers["/2/tweets/search/recent"] = [(status, {"message": "your token token-17 is bad"})]
    for source in (news_api(url, "key-17"), x(url, "token-17")):
        with pytest.raises(SourceRefusedError, match=f"status {status}") as caught:
            source.fetch(SINCE)
        assert "is bad" in str(caught.value)
        assert "-17" not in str(caught.value)


def test_refused_credentials_of_reddit_are_told(service: tuple[Service, str]) -> None:
    running, url = service
    running.answers["/api/v1/access_token"] = [(401, {"error": 401})]
    with pytest.raises(SourceRefusedError, match="gave no token"):
        reddit(url).fetch(SINCE)


@pytest.mark.parametrize("answer", [[], {}, {"status": "ok", "articles": [{"url": 5}]}, {"status": "ok"}])
def test_answer_of_another_shape_is_an_error_of_ours(service: tuple[Service, str], answer: object) -> None:
    running, url = service
    running.answers["/v2/everything"] = [(200, answer)]
    with pytest.raises(SourceError, match="not understood"):
        news_api(url).fetch(SINCE)
