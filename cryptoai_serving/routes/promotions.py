"""Asking for another champion: a request is filed, and the platform carries it out if the gate admits it."""

import asyncio
import secrets
from typing import Annotated

from fastapi import APIRouter, Body, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.refusals import request_id
from cryptoai_serving.release_messages import PromotionFiled, PromotionRequest
from cryptoai_serving.release_requests import ReleaseRequest, RequestKind
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import BODY, GUARDED, RELEASE, ModelName

router = APIRouter(
    prefix="/models", route_class=guarded("admin"), responses=GUARDED | BODY | RELEASE, tags=["releases"]
)


@router.post("/{model}/promote", status_code=202)
async def promote(
    request: Request, model: ModelName, body: Annotated[PromotionRequest, Body()]
) -> PromotionFiled:
    """Ask that a version which the gate has admitted becomes champion."""
    return await _filed(request, "promotion", model, body)


@router.post("/{model}/rollback", status_code=202)
async def roll_back(
    request: Request, model: ModelName, body: Annotated[PromotionRequest, Body()]
) -> PromotionFiled:
    """Ask that a version which was champion before becomes champion again."""
    return await _filed(request, "rollback", model, body)


async def _filed(request: Request, kind: RequestKind, model: str, body: PromotionRequest) -> PromotionFiled:
    rooms = rooms_of(request)
    rooms.check_served(model)
    wanted = ReleaseRequest(
        id=secrets.token_hex(8),
        kind=kind,
        model=model,
        version=body.version,
        actor=f"key {request.scope['state']['caller']}",
        reason=body.reason,
        asked_at=rooms.clock(),
    )
    await asyncio.to_thread(rooms.requests.file, wanted)
    return PromotionFiled(
        id=wanted.id, kind=kind, model=model, version=body.version, request_id=request_id(request)
    )
