"""What a symbol's forecast comes to: prices, signals, patterns, and all of it at once."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.errors import RequestRefusedError
from cryptoai_serving.forecast_desk import StoredForecast
from cryptoai_serving.freshness import freshness
from cryptoai_serving.insight_messages import (
    ExperimentState,
    FreshnessMessage,
    InsightsAnswer,
    ModelState,
    PatternsAnswer,
    PatternsMessage,
    PricePrediction,
    PricePredictionAnswer,
    SignalMessage,
    SignalsAnswer,
    StatusAnswer,
)
from cryptoai_serving.messages import RefusedMessage
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import Rooms, rooms_of
from cryptoai_serving.routes.documented import GUARDED, NAMED_USER, SYMBOL, SymbolPath, user_id
from cryptoai_serving.signals import signals

router = APIRouter(prefix="/api/ml", route_class=guarded("read"), responses=GUARDED, tags=["insights"])


@router.get("/price-prediction/{symbol}", responses=SYMBOL, openapi_extra=NAMED_USER)
async def price_prediction(request: Request, symbol: SymbolPath) -> PricePredictionAnswer:
    """Prices to come, one a horizon, from the latest bars in the online store."""
    stored = await _stored(request, symbol)
    return PricePredictionAnswer(
        prediction=PricePrediction.of(stored),
        model_version=stored.served.released.version,
        request_id=request_id(request),
    )


@router.get("/signals/{symbol}", responses=SYMBOL, openapi_extra=NAMED_USER)
async def trading_signals(request: Request, symbol: SymbolPath) -> SignalsAnswer:
    """Signals, one a horizon. HOLD, with its reason, below the least confidence, while the version's scores
    are taken for a leak, and where the forecast abstains, as on stale data.
    """
    rooms, stored = rooms_of(request), await _stored(request, symbol)
    return SignalsAnswer(
        symbol=symbol,
        known_at=stored.forecast.known_at,
        signals=_signals(rooms, stored),
        least_confidence=rooms.settings.signal_confidence,
        model_version=stored.served.released.version,
        request_id=request_id(request),
    )


@router.get("/patterns/{symbol}", responses=SYMBOL)
async def patterns(request: Request, symbol: SymbolPath) -> PatternsAnswer:
    """Candlestick patterns that ended with one of the latest bars in the online store, and the chart's."""
    rooms = rooms_of(request)
    interval = rooms.desk.served().forecaster.manifest.interval
    return PatternsAnswer(
        **dict(await _patterns(rooms, symbol, interval)),
        symbol=symbol,
        interval=interval,
        request_id=request_id(request),
    )


@router.get("/insights/{symbol}", responses=SYMBOL, openapi_extra=NAMED_USER)
async def insights(
    request: Request,
    symbol: SymbolPath,
    timeframe: Annotated[
        str | None,
        Query(
            pattern=r"^[1-9][0-9]{0,3}[mhd]$",
            description="Length of a bar; left out, that of the model. Another one is refused.",
            examples=["30m"],
        ),
    ] = None,
) -> InsightsAnswer:
    """Everything about a symbol at once; each part says up to which bar it looked."""
    rooms = rooms_of(request)
    interval = rooms.desk.served().forecaster.manifest.interval
    _check_timeframe(timeframe, interval)
    stored, found = await asyncio.gather(_stored(request, symbol), _patterns(rooms, symbol, interval))
    verdicts = _signals(rooms, stored)
    return InsightsAnswer(
        symbol=symbol,
        timeframe=stored.forecast.interval,
        current_price=stored.close,
        known_at=stored.forecast.known_at,
        prediction=PricePrediction.of(stored),
        signals=verdicts,
        patterns=found,
        confidence=max((one.confidence for one in verdicts if one.confidence is not None), default=None),
        model=ModelState.of(stored.served, rooms.champion.leak_alarm),
        request_id=request_id(request),
    )


@router.get("/status")
async def status(request: Request) -> StatusAnswer:
    """State of the service: its model, its bars, its log."""
    rooms = rooms_of(request)
    served = rooms.champion.current
    bars = (
        await asyncio.to_thread(freshness, rooms.bars, served.forecaster.manifest, rooms.clock())
        if served
        else ()
    )
    return StatusAnswer(
        model=ModelState.of(served, rooms.champion.leak_alarm) if served else None,
        reason=rooms.champion.reason,
        refused=RefusedMessage.of(rooms.champion.refused),
        experiment=ExperimentState.of(rooms.experiments),
        bars=[FreshnessMessage.of(one) for one in bars],
        forecasts_waiting=rooms.recorder.waiting,
        forecasts_dropped=rooms.recorder.dropped,
        request_id=request_id(request),
    )


async def _stored(request: Request, symbol: str) -> StoredForecast:
    rooms = rooms_of(request)
    stored = await rooms.desk.from_store(symbol, request_id=request_id(request), user_id=user_id(request))
    rooms.metrics.forecasts((stored.forecast,), origin="store")
    return stored


async def _patterns(rooms: Rooms, symbol: str, interval: str) -> PatternsMessage:
    found = await rooms.desk.patterns(symbol)
    return PatternsMessage.of(found, await rooms.charts.newest(symbol, interval=interval))


def _signals(rooms: Rooms, stored: StoredForecast) -> list[SignalMessage]:
    found = signals(
        stored.forecast,
        least_confidence=rooms.settings.signal_confidence,
        leak_alarm=rooms.champion.leak_alarm,
    )
    return [SignalMessage.of(signal) for signal in found]


def _check_timeframe(asked: str | None, interval: str) -> None:
    if asked not in (None, interval):
        raise RequestRefusedError(
            f"the model reads {interval} bars, {asked} was asked for",
            where="timeframe",
            cure=f"ask for {interval}, or leave it out",
        )
