"""Why a symbol's forecast is what it is."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.explanation_messages import ExplanationAnswer
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import GUARDED, SYMBOL, SymbolPath
from edge_bundle.forecast import member_names

router = APIRouter(route_class=guarded("read"), responses=GUARDED, tags=["forecasts"])


@router.get("/explain/{symbol}", responses=SYMBOL)
async def explain(
    request: Request,
    symbol: SymbolPath,
    horizon: Annotated[
        int | None,
        Query(
            ge=1, le=100_000, description="In bars, one of the model's; left out, the nearest", examples=[1]
        ),
    ] = None,
    member: Annotated[
        str,
        Query(
            pattern=r"^[a-z0-9_]{0,40}$",
            description="Member of an ensemble, to be explained by itself; left out, the whole",
            examples=[""],
        ),
    ] = "",
) -> ExplanationAnswer:
    """The features that moved the forecast from the latest bars: Shapley values that add up to it."""
    explained = await rooms_of(request).desk.explanation(symbol, horizon, member)
    return ExplanationAnswer.of(
        explained,
        member=member,
        members=list(member_names(explained.stored.served.forecaster.session.outputs)),
        request_id=request_id(request),
    )
