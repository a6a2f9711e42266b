"""What goes over the wire about sentiment: of a symbol by the news, and of texts in the request."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from cryptoai_serving.messages import DISCLAIMER
from edge_bundle.sentiment.method import Sentiment
from edge_bundle.sentiment.outlook import Outlook, Outlooks, Recommendation, Topic

MOST_TEXTS = 64
# What a method reads of a text is less; the rest is refused here, so that nobody takes it for read.
MOST_CHARACTERS = 2_000
_EXAMPLE_OUTLOOK: dict[str, Any] = {
    "values": {"sentiment_24h": 0.31, "news_count_24h": 42.0, "sentiment_momentum": 0.05},
    "recommendation": "BUY",
    "reasons": ["the mean sentiment of 42 articles in a day is +0.31"],
}

Text = Annotated[str, Field(max_length=MOST_CHARACTERS, examples=["Bitcoin rises after the report"])]


class OutlookMessage(BaseModel):
    """What the news say."""

    values: dict[str, float | None] = Field(
        description="Means of scores from -1 to 1 over 1, 6 and 24 hours, counts of articles, dispersion, "
        "novelty (share without earlier copies), momentum (six hours less a day); null is a mean of nothing"
    )
    recommendation: Recommendation = Field(
        description="What the news alone speak for; HOLD where they are few, at odds or old"
    )
    reasons: list[str] = Field(description="With the numbers that it rests on")

    @classmethod
    def of(cls, outlook: Outlook) -> Self:
        """Message of an outlook."""
        return cls(
            values=dict(outlook.values), recommendation=outlook.recommendation, reasons=list(outlook.reasons)
        )


class TopicMessage(BaseModel):
    """What is written about more than the week before."""

    words: str
    articles: int = Field(description="That name it within a day")
    expected: float = Field(description="Articles a day by the week before")

    @classmethod
    def of(cls, topic: Topic) -> Self:
        """Message of a topic."""
        return cls(words=topic.words, articles=topic.articles, expected=topic.expected)


class SymbolSentimentAnswer(BaseModel):
    """What the news say of a symbol and of the whole market."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "symbol": "BTCUSD",
                "known_at": "2019-09-30T12:00:00Z",
                "sentiment": _EXAMPLE_OUTLOOK,
                "market": {**_EXAMPLE_OUTLOOK, "recommendation": "HOLD"},
                "trending": [{"words": "spot etf", "articles": 9, "expected": 0.6}],
                "method": "transformer",
                "method_version": "5da5a139142e",
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    symbol: str
    known_at: datetime = Field(description="Nothing that became known later is in it, UTC")
    sentiment: OutlookMessage
    market: OutlookMessage = Field(description="Of all articles, whichever coin they are on")
    trending: list[TopicMessage] = Field(description="Most striking first")
    method: str = Field(description="Who scored the articles")
    method_version: str
    disclaimer: str = DISCLAIMER
    request_id: str

    @classmethod
    def of(cls, symbol: str, own: Outlook, told: Outlooks, *, market: Outlook, request_id: str) -> Self:
        """Message about a symbol."""
        return cls(
            symbol=symbol,
            known_at=told.moment,
            sentiment=OutlookMessage.of(own),
            market=OutlookMessage.of(market),
            trending=[TopicMessage.of(topic) for topic in told.trending],
            method=told.method,
            method_version=told.method_version,
            request_id=request_id,
        )


class TextsRequest(BaseModel):
    """Texts to be scored, such as headlines."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"texts": ["Bitcoin rises after the report", "Exchange halts withdrawals"]}
        },
    )

    texts: list[Text] = Field(
        min_length=1,
        max_length=MOST_TEXTS,
        description="An empty one is neutral; markup is read as it stands",
    )


class TextSentiment(BaseModel):
    """What the method says of one text."""

    negative: float = Field(description="Share, 0 to 1; the three sum to 1")
    neutral: float
    positive: float
    score: float = Field(description="From -1, all negative, to 1, all positive")
    label: str = Field(description="Name of the largest share")

    @classmethod
    def of(cls, said: Sentiment) -> Self:
        """Message of a score."""
        return cls(
            negative=said.negative,
            neutral=said.neutral,
            positive=said.positive,
            score=said.score,
            label=said.label,
        )


class TextsAnswer(BaseModel):
    """Scores in the order of the texts."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sentiments": [
                    {"negative": 0.02, "neutral": 0.08, "positive": 0.9, "score": 0.88, "label": "positive"}
                ],
                "method": "transformer",
                "method_version": "5da5a139142e",
                "released_version": None,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    sentiments: list[TextSentiment]
    method: str
    method_version: str
    released_version: int | None = Field(
        description="Registered version of cryptoai-sentiment; null while the shipped transformer answers"
    )
    disclaimer: str = DISCLAIMER
    request_id: str
