"""The bars that forecasts are made from."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.bar_messages import BarsAnswer
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import GUARDED, SYMBOL, SymbolPath

MOST_BARS = 1_000

router = APIRouter(route_class=guarded("read"), responses=GUARDED, tags=["bars"])


@router.get("/bars/{symbol}", responses=SYMBOL)
async def newest_bars(
    request: Request,
    symbol: SymbolPath,
    bars: Annotated[
        int, Query(ge=1, le=MOST_BARS, description="At most so many, the newest", examples=[96])
    ] = 96,
) -> BarsAnswer:
    """Newest closed bars of the online store, as `POST /forecast` takes them."""
    desk = rooms_of(request).desk
    candles = await desk.newest_bars(symbol, bars)
    return BarsAnswer.of(
        symbol,
        candles,
        interval=desk.served().forecaster.manifest.interval,
        request_id=request_id(request),
    )
