"""What runs the service needs to know: is it alive, is it ready, what does it count."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from cryptoai_serving.access import guarded
from cryptoai_serving.errors import StoreUnavailableError
from cryptoai_serving.freshness import Freshness, freshness
from cryptoai_serving.messages import (
    LivenessAnswer,
    ModelMessage,
    ModelsAnswer,
    ReadinessAnswer,
    RefusedMessage,
)
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import Rooms, rooms_of
from cryptoai_serving.routes.documented import GUARDED

# These say nothing that needs a key, and whoever watches over the service has none.
public = APIRouter(tags=["operations"])
router = APIRouter(route_class=guarded("read"), responses=GUARDED, tags=["operations"])


@public.get("/livez")
async def livez() -> LivenessAnswer:
    """Tell that the process answers."""
    return LivenessAnswer()


@public.get("/readyz", responses={503: {"model": ReadinessAnswer, "description": "Not ready, and why"}})
async def readyz(request: Request, response: Response) -> ReadinessAnswer:
    """Tell whether a verified bundle is loaded and bars are fresh; the reason when it is not so."""
    rooms = rooms_of(request)
    champion, served = rooms.champion, rooms.champion.current
    bars, reason = await asyncio.to_thread(_bars, rooms)
    reason = champion.reason or reason
    response.status_code = 503 if reason else 200
    return ReadinessAnswer(
        ready=not reason,
        reason=reason,
        version=served.released.version if served else None,
        stale_symbols=[one.symbol for one in bars if not one.fresh],
        refused=RefusedMessage.of(champion.refused),
    )


@router.get("/models")
async def models(request: Request) -> ModelsAnswer:
    """What is loaded, with what it needs, and the newest release when it was refused."""
    champion = rooms_of(request).champion
    served = champion.current
    return ModelsAnswer(
        models=[ModelMessage.of(served)] if served else [],
        refused=RefusedMessage.of(champion.refused),
        request_id=request_id(request),
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Text that Prometheus reads", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Metrics in the text form of Prometheus."""
    return Response(rooms_of(request).metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _bars(rooms: Rooms) -> tuple[tuple[Freshness, ...], str]:
    """Freshness of all bars, and why no forecast can be made from any; one symbol that trades is enough."""
    served = rooms.champion.current
    if served is None:
        return (), ""
    try:
        found = freshness(rooms.bars, served.forecaster.manifest, rooms.clock())
    except StoreUnavailableError as error:
        return (), error.problem
    if any(one.fresh for one in found):
        return found, ""
    return found, "; ".join(one.detail for one in found)
