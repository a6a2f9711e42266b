"""Patterns in charts, from candles or from a picture of the rasterizer's."""

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.chart_desk import decoded_picture
from cryptoai_serving.chart_messages import AnalyzeChartAnswer, ChartAnswer, ChartRequest
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import BODY, GUARDED

router = APIRouter(route_class=guarded("read"), responses=GUARDED, tags=["charts"])


@router.post("/analyze-chart", responses=BODY)
async def analyze_chart(request: Request, body: Annotated[ChartRequest, Body()]) -> AnalyzeChartAnswer:
    """Chart patterns in the newest window of the candles, or in a picture, with their key points."""
    desk = rooms_of(request).charts
    served = desk.served()
    if body.picture is not None:
        reading = await asyncio.to_thread(desk.from_picture, decoded_picture(body.picture))
        charts = [ChartAnswer.of_picture(reading, served.detector.digest)]
    else:
        candles = body.forecast_request().window(body.interval).candles
        found = await asyncio.to_thread(partial(desk.from_candles, candles, interval=body.interval))
        charts = [ChartAnswer.of_detection(one) for one in found]
    return AnalyzeChartAnswer(
        charts=charts, model_version=served.released.version, request_id=request_id(request)
    )
