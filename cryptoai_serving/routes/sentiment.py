"""Sentiment: of a symbol by the news, and of texts in the request."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import BODY, GUARDED, SYMBOL, SymbolPath
from cryptoai_serving.sentiment_messages import (
    SymbolSentimentAnswer,
    TextsAnswer,
    TextSentiment,
    TextsRequest,
)

router = APIRouter(prefix="/sentiment", route_class=guarded("read"), responses=GUARDED, tags=["sentiment"])


@router.get("/{symbol}", responses=SYMBOL)
async def sentiment_of_symbol(request: Request, symbol: SymbolPath) -> SymbolSentimentAnswer:
    """What the news say of a symbol: means, counts, trending topics, and a word with its reasons. HOLD, with
    its reason, where they are few, at odds, or known too long ago.
    """
    own, market, told = await rooms_of(request).sentiment.of_symbol(symbol)
    return SymbolSentimentAnswer.of(symbol, own, told, market=market, request_id=request_id(request))


@router.post("", responses=BODY)
async def sentiment_of_texts(request: Request, body: Annotated[TextsRequest, Body()]) -> TextsAnswer:
    """Sentiment of texts, by the method that the gate has released."""
    found = await rooms_of(request).sentiment.of_texts(body.texts)
    return TextsAnswer(
        sentiments=[TextSentiment.of(one) for one in found.said],
        method=found.method,
        method_version=found.method_version,
        released_version=found.released,
        request_id=request_id(request),
    )
