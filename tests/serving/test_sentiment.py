"""Sentiment over HTTP: what the platform told of the news, and texts scored by the released method."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fakes.forecast_service import service_in
from fakes.sentiment_releases import release_sentiment

from cryptoai_serving.messages import ErrorAnswer
from cryptoai_serving.sentiment_desk import STALE_AFTER
from cryptoai_serving.sentiment_messages import MOST_CHARACTERS, MOST_TEXTS
from edge_bundle.releases import channel_path
from edge_bundle.sentiment.outlook import OUTLOOK_NAME, Outlook, Outlooks, Topic
from edge_bundle.sentiment.release import MODEL
from edge_bundle.sentiment.transformer import TransformerSentiment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = Outlook({"sentiment_24h": 0.3, "sentiment_1h": None}, "BUY", ("much is said",))
MARKET = Outlook({"sentiment_24h": 0.2}, "SELL", ("all is said",))


def told(*, live: bool = True, known_at: datetime = NOW) -> Outlooks:
    return Outlooks(
        known_at=known_at.isoformat(),
        live=live,
        method="transformer",
        method_version="1",
        symbols={"BTCUSD": OWN},
        market=MARKET,
        trending=(Topic("spot etf", 9, 0.5),),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with service_in(folder, now=NOW) as (client, _):
        yield client


@pytest.fixture
def file(folder: Path) -> Iterator[Path]:
    path = folder / "data" / "sample" / OUTLOOK_NAME
    yield path
    path.unlink(missing_ok=True)


def test_symbol_is_answered_with_what_was_told_and_why(client: httpx.Client, file: Path) -> None:
    told().write(file)
    answer = client.get("/sentiment/BTCUSD").json()
    assert answer["sentiment"] == {
        "values": dict(OWN.values),
        "recommendation": "BUY",
        "reasons": ["much is said"],
    }
    assert answer["market"]["recommendation"] == "SELL"
    assert answer["trending"] == [{"words": "spot etf", "articles": 9, "expected": 0.5}]
    assert answer["known_at"] == "2026-03-01T12:00:00Z"
    assert answer["disclaimer"] == "Not investment advice."


def test_answer_follows_the_file(client: httpx.Client, file: Path) -> None:
    told(known_at=NOW - timedelta(hours=1)).write(file)
    assert client.get("/sentiment/BTCUSD").json()["known_at"] == "2026-03-01T11:00:00Z"
    told().write(file)
    assert client.get("/sentiment/BTCUSD").json()["known_at"] == "2026-03-01T12:00:00Z"
    file.unlink()
    assert client.get("/sentiment/BTCUSD").json()["code"] == "no_news"


@pytest.mark.parametrize(
    ("age", "live", "words"),
    [
        (STALE_AFTER, True, ("BUY", "SELL")),
        (STALE_AFTER + timedelta(minutes=6), True, ("HOLD", "HOLD")),
        (timedelta(days=900), False, ("BUY", "SELL")),
    ],
)
def test_what_is_old_in_a_market_that_lives_is_held_with_its_age(
    client: httpx.Client, file: Path, age: timedelta, live: bool, words: tuple[str, str]
) -> None:
    told(known_at=NOW - age, live=live).write(file)
    answer = client.get("/sentiment/BTCUSD").json()
    assert (answer["sentiment"]["recommendation"], answer["market"]["recommendation"]) == words
    assert ("known 3.1 hours ago" in answer["sentiment"]["reasons"][0]) == (words[0] == "HOLD")


def test_nothing_told_an_unknown_symbol_and_a_broken_file_are_told_apart(
    client: httpx.Client, file: Path
) -> None:
    def answered(symbol: str) -> tuple[int, str]:
        response = client.get(f"/sentiment/{symbol}")
        return response.status_code, response.json()["code"]

    assert answered("BTCUSD") == (503, "no_news")
    told().write(file)
    assert answered("ETHUSD") == (404, "unknown_symbol")
    file.write_text("{")
    assert answered("BTCUSD") == (503, "store_unavailable")


TEXTS = ["Bitcoin surges to a record high", "", "Exchange files for bankruptcy"]


def test_texts_are_scored_as_the_shipped_transformer_does_until_another_is_released(
    client: httpx.Client, folder: Path
) -> None:
    expected = TransformerSentiment.load().scores(TEXTS)
    answer = client.post("/sentiment", json={"texts": TEXTS}).json()
    assert [one["score"] for one in answer["sentiments"]] == [one.score for one in expected]
    assert [one["label"] for one in answer["sentiments"]] == [one.label for one in expected]
    assert (answer["method"], answer["released_version"]) == ("transformer", None)
    release_sentiment(folder / "releases", "vader", version=4)
    answer = client.post("/sentiment", json={"texts": TEXTS}).json()
    assert (answer["method"], answer["released_version"]) == ("vader", 4)
    [release] = client.get(f"/releases/{MODEL}").json()["releases"]
    assert {one["name"] for one in release["files"]} == {"golden.json", "manifest.json"}
    channel_path(folder / "releases", MODEL).write_text("{")
    refused = client.post("/sentiment", json={"texts": TEXTS})
    assert (refused.status_code, refused.json()["code"]) == (503, "no_model")
    channel_path(folder / "releases", MODEL).unlink()


@pytest.mark.parametrize(
    "body",
    [
        {"texts": []},
        {"texts": ["a"] * (MOST_TEXTS + 1)},
        {"texts": ["a" * (MOST_CHARACTERS + 1)]},
        {"texts": [1]},
        {"texts": "Bitcoin rises"},
        {"texts": ["a"], "method": "oracle"},
        {},
    ],
    ids=lambda body: str(body)[:30],
)
def test_request_over_a_limit_or_of_another_form_is_refused(
    client: httpx.Client, body: dict[str, object]
) -> None:
    response = client.post("/sentiment", json=body)
    assert response.status_code == 422
    ErrorAnswer.model_validate(response.json())
    assert client.post("/sentiment", json={"texts": ["a" * MOST_CHARACTERS]}).status_code == 200


def test_half_a_letter_is_refused_and_no_failure(client: httpx.Client) -> None:
    sent = client.post(
        "/sentiment", content=b'{"texts": ["\\ud800"]}', headers={"content-type": "application/json"}
    )
    assert sent.status_code == 422
