"""The paced load against a real server: all is sent and judged, and a stall is counted for all who waited."""

import asyncio

import pytest
from benchmarks.paced_load import Paced, http_request, paced
from fakes.bento_process import free_port
from fakes.loopback_app import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def served(stall_seconds: float = 0.0) -> tuple[Starlette, list[str]]:
    """Application that stalls once, closes a connection now and then, and refuses other keys."""
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        asked.append((await request.body()).decode())
        if len(asked) == 10:
            # What else it serves waits as well, as behind a full garbage collection.
            asyncio.get_running_loop().call_soon(lambda: stall(stall_seconds))
        right = request.headers["authorization"] == "Bearer k"
        headers = {"connection": "close"} if len(asked) % 7 == 0 else None
        return PlainTextResponse("!", 200 if right else 401, headers)

    return Starlette(routes=[Route("/{path}", answer, methods=["GET", "POST"])]), asked


def stall(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        pass


def load(key: str = "k", stall_seconds: float = 0.0) -> tuple[Paced, list[str], list[int]]:
    app, asked = served(stall_seconds)
    passed: list[int] = []
    with serving(app) as loopback:
        requests = [
            http_request("/get", port=loopback.port, key=key),
            http_request("/post", port=loopback.port, key=key, body=b"body"),
        ]
        found = paced(loopback.port, requests, a_second=100, seconds=1.2, each_second=passed.append)
    return found, asked, passed


def test_every_request_is_sent_in_turn_and_answered() -> None:
    found, asked, passed = load()
    assert found.statuses == {200: 120}
    assert len(found.seconds) == 120
    assert (asked.count(""), asked.count("body")) == (60, 60)
    assert passed == [1]


def test_refusal_is_counted_as_one() -> None:
    found, _, _ = load(key="another")
    assert found.statuses == {401: 120}


def test_stall_is_counted_for_all_who_were_due_meanwhile() -> None:
    found, _, _ = load(stall_seconds=0.4)
    # 40 were due in it: those of its first half waited for longer than its second half.
    assert sum(seconds > 0.2 for seconds in found.seconds) >= 15


def test_server_that_is_not_there_is_counted_as_no_answer() -> None:
    port = free_port()
    found = paced(port, [http_request("/", port=port, key="k")], a_second=50, seconds=0.2)
    assert found.statuses == {0: 10}


@pytest.mark.parametrize("body", [None, b"", b"x"])
def test_request_says_how_long_its_body_is(body: bytes | None) -> None:
    request = http_request("/p?q=1", port=1, key="k", body=body)
    head, _, sent = request.partition(b"\r\n\r\n")
    assert sent == (body or b"")
    assert (b"content-length" in head) == (body is not None)
