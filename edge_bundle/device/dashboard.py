"""Dashboard: one page for a phone or a screen in the house, read-only, with nothing from anywhere else."""

import base64
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_bundle.device.dashboard_state import dashboard_state
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.page.files import SHARED_FILES

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": PAGE / "index.html",
    "/page.js": PAGE / "page.js",
    **{f"/{name}": path for name, path in SHARED_FILES.items()},
}
HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


def dashboard_app(settings: DeviceSettings, *, clock: Callable[[], datetime]) -> ASGIApp:
    """Application of the page; it changes nothing on the device."""

    async def state(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(dashboard_state, settings, now=clock()))

    def file(path: Path) -> Callable[[Request], Response]:
        return lambda _request: FileResponse(path)

    pages = [Route(address, file(path)) for address, path in FILES.items()]
    return Guarded(Starlette(routes=[*pages, Route("/api/state", state)]), settings.dashboard_password)


class Guarded:
    """Asks for the password where one is set, and sends the headers that keep others out of the page."""

    def __init__(self, app: ASGIApp, password: str) -> None:
        self._app, self._password = app, password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        if self._knows(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, sent)
        else:
            asked = {"WWW-Authenticate": 'Basic realm="CryptoAI", charset="UTF-8"'}
            answer = PlainTextResponse("the password of the settings is needed", 401, asked)
            await answer(scope, receive, sent)

    def _knows(self, authorization: str) -> bool:
        if not self._password:
            return True
        kind, _, told = authorization.partition(" ")
        try:
            password = base64.b64decode(told, validate=True).partition(b":")[2]
        except ValueError:
            return False
        return kind.lower() == "basic" and secrets.compare_digest(password, self._password.encode())
