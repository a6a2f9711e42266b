"""A server on loopback that speaks Ollama's API, with slow, wrong and broken answers among its faults."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from fakes.loopback_app import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

GOOD = {"negative": 0.1, "neutral": 0.2, "positive": 0.7}
# What a model may say in place of the JSON it was asked for.
WRONG_ANSWERS = {
    "prose": "The text is positive.",
    "fenced": '```json\n{"negative": 0, "neutral": 0, "positive": 1}\n```',
    "list": "[0.1, 0.2, 0.7]",
    "missing": '{"negative": 0.1, "neutral": 0.9}',
    "more": json.dumps({**GOOD, "why": "so"}),
    "words": '{"negative": "low", "neutral": "low", "positive": "high"}',
    "truth": '{"negative": false, "neutral": false, "positive": true}',
    "too much": '{"negative": 0.9, "neutral": 0.9, "positive": 0.9}',
    "below": '{"negative": -0.5, "neutral": 0.5, "positive": 1.0}',
    "not a number": '{"negative": NaN, "neutral": 0.5, "positive": 0.5}',
    "empty": "",
    "deep": "[" * 50_000,
}


@dataclass(slots=True)
class OllamaServer:
    """A running server: `says` is the model's answer, `fault` what becomes of it, `asked` the questions."""

    url: str = ""
    says: str = json.dumps(GOOD)
    fault: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def generate(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if self.fault == "absent":
            return JSONResponse({"error": "model not found"}, 404)
        if self.fault == "broken":
            return Response(b'{"response": "{\\"neg', media_type="application/json")
        if self.fault in ("slow", "endless"):
            return StreamingResponse(self._drops(request))
        return JSONResponse({"model": "gemma3", "response": self.says, "done": True})

    async def _drops(self, request: Request) -> AsyncIterator[bytes]:
        """A byte now and then, or bytes without end, until the other side has gone."""
        while not await request.is_disconnected():
            yield b" " * (1 if self.fault == "slow" else 65_536)
            await anyio.sleep(0.01 if self.fault == "slow" else 0)


@contextmanager
def ollama_server() -> Iterator[OllamaServer]:
    """Serve until the block ends."""
    server = OllamaServer()
    with serving(Starlette(routes=[Route("/api/generate", server.generate, methods=["POST"])])) as loopback:
        server.url = loopback.http
        yield server
