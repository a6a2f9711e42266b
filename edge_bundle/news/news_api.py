"""What NewsAPI is asked, and the articles of its answer; a key is needed, and how it is sent is another's.

Source: https://newsapi.org/docs/endpoints/everything: a free key has 100 requests a day and the articles of
the last month.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_bundle.errors import EdgeBundleError
from edge_bundle.news.articles import Found

URL, KEY_NAME, PATH = "https://newsapi.org", "apiKey", "/v2/everything"
QUERY = "bitcoin OR ethereum OR crypto"
REQUESTS_PER_SECOND, PAGE, REACH = 1.0, 100, timedelta(days=29)


class NewsApiRefusedError(EdgeBundleError):
    """NewsAPI says that it will not answer."""


def news_api_question(query: str, *, since: datetime, now: datetime) -> dict[str, str | int]:
    """Parameters that ask for the newest hundred articles since a time, as far back as a free key reaches."""
    return {
        "q": query,
        "from": f"{max(since, now - REACH):%Y-%m-%dT%H:%M:%S}",
        "sortBy": "publishedAt",
        "pageSize": PAGE,
    }


def news_api_items(answer: Any) -> tuple[Found, ...]:
    """Articles of an answer; one of another shape raises what a parser meets, such as a KeyError.

    Raises
    ------
    NewsApiRefusedError
        When it says so itself.
    """
    if answer["status"] != "ok":
        raise NewsApiRefusedError(f"refuses ({str(answer.get('message'))[:120]})")
    return tuple(map(_item, answer["articles"]))


def json_text(raw: object) -> str:
    """Text of a JSON value; empty for null.

    Raises
    ------
    ValueError
        When it is neither text nor null.
    """
    if raw is None:
        return ""
    if not isinstance(raw, str):
        raise ValueError(f"{str(raw)[:40]!r} is no text")
    return raw


def iso_moment(raw: object) -> datetime | None:
    """Time of an ISO 8601 text with its zone; None where there is none."""
    if not raw:
        return None
    moment = datetime.fromisoformat(json_text(raw))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _item(article: Mapping[str, Any]) -> Found:
    return Found(
        address=json_text(article["url"]),
        identity=json_text(article["url"]),
        source=json_text((article.get("source") or {}).get("name")) or "NewsAPI",
        channel="news",
        author=json_text(article.get("author")) or None,
        title=json_text(article["title"]),
        text=json_text(article.get("description")),
        language=None,
        published=iso_moment(article.get("publishedAt")),
    )
