"""The HTTP application: all routes, all status codes; it runs mounted in BentoML and bare under uvicorn.

Bare: ``uvicorn --factory cryptoai_serving.app:application``.
"""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Body, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptoai_serving.bars import BarStore
from cryptoai_serving.champion import ChampionWatch
from cryptoai_serving.errors import (
    NoBarsError,
    NoModelError,
    RequestRefusedError,
    ServingError,
    StoreUnavailableError,
    UnknownSymbolError,
)
from cryptoai_serving.forecast_desk import Answered, ForecastDesk
from cryptoai_serving.forecast_log import ForecastLog, ForecastRecorder
from cryptoai_serving.messages import (
    DISCLAIMER,
    ErrorAnswer,
    ForecastAnswer,
    ForecastMessage,
    ForecastRequest,
    LivenessAnswer,
    ModelMessage,
    ModelsAnswer,
    ReadinessAnswer,
    RefusedMessage,
)
from cryptoai_serving.metrics import ServingMetrics
from cryptoai_serving.page import PAGE
from cryptoai_serving.settings import ServingSettings
from edge_bundle.errors import EdgeBundleError, FactsRefusedError

logger = logging.getLogger(__name__)

DESCRIPTION = f"""Forecasts of returns, directions and volatilities of crypto markets, each with an interval
or an abstention and its reason. {DISCLAIMER}"""
STATUS: dict[type[Exception], int] = {
    UnknownSymbolError: 404,
    RequestRefusedError: 422,
    EdgeBundleError: 422,
    NoModelError: 503,
    NoBarsError: 503,
    StoreUnavailableError: 503,
}
CURES = {
    400: "send well-formed JSON",
    404: "see /api/docs for the addresses",
    405: "see /api/docs for the methods",
    413: "send fewer bars: those that the model needs are enough",
}
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_UNION_TAGS = {"columns", "rows", "int", "str", "constrained-int", "constrained-str"}
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Time of the clock, with its zone."""
    return datetime.now(UTC)


def application() -> FastAPI:
    """Application with the settings of the environment."""
    return create_app(ServingSettings.from_environment())


def create_app(settings: ServingSettings, *, clock: Clock = utc_now) -> FastAPI:
    """Application that opens nothing before its lifespan starts."""
    rooms = Rooms(settings, clock)
    app = ForecastApplication(rooms)
    app.include_router(routes)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ServingError, _serving_error)
    app.add_exception_handler(EdgeBundleError, _edge_bundle_error)
    app.add_middleware(Observed, metrics=rooms.metrics, max_body_bytes=settings.max_body_bytes)
    return app


class Rooms:
    """What the routes work with; `open` and `close` bracket the life of the application."""

    def __init__(self, settings: ServingSettings, clock: Clock) -> None:
        self.settings = settings
        self.champion = ChampionWatch(root=settings.releases, model=settings.model, clock=clock)
        self.bars = BarStore(settings.bars)
        self.recorder = ForecastRecorder(ForecastLog(settings.forecast_log))
        self.desk = ForecastDesk(champion=self.champion, bars=self.bars, recorder=self.recorder, clock=clock)
        self.metrics = ServingMetrics(self.champion, self.recorder)
        # Forecasts are computed beside the event loop, no more of them at once than there are cores.
        self.cores = anyio.CapacityLimiter(os.cpu_count() or 1)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Load the champion, follow its releases, and write what waits at the end."""
        self.recorder.start()
        await asyncio.to_thread(self.champion.refresh)
        watch = asyncio.create_task(self._follow_releases())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await asyncio.to_thread(self.recorder.close)
            self.bars.close()

    async def _follow_releases(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            before = self.champion.current, self.champion.refused
            await asyncio.to_thread(self.champion.refresh)
            self._tell_of_changes(*before)

    def _tell_of_changes(self, current: object, refused: object) -> None:
        if (served := self.champion.current) is not current:
            logger.info("now serving version %s", served.released.version if served else None)
        if (stays_out := self.champion.refused) is not refused and stays_out is not None:
            logger.error("release of version %s stays out: %s", stays_out.version, stays_out.reason)


class ForecastApplication(FastAPI):
    """FastAPI application whose documentation names the loaded model's needs."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        super().__init__(
            title="CryptoAI forecasts",
            version="1",
            description=DESCRIPTION,
            docs_url="/api/docs",
            redoc_url=None,
            openapi_url="/api/openapi.json",
            lifespan=lambda _: rooms.opened(),
            responses={422: {"model": ErrorAnswer, "description": "The request does not fit"}},
        )

    def openapi(self) -> dict[str, Any]:
        """Build the document anew: another champion may need another number of bars."""
        self.openapi_schema = None
        document = super().openapi()
        served = self.rooms.champion.current
        needs = f"No model is loaded: {self.rooms.champion.reason}."
        if served:
            manifest = served.forecaster.manifest
            needs = (
                f"Version {served.released.version} needs bars_needed = {manifest.bars_needed} closed bars "
                f"of {manifest.interval} in a row for each symbol, from {', '.join(manifest.symbols)}."
            )
        document["paths"]["/forecast"]["post"]["description"] += f"\n\n{needs}"
        return document


routes = APIRouter()
UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "A symbol that the model does not know"},
    503: {"model": ErrorAnswer, "description": "No verified model, or no bars, for now"},
}
TOO_LARGE: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "A body that cannot be read"},
    413: {"model": ErrorAnswer, "description": "A body over the limit"},
}


@routes.get("/", response_class=HTMLResponse, include_in_schema=False)
async def front_page() -> str:
    """Page that shows what is loaded and its latest forecasts."""
    return PAGE


@routes.post("/forecast", responses=UNAVAILABLE | TOO_LARGE)
async def forecast_from_candles(request: Request, body: Annotated[ForecastRequest, Body()]) -> ForecastAnswer:
    """Forecast from the candles in the request. Too few bars are an error, "55 bars given, 56 needed"; what
    only time can mend, such as stale data or a hole, is an abstention with its reason.
    """  # noqa: D205 — one paragraph of the documentation that clients read
    rooms = _rooms(request)
    ask = partial(rooms.desk.from_candles, body, request_id=_request_id(request))
    answered = await anyio.to_thread.run_sync(ask, limiter=rooms.cores)
    return _answer(rooms, answered, origin="request", request_id=_request_id(request))


@routes.get("/forecast/{symbol}", responses=UNAVAILABLE)
async def forecast_from_store(
    request: Request, symbol: Annotated[str, Path(max_length=20, description="One of those in /models")]
) -> ForecastAnswer:
    """Forecast of a symbol from the latest bars in the online store."""
    rooms = _rooms(request)
    ask = partial(rooms.desk.from_store, symbol, request_id=_request_id(request))
    answered = await anyio.to_thread.run_sync(ask, limiter=rooms.cores)
    return _answer(rooms, answered, origin="store", request_id=_request_id(request))


@routes.get("/models")
async def models(request: Request) -> ModelsAnswer:
    """What is loaded, with what it needs, and the newest release when it was refused."""
    champion = _rooms(request).champion
    served = champion.current
    return ModelsAnswer(
        models=[ModelMessage.of(served)] if served else [],
        refused=RefusedMessage.of(champion.refused),
        request_id=_request_id(request),
    )


@routes.get("/livez")
async def livez() -> LivenessAnswer:
    """Tell that the process answers."""
    return LivenessAnswer()


@routes.get("/readyz", responses={503: {"model": ReadinessAnswer, "description": "Not ready, and why"}})
async def readyz(request: Request, response: Response) -> ReadinessAnswer:
    """Tell whether a verified bundle is loaded; the reason when none is."""
    champion = _rooms(request).champion
    served = champion.current
    response.status_code = 200 if served else 503
    return ReadinessAnswer(
        ready=served is not None,
        reason=champion.reason,
        version=served.released.version if served else None,
        refused=RefusedMessage.of(champion.refused),
    )


@routes.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics in the text form of Prometheus."""
    return Response(_rooms(request).metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _rooms(request: Request) -> Rooms:
    app = request.app
    assert isinstance(app, ForecastApplication)  # noqa: S101 — narrows Starlette's untyped attribute
    return app.rooms


def _request_id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


def _answer(rooms: Rooms, answered: Answered, *, origin: str, request_id: str) -> ForecastAnswer:
    rooms.metrics.forecasts(answered.forecasts, origin=origin)
    return ForecastAnswer(
        forecasts=[ForecastMessage.model_validate(forecast.to_dict()) for forecast in answered.forecasts],
        model_version=answered.served.released.version,
        feature_fingerprint=answered.served.forecaster.manifest.feature_fingerprint,
        request_id=request_id,
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 — as it was registered
    first, *others = error.errors()
    place = [_short(part) for part in first["loc"] if part not in _UNION_TAGS]
    problem = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        problem = f"the body is not JSON: {first['ctx']['error']}"
    elif isinstance(first["input"], bytes):
        problem = "the body is not sent as JSON: the header content-type: application/json is needed"
    elif not isinstance(first["input"], dict | list):
        problem = f"{_short(ascii(first['input']))}: {problem}"
    if others:
        problem += f" (and {len(others)} more)"
    return _error(
        request,
        422,
        code="invalid_request",
        problem=problem,
        where=".".join(place[1:]) or place[0],
        cure="see /api/docs for the shape of the request",
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — as it was registered
    return _error(
        request,
        error.status_code,
        code=re.sub(r"\W+", "_", HTTPStatus(error.status_code).phrase).lower(),
        problem=str(error.detail),
        where=None,
        cure=CURES.get(error.status_code, "see /api/docs"),
    )


async def _serving_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)  # noqa: S101 — as it was registered
    return _error(
        request,
        _status(error),
        code=error.code,
        problem=error.problem,
        where=error.where,
        cure=error.cure,
    )


async def _edge_bundle_error(request: Request, error: Exception) -> Response:
    return _error(
        request,
        _status(error),
        code=re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower(),
        problem=str(error),
        where="no_trade" if isinstance(error, FactsRefusedError) else "candles",
        cure="mend the bars that are named and send them again; /models tells what the model reads",
    )


def _status(error: Exception) -> int:
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def _error(
    request: Request, status: int, *, code: str, problem: str, where: str | None, cure: str
) -> JSONResponse:
    answer = ErrorAnswer(code=code, problem=problem, where=where, cure=cure, request_id=_request_id(request))
    return JSONResponse(answer.model_dump(), status)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


class Observed:
    """Gives each request an id, limits its body, counts and times it, answers what nothing else caught."""

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, max_body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, received = perf_counter(), 0, 0
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        declared = headers.get("content-length", "")
        request_id = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if max(received, int(declared) if declared.isdecimal() else 0) > self._max_body_bytes:
                raise HTTPException(413, f"Body over {self._max_body_bytes} bytes")
            return message

        try:
            await self._app(scope, receive_limited, send_with_id)
        except Exception:
            logger.exception("request %s failed", request_id)
            if status:
                raise
            failure = _error(
                Request(scope),
                500,
                code="internal",
                problem="the service failed on this request",
                where=None,
                cure=f"report it with the request id {request_id}",
            )
            await failure(scope, receive, send_with_id)
        finally:
            self._metrics.request(
                route=getattr(scope.get("route"), "path", None),
                method=scope["method"],
                status=status,
                seconds=perf_counter() - started,
            )
