"""Faults of networks and venues, put in front of any application of the sandbox, decided by seed.

A fault of an answer is decided by the number of the request, a fault of a bar by the bar itself: which bars
are touched does not depend on who asks first. A bar heals after a number of looks, so what is stored in the
end can be compared with an undisturbed run.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptoai_assets.sandbox.binance import SIMULATED
from cryptoai_assets.sandbox.binance_socket import decimal_text
from cryptoai_assets.sandbox.path import keys_at, series_key, uniform, uniform_at

STEERING = "/sandbox/faults"
_LATE_ROWS = 3


class Fault(StrEnum):
    """What can go wrong."""

    LATENCY = "latency"
    TOO_MANY_REQUESTS = "too_many_requests"
    TOO_MANY_REQUESTS_UNTOLD = "too_many_requests_untold"  # without Retry-After
    SERVER_ERROR = "server_error"
    DROPPED = "dropped"  # an answer breaks off, a socket is closed
    HALF_OPEN = "half_open"  # nothing comes any more, and nobody says so
    TRUNCATED_JSON = "truncated_json"
    INVALID_JSON = "invalid_json"
    DUPLICATED_BAR = "duplicated_bar"
    MISSING_BAR = "missing_bar"
    LATE_BAR = "late_bar"  # the answer ends before it; over a socket it comes after the next message
    OUT_OF_ORDER_BAR = "out_of_order_bar"
    REVISED_BAR = "revised_bar"  # other values first, the true ones later
    BOOK_GAP = "book_gap"


ANSWER_FAULTS = (
    Fault.TOO_MANY_REQUESTS,
    Fault.TOO_MANY_REQUESTS_UNTOLD,
    Fault.SERVER_ERROR,
    Fault.DROPPED,
    Fault.HALF_OPEN,
    Fault.TRUNCATED_JSON,
    Fault.INVALID_JSON,
)
BAR_FAULTS = (
    Fault.REVISED_BAR,
    Fault.DUPLICATED_BAR,
    Fault.OUT_OF_ORDER_BAR,
    Fault.MISSING_BAR,
    Fault.LATE_BAR,
)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How often what goes wrong.

    Parameters
    ----------
    shares
        Of the requests, of the bars or, for a gap in the book, of the differences.
    latency_seconds
        Longest delay of a request that is delayed.
    retry_after_seconds
        Told with the refusals that tell it.
    skew_ms
        By how much the server's clock is wrong.
    looks
        Answers in which a touched bar is wrong; it is right from then on.
    only
        Part of the paths that are touched, such as ``/klines``; empty is all. Sockets lie at ``/ws`` and
        ``/stream``.
    """

    seed: int
    shares: Mapping[Fault, float] = field(default_factory=dict)
    latency_seconds: float = 1.0
    retry_after_seconds: int = 1
    skew_ms: int = 0
    looks: int = 1
    only: str = ""

    def of(self, path: str) -> "FaultPlan":
        """The plan for a path: without a fault where that is not touched."""
        return self if self.only in path else replace(self, shares={}, skew_ms=0)

    def share(self, fault: Fault) -> float:
        """Share of a fault; 0 when the plan does not name it."""
        return self.shares.get(fault, 0.0)

    def draw(self, fault: Fault, number: int) -> float:
        """Number in (0, 1) that decides about a request or a message."""
        return float(uniform_at(np.array([series_key(self.seed, fault)]), np.array([number]))[0])

    def strikes(self, fault: Fault, number: int) -> bool:
        """Whether a request or a message is touched."""
        return self.share(fault) > 0 and self.draw(fault, number) < self.share(fault)

    def told(self) -> dict[str, Any]:
        """The plan as text for the one who steers."""
        settings = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**settings, "shares": {fault: self.share(fault) for fault in Fault}}

    def steered(self, wishes: Mapping[str, str]) -> "FaultPlan":
        """Plan with other shares and settings; ValueError when a name or a number is not understood."""
        settings = {one.name for one in fields(self)} - {"shares"}
        shares = {Fault(name): float(value) for name, value in wishes.items() if name not in settings}
        if strange := [f"{fault} {share}" for fault, share in shares.items() if not 0 <= share <= 1]:
            raise ValueError(f"shares lie in [0, 1], not {', '.join(strange)}")
        changed: dict[str, Any] = {
            name: {"latency_seconds": float, "only": str}.get(name, int)(value)
            for name, value in wishes.items()
            if name in settings
        }
        return replace(self, **changed, shares={**self.shares, **shares})


class Faults:
    """Middleware that spoils the answers of an application as its plan says.

    ``GET …/sandbox/faults`` tells the plan; with parameters, such as ``?seed=7&server_error=0.1``, it
    changes it and starts to count anew.
    """

    def __init__(
        self,
        app: ASGIApp,
        plan: FaultPlan,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app, self._sleep = app, sleep
        self._start(plan)

    def _start(self, plan: FaultPlan) -> None:
        self._plan, self._numbers = plan, count()
        self._looks: Counter[tuple[Fault, str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, or not."""
        if scope["type"] == "websocket":
            path, number = scope["path"], next(self._numbers)
            await self._app(scope, receive, _SpoiledSocket(lambda: self._plan.of(path), number, send))
        elif scope["type"] == "http" and scope["path"].endswith(STEERING):
            await self._steer(Request(scope))(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _steer(self, request: Request) -> Response:
        try:
            wishes = dict(request.query_params)
            if wishes:
                self._start(self._plan.steered(wishes))
        except ValueError as error:
            return JSONResponse({"error": str(error), "faults": list(Fault)}, 400)
        return JSONResponse(self._plan.told())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan, number = self._plan.of(scope["path"]), next(self._numbers)
        if plan.strikes(Fault.LATENCY, number):
            await self._sleep(
                plan.latency_seconds * plan.draw(Fault.LATENCY, number) / plan.share(Fault.LATENCY)
            )
        fault = next((fault for fault in ANSWER_FAULTS if plan.strikes(fault, number)), None)
        match fault:
            case Fault.TOO_MANY_REQUESTS | Fault.TOO_MANY_REQUESTS_UNTOLD:
                await self._too_many(told=fault == Fault.TOO_MANY_REQUESTS)(scope, receive, send)
            case Fault.SERVER_ERROR:
                status = (500, 502, 503, 504)[number % 4]
                await Response("<html>server error</html>", status, media_type="text/html")(
                    scope, receive, send
                )
            case Fault.HALF_OPEN:
                while (await receive())["type"] != "http.disconnect":
                    pass
            case _:
                await self._spoiled(fault, scope, receive, send)

    def _too_many(self, *, told: bool) -> Response:
        wait = {"Retry-After": str(self._plan.retry_after_seconds)} if told else {}
        return JSONResponse({"code": -1003, "msg": "Too many requests."}, 429, {**SIMULATED, **wait})

    async def _spoiled(self, fault: Fault | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the application's answer with other content, or only a part of it."""
        start: Message = {}
        body = b""

        async def keep(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            else:
                body += message.get("body", b"")

        await self._app(scope, receive, keep)
        body = self._touched(scope, body)
        if fault == Fault.TRUNCATED_JSON:
            body = body[: len(body) * 2 // 3]
        if fault == Fault.INVALID_JSON:
            body = body.replace(b"[", b"[,", 1).replace(b"{", b"{,", 1) or b"{,"
        headers = [header for header in start["headers"] if header[0].lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        if fault == Fault.DROPPED:
            # The server closes a connection whose announced length never comes.
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        else:
            await send({"type": "http.response.body", "body": body})

    def _touched(self, scope: Scope, body: bytes) -> bytes:
        path = scope["path"]
        plan = self._plan.of(path)
        if path.endswith("/klines") and any(plan.share(fault) for fault in BAR_FAULTS):
            asked = dict(parse_qsl(scope["query_string"].decode()))
            rows = json.loads(body)
            if isinstance(rows, list) and rows:
                series = f"{asked.get('symbol')}/{asked.get('interval')}"
                return json.dumps(self._touched_bars(rows, series), separators=(",", ":")).encode()
        if path.endswith("/time") and plan.skew_ms:
            told = json.loads(body)
            return json.dumps({**told, "serverTime": told["serverTime"] + plan.skew_ms}).encode()
        return body

    def _touched_bars(self, rows: list[Any], series: str) -> list[Any]:
        struck = {fault: self._struck(fault, rows, series) for fault in BAR_FAULTS if self._plan.share(fault)}

        def hit(fault: Fault, row: Any) -> bool:
            return row[0] in struck.get(fault, ())

        late = [row for row in rows[-_LATE_ROWS:] if hit(Fault.LATE_BAR, row)]
        told = rows[: rows.index(late[0])] if late else rows
        told = [row for row in told if not hit(Fault.MISSING_BAR, row)]
        told = [_revised(row) if hit(Fault.REVISED_BAR, row) else row for row in told]
        told = [again for row in told for again in [row] * (1 + hit(Fault.DUPLICATED_BAR, row))]
        for place in range(1, len(told)):
            if hit(Fault.OUT_OF_ORDER_BAR, told[place]):
                told[place - 1], told[place] = told[place], told[place - 1]
        return told

    def _struck(self, fault: Fault, rows: list[Any], series: str) -> set[int]:
        """Open times of the bars that are wrong in this answer, which counts as a look at them."""
        looked_at = rows[-_LATE_ROWS:] if fault == Fault.LATE_BAR else rows
        opened = np.array([row[0] for row in looked_at], dtype=np.int64)
        draws = uniform(keys_at(series_key(self._plan.seed, fault, series), opened // 1000), 0, 1)[:, 0]
        chosen = opened[draws < self._plan.share(fault)].tolist()
        struck = {time for time in chosen if self._looks[fault, series, time] < self._plan.looks}
        self._looks.update((fault, series, time) for time in struck)
        return struck


class _SpoiledSocket:
    """The sending side of one connection: messages are lost, doubled, late, or stop altogether.

    A plan that is steered while the connection lives is followed from the next message on.
    """

    def __init__(self, plan: Callable[[], FaultPlan], number: int, send: Send) -> None:
        self._now_planned, self._number, self._send = plan, number, send
        self._late, self._ended = list[Message](), False
        self._follow(plan())

    def _follow(self, plan: FaultPlan) -> None:
        self._plan, self._told, number = plan, count(), self._number
        # After how many messages a connection that is to fail does so.
        self._end = {
            fault: 1 + int(20 * plan.draw(fault, number) / plan.share(fault))
            for fault in (Fault.DROPPED, Fault.HALF_OPEN)
            if plan.strikes(fault, number)
        }

    async def __call__(self, message: Message) -> None:
        """Send a message, or what the plan makes of it."""
        if message["type"] != "websocket.send":
            if not self._ended:
                await self._send(message)
            return
        if (plan := self._now_planned()) != self._plan:
            self._follow(plan)
        told = next(self._told)
        if told >= self._end.get(Fault.DROPPED, told + 1) and not self._ended:
            self._ended = True
            await self._send({"type": "websocket.close", "code": 1012})
        if self._ended or told >= self._end.get(Fault.HALF_OPEN, told + 1):
            return
        for kept in self._kept(message, self._number * 1_000_003 + told):
            await self._send(kept)

    def _kept(self, message: Message, number: int) -> list[Message]:
        late, self._late = self._late, []
        text, plan = message.get("text") or "", self._plan
        if '"depthUpdate"' in text and plan.strikes(Fault.BOOK_GAP, number):
            return late
        if '"x":true' in text:
            if plan.strikes(Fault.MISSING_BAR, number):
                return late
            if plan.strikes(Fault.LATE_BAR, number) or plan.strikes(Fault.OUT_OF_ORDER_BAR, number):
                self._late = [message]
                return late
            if plan.strikes(Fault.DUPLICATED_BAR, number):
                return [message, message, *late]
        return [message, *late]


def _revised(row: list[Any]) -> list[Any]:
    """Bar as it was before its last trades: still a possible one."""
    opened, volume = row[1], float(row[5])
    return [*row[:4], opened, decimal_text(volume / 2), *row[6:]]
