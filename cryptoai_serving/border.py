"""The outermost middleware: ids, limits and headers for every request, and a line in the log about it."""

import logging
import re
import secrets
from collections.abc import Iterable
from time import perf_counter

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptoai_serving.metrics import ServingMetrics
from cryptoai_serving.rate_limits import Allowance
from cryptoai_serving.refusals import unforeseen

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
# An answer is data: a browser loads nothing for it, shows it in no frame, and guesses no type. Pages say
# otherwise themselves. Source: https://owasp.org/www-project-secure-headers/
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_SECURITY_HEADERS = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
Header = tuple[bytes, bytes]
logger = logging.getLogger(__name__)


class Observed:
    """Gives each request an id, limits its body, counts, times and logs it, answers what nothing else caught.

    A compressed body is refused unread, so that none can swell.
    """

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
        asked, declared = headers.get("x-request-id", ""), headers.get("content-length", "")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        request_id = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(
                    message.get("headers", ()), request_id, state.get("allowance")
                )
            await send(message)

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            if encoding != "identity":
                raise HTTPException(415, f"Body encoded as {encoding[:20]!r}")
            received += len(message.get("body", b""))
            if max(received, int(declared) if declared.isdecimal() else 0) > self._max_body_bytes:
                raise HTTPException(413, f"Body over {self._max_body_bytes} bytes")
            return message

        try:
            await self._app(scope, receive_limited, send_with_headers)
        except Exception:  # the outermost border: whatever it is, it is logged and has an answer
            logger.exception("request failed", extra={"request_id": request_id})
            if status:
                raise
            await unforeseen(Request(scope))(scope, receive, send_with_headers)
        finally:
            self._tell(scope, status, perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        self._metrics.request(route=route, method=scope["method"], status=status, seconds=seconds)
        told = {
            "request_id": scope["state"]["request_id"],
            "route": route,
            "method": scope["method"],
            "status": status,
            "milliseconds": round(1e3 * seconds, 3),
            "key": scope["state"].get("caller"),
        }
        logger.info("request", extra=told)


def _with_headers(headers: Iterable[Header], request_id: str, allowance: Allowance | None) -> list[Header]:
    """Headers of an answer with ours, those of the application first: what it says itself stays."""
    told = list(headers)
    names = {name for name, _ in told}
    told += [header for header in _SECURITY_HEADERS if header[0] not in names]
    told.append((b"x-request-id", request_id.encode()))
    if allowance is not None:
        told += (
            (b"ratelimit-limit", b"%d" % allowance.limit),
            (b"ratelimit-remaining", b"%d" % allowance.remaining),
            (b"ratelimit-reset", b"%d" % allowance.reset_seconds),
        )
    return told
