"""Experiments for an admin: asked for here, begun and ended by the platform, looked at any time."""

import asyncio
import secrets
from typing import Annotated

from fastapi import APIRouter, Body, Path, Request

from cryptoai_serving.access import guarded
from cryptoai_serving.experiment_messages import (
    EXPERIMENT_NAME,
    ExperimentEndMessage,
    ExperimentFiled,
    ExperimentMessage,
    ExperimentPlanMessage,
    ExperimentRequestMessage,
    ExperimentResultMessage,
    ExperimentsAnswer,
)
from cryptoai_serving.experiment_requests import ExperimentPlan, ExperimentRequest
from cryptoai_serving.experiment_results import told_result
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import rooms_of
from cryptoai_serving.routes.documented import BODY, GUARDED, RELEASE, ModelName

SHOWN_REQUESTS = 20
ExperimentName = Annotated[
    str, Path(pattern=EXPERIMENT_NAME, description="Of the experiment", examples=["calmer-trees"])
]
router = APIRouter(
    prefix="/models/{model}/experiments",
    route_class=guarded("admin"),
    responses=GUARDED | RELEASE,
    tags=["experiments"],
)


@router.get("")
async def experiments(request: Request, model: ModelName) -> ExperimentsAnswer:
    """What runs, how far the newest experiment is or what it showed, and what became of requests."""
    rooms = rooms_of(request)
    rooms.check_served(model)
    told = await asyncio.to_thread(told_result, rooms.settings.told)
    asked = await asyncio.to_thread(rooms.experiment_requests.newest, SHOWN_REQUESTS)
    running = rooms.experiments.running
    return ExperimentsAnswer(
        model=model,
        running=ExperimentMessage.of(running.experiment) if running else None,
        refused=rooms.experiments.refused,
        newest=ExperimentResultMessage.of(told) if told else None,
        requests=[ExperimentRequestMessage.of(one, outcome) for one, outcome in asked],
        request_id=request_id(request),
    )


@router.post("", status_code=202, responses=BODY)
async def begin(
    request: Request, model: ModelName, body: Annotated[ExperimentPlanMessage, Body()]
) -> ExperimentFiled:
    """Ask that a version is held against the champion from now on."""
    return await _filed(request, model, body.name, plan=body.plan(), reason=body.reason)


@router.post("/{name}/end", status_code=202, responses=BODY)
async def end(
    request: Request, model: ModelName, name: ExperimentName, body: Annotated[ExperimentEndMessage, Body()]
) -> ExperimentFiled:
    """Ask that an experiment ends; before its length it is stopped, and there never is a verdict."""
    return await _filed(request, model, name, plan=None, reason=body.reason)


async def _filed(
    request: Request, model: str, name: str, *, plan: ExperimentPlan | None, reason: str
) -> ExperimentFiled:
    rooms = rooms_of(request)
    rooms.check_served(model)
    wanted = ExperimentRequest(
        id=secrets.token_hex(8),
        model=model,
        name=name,
        plan=plan,
        actor=f"key {request.scope['state']['caller']}",
        reason=reason,
        asked_at=rooms.clock(),
    )
    await asyncio.to_thread(rooms.experiment_requests.file, wanted)
    return ExperimentFiled(
        id=wanted.id, kind=wanted.kind, model=model, name=name, request_id=request_id(request)
    )
