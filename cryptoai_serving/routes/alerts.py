"""Alerts: what is open, what a person says of it by key, and the page to which a message's link leads."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from cryptoai_serving.access import guarded
from cryptoai_serving.alert_messages import (
    LONGEST_SNOOZE_HOURS,
    AlertAnswer,
    AlertMessage,
    AlertsAnswer,
    AlertWord,
    SnoozeWord,
)
from cryptoai_serving.alert_page import ALERT_PAGE_POLICY, REFUSED_LINK_PAGE, alert_page
from cryptoai_serving.errors import (
    RequestRefusedError,
    StoreUnavailableError,
    UnknownAlertError,
    without_place,
)
from cryptoai_serving.refusals import request_id
from cryptoai_serving.rooms import Rooms, rooms_of
from cryptoai_serving.routes.documented import ALERT, BODY, GUARDED, AlertId
from edge_bundle.alert_links import AlertLinks
from edge_bundle.alerts import AlertNotFoundError, KeptAlert, Outbox, OutboxRefusedError, State

MOST_ALERTS = 1000
FORM_FIELDS = 8
_HOURS = re.compile(r"[0-9]{1,3}")
PAGE_HEADERS = {"content-security-policy": ALERT_PAGE_POLICY}
router = APIRouter(prefix="/alerts", route_class=guarded("read"), responses=GUARDED, tags=["alerts"])
answers = APIRouter(
    prefix="/alerts", route_class=guarded("admin"), responses=GUARDED | BODY | ALERT, tags=["alerts"]
)
# Whoever holds the link of a message needs no key for its alert.
pages = APIRouter(prefix="/alerts", responses=GUARDED | ALERT, tags=["alerts"])


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says of an alert."""

    state: State
    actor: str
    note: str
    hours: float | None = None


@router.get("")
async def alerts(
    request: Request,
    state: Annotated[State | None, Query(description="Only those in this state")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ALERTS, description="The newest")] = 100,
) -> AlertsAnswer:
    """Alerts with their states, the newest first."""
    rooms = rooms_of(request)
    now = rooms.clock()
    with _readable():
        kept = await asyncio.to_thread(_outbox(rooms).kept)
    found = [one for one in reversed(kept) if state in (None, one.state_at(now))]
    return AlertsAnswer(
        alerts=[AlertMessage.of(one, now) for one in found[:limit]], request_id=request_id(request)
    )


@pages.get(
    "/{alert_id}",
    response_model=AlertAnswer,
    responses={200: {"content": {"text/html": {}}, "description": "The alert; a page for browsers"}},
)
async def alert(request: Request, alert_id: AlertId) -> AlertAnswer | Response:
    """One alert; browsers get a page. Reading changes nothing, so that a preview of a link may read."""
    rooms, token = rooms_of(request), request.query_params.get("token")
    now = rooms.clock()
    if token is None:
        rooms.guard.admit(request, "read")
    else:
        rooms.guard.count_link(request)
        if not await asyncio.to_thread(_links(rooms).opens, token, alert_id, now):
            return _refused_link()
    with _readable():
        kept = await asyncio.to_thread(_outbox(rooms).one, alert_id)
    if token is None and "text/html" not in request.headers.get("accept", ""):
        return AlertAnswer(alert=AlertMessage.of(kept, now), request_id=request_id(request))
    return HTMLResponse(alert_page(kept, token=token, now=now), headers=PAGE_HEADERS)


@pages.post("/{alert_id}/answer", include_in_schema=False)
async def answer_on_page(request: Request, alert_id: AlertId) -> Response:
    """Take what the form of the page says; back to the page."""
    rooms = rooms_of(request)
    rooms.guard.count_link(request)
    form = _form(await request.body())
    token = form.get("token", "")
    if not await asyncio.to_thread(_links(rooms).opens, token, alert_id, rooms.clock()):
        return _refused_link()
    await _changed(rooms, alert_id, _said(form))
    return RedirectResponse(f"/alerts/{alert_id}?token={token}", 303)


@answers.post("/{alert_id}/acknowledge")
async def acknowledge(request: Request, alert_id: AlertId, body: Annotated[AlertWord, Body()]) -> AlertAnswer:
    """Say that somebody sees to it: no more reminders."""
    return await _answered(request, alert_id, Said("acknowledged", _key(request), body.note))


@answers.post("/{alert_id}/snooze")
async def snooze(request: Request, alert_id: AlertId, body: Annotated[SnoozeWord, Body()]) -> AlertAnswer:
    """Say that it may wait: a reminder at the end of that time if it is still open."""
    return await _answered(request, alert_id, Said("snoozed", _key(request), body.note, body.hours))


@answers.post("/{alert_id}/resolve")
async def resolve(request: Request, alert_id: AlertId, body: Annotated[AlertWord, Body()]) -> AlertAnswer:
    """Say that it is done; what fails anew is a new alert."""
    return await _answered(request, alert_id, Said("resolved", _key(request), body.note))


async def _answered(request: Request, alert_id: str, said: Said) -> AlertAnswer:
    rooms = rooms_of(request)
    kept = await _changed(rooms, alert_id, said)
    return AlertAnswer(alert=AlertMessage.of(kept, rooms.clock()), request_id=request_id(request))


async def _changed(rooms: Rooms, alert_id: str, said: Said) -> KeptAlert:
    def write(now: datetime) -> KeptAlert:
        outbox = _outbox(rooms)
        outbox.one(alert_id)  # makes no file where there is none
        return outbox.change(
            alert_id,
            said.state,
            actor=said.actor,
            note=said.note,
            now=now,
            snoozed_until=now + timedelta(hours=said.hours) if said.hours else None,
        )

    with _readable():
        return await asyncio.to_thread(write, rooms.clock())


def _form(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=FORM_FIELDS)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _said(form: dict[str, str]) -> Said:
    name, note = form.get("name", "").strip()[:80], form.get("note", "").strip()[:500]
    actor = f"{name}, by the message's link" if name else "the message's link"
    match form.get("answer", "").split():
        case ["acknowledge"]:
            return Said("acknowledged", actor, note)
        case ["resolve"]:
            return Said("resolved", actor, note)
        case ["snooze", hours] if _HOURS.fullmatch(hours) and 1 <= int(hours) <= LONGEST_SNOOZE_HOURS:
            return Said("snoozed", actor, note, int(hours))
    raise RequestRefusedError(
        "the form says neither acknowledge, nor snooze, nor resolve",
        where="answer",
        cure="use the buttons of the page",
    )


def _refused_link() -> Response:
    return HTMLResponse(REFUSED_LINK_PAGE, 403, headers=PAGE_HEADERS)


@contextmanager
def _readable() -> Iterator[None]:
    """What the outbox refuses, as this service says it."""
    try:
        yield
    except AlertNotFoundError as error:
        raise UnknownAlertError(str(error), where="alert_id", cure="see /alerts") from error
    except (OutboxRefusedError, OSError) as error:
        raise StoreUnavailableError(
            f"the alerts cannot be used: {without_place(error)}", cure="try again in a moment"
        ) from error


def _key(request: Request) -> str:
    return f"key {request.scope['state']['caller']}"


def _outbox(rooms: Rooms) -> Outbox:
    return Outbox(rooms.settings.alerts)


def _links(rooms: Rooms) -> AlertLinks:
    return AlertLinks.beside(rooms.settings.alerts)
