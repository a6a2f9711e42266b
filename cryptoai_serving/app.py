"""The HTTP application: it runs mounted in BentoML and bare under uvicorn.

Bare: ``uvicorn --factory cryptoai_serving.app:application``.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from cryptoai_serving.access import SECURITY_SCHEME
from cryptoai_serving.border import Observed
from cryptoai_serving.champion import ServedModel
from cryptoai_serving.messages import DISCLAIMER
from cryptoai_serving.refusals import answer_errors
from cryptoai_serving.rooms import Rooms
from cryptoai_serving.routes import (
    alerts,
    bars,
    charts,
    experiments,
    explanations,
    forecasts,
    ingestion,
    insights,
    operations,
    pages,
    promotions,
    releases,
    sentiment,
)
from cryptoai_serving.routes.documented import EVERYWHERE
from cryptoai_serving.settings import ServingSettings

DESCRIPTION = f"""Forecasts of returns, directions and volatilities of crypto markets, each with an interval
or an abstention and its reason. {DISCLAIMER}

Every error has one shape: what is wrong, where, and what to do. While no key was made, the machine that the
service runs on may ask without one; all others send `Authorization: Bearer KEY`."""
ASKED_HEADERS = ("authorization", "content-type", "x-request-id")
TOLD_HEADERS = ("x-request-id", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after")


def utc_now() -> datetime:
    """Time of the clock, with its zone."""
    return datetime.now(UTC)


def application() -> FastAPI:
    """Application with the settings of the environment."""
    return create_app(ServingSettings.from_environment())


def create_app(
    settings: ServingSettings,
    *,
    clock: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = monotonic,
) -> FastAPI:
    """Application that opens nothing before its lifespan starts."""
    rooms = Rooms(settings, clock=clock, monotonic=monotonic)
    app = ForecastApplication(rooms)
    # They are tried in this order: what is asked most comes first.
    asked_first = (forecasts, insights, explanations, sentiment, bars, operations, charts)
    for routes in (*asked_first, releases, ingestion, promotions, experiments, alerts):
        app.include_router(routes.router)
    app.include_router(alerts.answers)
    app.include_router(alerts.pages)
    app.include_router(operations.public)
    app.include_router(pages.router)
    answer_errors(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=ASKED_HEADERS,
            expose_headers=TOLD_HEADERS,
        )
    app.add_middleware(Observed, metrics=rooms.metrics, max_body_bytes=settings.max_body_bytes)
    return app


class ForecastApplication(FastAPI):
    """FastAPI application whose documentation names the loaded model's needs."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._documented: ServedModel | None = None
        super().__init__(
            title="CryptoAI forecasts",
            version="1",
            description=DESCRIPTION,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            openapi_url="/api/openapi.json",
            lifespan=lambda _: rooms.opened(),
            responses=EVERYWHERE,
        )
        self.state.rooms, self.state.guard = rooms, rooms.guard

    def openapi(self) -> dict[str, Any]:
        """Document of what is served now: another champion may need another number of bars."""
        served = self.rooms.champion.current
        if self.openapi_schema is not None and served is self._documented:
            return self.openapi_schema
        self.openapi_schema, self._documented = None, served
        document = super().openapi()
        needs = f"No model is loaded: {self.rooms.champion.reason}."
        if served:
            manifest = served.forecaster.manifest
            needs = (
                f"Version {served.released.version} needs bars_needed = {manifest.bars_needed} closed bars "
                f"of {manifest.interval} in a row for each symbol, from {', '.join(manifest.symbols)}."
            )
        document["paths"]["/forecast"]["post"]["description"] += f"\n\n{needs}"
        document["components"]["securitySchemes"] = {SECURITY_SCHEME: {"type": "http", "scheme": "bearer"}}
        for operation in (one for methods in document["paths"].values() for one in methods.values()):
            if "401" in operation["responses"]:
                # The empty one: without keys the machine itself may ask.
                operation["security"] = [{SECURITY_SCHEME: []}, {}]
        return document
