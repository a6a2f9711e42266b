"""Forecasts: of a symbol in the online store, of several, and from candles in the request."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.errors import ServingError
from cryptoai_serving.insight_messages import BatchAnswer, BatchItem, BatchRequest
from cryptoai_serving.messages import ForecastAnswer, ForecastMessage, ForecastRequest
from cryptoai_serving.refusals import described, request_id
from cryptoai_serving.rooms import Rooms, rooms_of
from cryptoai_serving.routes.documented import BODY, GUARDED, NAMED_USER, SYMBOL, SymbolPath, user_id
from edge_bundle.errors import EdgeBundleError

router = APIRouter(route_class=guarded("read"), responses=GUARDED, tags=["forecasts"])


# The first: it is what is asked most, and routes are tried in their order.
@router.get("/forecast/{symbol}", responses=SYMBOL, openapi_extra=NAMED_USER)
async def forecast_from_store(request: Request, symbol: SymbolPath) -> ForecastAnswer:
    """Forecast of a symbol from the latest bars in the online store."""
    rooms, identity = rooms_of(request), request_id(request)
    stored = await rooms.desk.from_store(symbol, request_id=identity, user_id=user_id(request))
    rooms.metrics.forecasts((stored.forecast,), origin="store")
    return ForecastAnswer(
        forecasts=[stored.message],
        model_version=stored.served.released.version,
        feature_fingerprint=stored.served.forecaster.manifest.feature_fingerprint,
        request_id=identity,
    )


@router.post("/forecast", responses=SYMBOL | BODY, openapi_extra=NAMED_USER)
async def forecast_from_candles(request: Request, body: Annotated[ForecastRequest, Body()]) -> ForecastAnswer:
    """Forecast from the candles in the request. Too few bars are an error, "55 bars given, 56 needed"; what
    only time can mend, such as stale data or a hole, is an abstention with its reason.
    """
    rooms, identity = rooms_of(request), request_id(request)
    answered = await rooms.desk.from_candles(body, request_id=identity, user_id=user_id(request))
    rooms.metrics.forecasts(answered.forecasts, origin="request")
    return ForecastAnswer(
        forecasts=[ForecastMessage.of(forecast) for forecast in answered.forecasts],
        model_version=answered.served.released.version,
        feature_fingerprint=answered.served.forecaster.manifest.feature_fingerprint,
        request_id=identity,
    )


@router.post("/forecast/batch", responses=BODY, openapi_extra=NAMED_USER)
async def forecast_batch(request: Request, body: Annotated[BatchRequest, Body()]) -> BatchAnswer:
    """Forecasts of several symbols from the latest bars in the online store, each or its own error."""
    rooms, identity = rooms_of(request), request_id(request)
    user = user_id(request)
    version = rooms.desk.chosen(user).served.released.version
    items = await asyncio.gather(*(_item(rooms, symbol, identity, user) for symbol in body.symbols))
    return BatchAnswer(answers=list(items), model_version=version, request_id=identity)


async def _item(rooms: Rooms, symbol: str, identity: str, user: str | None) -> BatchItem:
    try:
        stored = await rooms.desk.from_store(symbol, request_id=identity, user_id=user)
    except (ServingError, EdgeBundleError) as error:
        return BatchItem(symbol=symbol, forecast=None, error=described(error, request_id=identity))
    rooms.metrics.forecasts((stored.forecast,), origin="store")
    return BatchItem(symbol=symbol, forecast=stored.message, error=None)
