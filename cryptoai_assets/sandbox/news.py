"""Simulated news: an RSS feed, NewsAPI and Reddit, whose items say that they are simulated.

An item's words are drawn by seed and hour, and tell nothing of the market.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import NamedTuple
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cryptoai_assets.sandbox.simulated import MARK, Market, draw, epoch, marked

HOUR = timedelta(hours=1)
FEED_HOURS, LISTING = 48, 100
_COINS = ("Bitcoin", "Ethereum", "Litecoin", "XRP", "EOS")
_SAYINGS = (
    "surges as buyers return",
    "falls after a large sale",
    "trades flat in a quiet session",
    "gains on talk of a new listing",
    "slides while traders turn cautious",
    "holds its level before a report",
)


class _Item(NamedTuple):
    number: int
    published: datetime
    title: str


def news_app(market: Market, *, seed: int) -> Starlette:
    """``/rss``, ``/v2/everything`` of NewsAPI, and ``/r/{subreddit}/new`` of Reddit with its login."""
    return Starlette(
        routes=[
            Route("/rss", partial(_feed, market=market, seed=seed)),
            Route("/v2/everything", partial(_articles, market=market, seed=seed)),
            Route("/api/v1/access_token", _token, methods=["POST"]),
            Route("/r/{subreddit}/new", partial(_posts, market=market, seed=seed)),
        ]
    )


def items(seed: int, kind: str, now: datetime, hours: int) -> Iterator[_Item]:
    """Items of the last hours, newest first; of some hours there is none."""
    newest = now.replace(minute=0, second=0, microsecond=0)
    for back in range(hours):
        hour = newest - back * HOUR
        number = epoch(hour)
        published = hour + HOUR * draw(seed, kind, number, "minute")
        if draw(seed, kind, number, "there") < 0.7 and published <= now:
            coin = _COINS[int(draw(seed, kind, number, "coin") * len(_COINS))]
            saying = _SAYINGS[int(draw(seed, kind, number, "saying") * len(_SAYINGS))]
            yield _Item(number, published.replace(microsecond=0), f"[simulated] {coin} {saying}")


async def _feed(request: Request, *, market: Market, seed: int) -> Response:
    found = list(items(seed, "rss", market.now(), FEED_HOURS))
    tag = f'"{found[0].number if found else 0}"'
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers={"ETag": tag, **MARK})
    told = "".join(
        f"<item><title>{escape(item.title)}</title><guid>{item.number}</guid>"
        f"<link>https://news.example/{item.number}</link><pubDate>{format_datetime(item.published)}</pubDate></item>"
        for item in found
    )
    channel = f"<channel><title>Simulated news</title>{told}</channel>"
    body = f'<?xml version="1.0"?><rss version="2.0">{channel}</rss>'
    return Response(body, media_type="application/rss+xml", headers={"ETag": tag, **MARK})


async def _articles(request: Request, *, market: Market, seed: int) -> JSONResponse:
    if not request.query_params.get("apiKey"):
        return marked({"status": "error", "code": "apiKeyMissing", "message": "a key is missing"}, 401)
    found = [
        {
            "source": {"id": None, "name": "Simulated NewsAPI"},
            "author": None,
            "title": item.title,
            "description": None,
            "url": f"https://articles.example/{item.number}",
            "publishedAt": f"{item.published:%Y-%m-%dT%H:%M:%SZ}",
        }
        for item in items(seed, "newsapi", market.now(), LISTING)
    ]
    return marked({"status": "ok", "totalResults": len(found), "articles": found})


async def _token(_request: Request) -> JSONResponse:
    return marked({"access_token": "simulated", "token_type": "bearer", "expires_in": 86_400})


async def _posts(request: Request, *, market: Market, seed: int) -> JSONResponse:
    subreddit = request.path_params["subreddit"]
    children = [
        {
            "kind": "t3",
            "data": {
                "name": f"t3_{item.number}",
                "title": item.title,
                "selftext": "",
                "author": "simulated",
                "permalink": f"/r/{subreddit}/comments/{item.number}/",
                "created_utc": epoch(item.published),
            },
        }
        for item in items(seed, f"reddit {subreddit}", market.now(), LISTING)
    ]
    return marked({"kind": "Listing", "data": {"after": None, "children": children}})
