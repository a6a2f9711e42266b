"""Every fault of the sandbox is real on the wire, as often as planned, and the same for the same seed."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import polars as pl
import pytest
import websockets
from fakes.loopback_app import Loopback, serving

from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import binance_app
from cryptoai_assets.sandbox.faults import ANSWER_FAULTS, BAR_FAULTS, Fault, FaultPlan, Faults
from cryptoai_assets.sandbox.market import SandboxMarket

SAMPLE = pl.read_parquet(sample_file()).sort("symbol", "open_time")
START = datetime(2019, 1, 10, 12, 17, 31, tzinfo=UTC)
KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=500"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def plan(seed: int = 1, *, looks: int = 1, **shares: float) -> FaultPlan:
    named = {Fault(name): share for name, share in shares.items()}
    return FaultPlan(seed, named, looks=looks)


def market(*, speed: float = 0, clock: Any = lambda: START) -> SandboxMarket:
    return SandboxMarket(SAMPLE, seed=1, start=START, speed=speed, clock=clock)


@contextmanager
def spoiled(faults: FaultPlan, **settings: Any) -> Iterator[httpx.Client]:
    app = Faults(binance_app(market()), faults, **settings)
    with serving(app) as server, httpx.Client(base_url=server.http, timeout=5) as client:
        yield client


def outcome(client: httpx.Client, path: str = "/api/v3/time") -> str:
    try:
        answer = client.get(path)
        answer.json()
    except httpx.TimeoutException:
        return "timed out"
    except httpx.TransportError:
        return "broke off"
    except ValueError:
        return f"{answer.status_code} no JSON"
    return str(answer.status_code)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.TOO_MANY_REQUESTS, "429"),
        (Fault.TOO_MANY_REQUESTS_UNTOLD, "429"),
        (Fault.DROPPED, "broke off"),
        (Fault.TRUNCATED_JSON, "200 no JSON"),
        (Fault.INVALID_JSON, "200 no JSON"),
    ],
)
def test_fault_is_seen_by_a_client(fault: Fault, seen: str) -> None:
    with spoiled(plan(**{fault: 1.0})) as client:
        assert {outcome(client), outcome(client, KLINES), outcome(client, "/api/v3/ping")} == {seen}


def test_server_errors_are_of_every_kind() -> None:
    with spoiled(plan(server_error=1.0)) as client:
        assert {client.get("/api/v3/time").status_code for _ in range(4)} == {500, 502, 503, 504}


def test_half_open_connection_answers_nothing_until_the_client_gives_up() -> None:
    with spoiled(plan(half_open=1.0)) as client, pytest.raises(httpx.ReadTimeout):
        client.get("/api/v3/time", timeout=0.2)


def test_wait_is_told_with_one_kind_of_refusal_only() -> None:
    with spoiled(plan(too_many_requests=1.0)) as client:
        assert client.get("/api/v3/time").headers["Retry-After"] == "1"
    with spoiled(plan(too_many_requests_untold=1.0)) as client:
        assert "Retry-After" not in client.get("/api/v3/time").headers


def test_latency_is_waited_for_before_a_whole_answer() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    with spoiled(plan(latency=0.5), sleep=sleep) as client:
        assert {outcome(client) for _ in range(60)} == {"200"}
    assert 15 < len(waited) < 45
    assert 0 < min(waited) < 0.3 < 0.7 < max(waited) <= 1.0


def test_same_seed_has_the_same_faults_and_their_shares_hold() -> None:
    shares = {fault: 0.06 for fault in ANSWER_FAULTS if fault != Fault.HALF_OPEN}

    def outcomes(seed: int) -> list[str]:
        with spoiled(plan(seed, **shares)) as client:
            return [outcome(client) for _ in range(300)]

    first = outcomes(1)
    assert outcomes(1) == first
    assert outcomes(2) != first
    assert 0.6 < first.count("200") / 300 < 0.8


def test_no_fault_is_planned_and_none_is_seen() -> None:
    with spoiled(plan()) as client, serving(binance_app(market())) as clean:
        assert client.get(KLINES).content == httpx.get(f"{clean.http}{KLINES}").content
        assert client.get("/api/v3/klines").json()["code"] == -1102


def test_skewed_clock_is_told() -> None:
    with spoiled(FaultPlan(1, skew_ms=-90_000)) as client:
        told = client.get("/api/v3/time").json()["serverTime"]
    assert told == START.timestamp() * 1000 - 90_000


def looks_at(faults: FaultPlan, path: str = KLINES, *, looks: int = 2) -> list[list[list[Any]]]:
    with spoiled(faults) as client:
        return [client.get(path).json() for _ in range(looks)]


def opened(rows: list[list[Any]]) -> list[int]:
    return [row[0] for row in rows]


TRUE = looks_at(plan(), looks=1)[0]


@pytest.mark.parametrize("fault", BAR_FAULTS)
def test_touched_bars_are_right_at_the_next_look(fault: Fault) -> None:
    first, second = looks_at(plan(3, **{fault: 0.5}))
    assert first != TRUE
    assert second == TRUE


def test_bars_are_wrong_for_as_many_looks_as_planned() -> None:
    looks = looks_at(plan(3, looks=2, missing_bar=0.2), looks=3)
    assert looks[0] == looks[1] != TRUE
    assert looks[2] == TRUE


def test_duplicated_bars_stand_twice_and_missing_ones_not_at_all() -> None:
    doubled = looks_at(plan(3, duplicated_bar=0.2))[0]
    assert sorted(set(opened(doubled))) == opened(TRUE)
    assert 550 < len(doubled) < 650
    missing = looks_at(plan(3, missing_bar=0.2))[0]
    assert [row for row in TRUE if row in missing] == missing
    assert 350 < len(missing) < 450


def test_bars_out_of_order_are_all_there() -> None:
    rows = looks_at(plan(3, out_of_order_bar=0.1))[0]
    assert sorted(rows) == TRUE
    assert rows != TRUE


def test_late_bars_are_the_newest_ones() -> None:
    rows = looks_at(plan(3, late_bar=1.0))[0]
    assert rows == TRUE[:-3]


def test_revised_bars_were_possible_ones() -> None:
    rows = looks_at(plan(3, revised_bar=0.2))[0]
    changed = [(told, true) for told, true in zip(rows, TRUE, strict=True) if told != true]
    assert 50 < len(changed) < 150
    for told, true in changed:
        assert told[:4] == true[:4]
        assert float(told[5]) * 2 == float(true[5])
        assert float(told[3]) <= float(told[4]) <= float(told[2])


def test_bars_are_touched_alike_whatever_page_they_are_on() -> None:
    faults = plan(3, missing_bar=0.2)
    whole = set(opened(TRUE)) - set(opened(looks_at(faults)[0]))
    with spoiled(faults) as client:
        pages = [client.get(f"{KLINES}&startTime={start}&limit=100").json() for start in opened(TRUE)[::100]]
    assert {time for time in opened(TRUE) if time not in {row[0] for page in pages for row in page}} == whole


def test_plan_is_told_and_steered_over_http() -> None:
    with spoiled(plan(7, server_error=1.0)) as client:
        told = client.get("/sandbox/faults").json()
        assert (told["seed"], told["shares"]["server_error"]) == (7, 1.0)
        assert client.get("/api/v3/ping").status_code >= 500
        changed = client.get(
            "/sandbox/faults?server_error=0&too_many_requests=1&retry_after_seconds=4"
        ).json()
        assert changed["shares"]["too_many_requests"] == 1.0
        assert client.get("/api/v3/ping").headers["Retry-After"] == "4"
        for wish in ("nonsense=1", "server_error=2", "server_error=x", "seed=x"):
            assert client.get(f"/sandbox/faults?{wish}").status_code == 400


def test_only_the_paths_that_are_named_are_touched() -> None:
    with spoiled(replace(plan(server_error=1.0), only="/klines", skew_ms=-90_000)) as client:
        assert client.get("/api/v3/time").json()["serverTime"] == START.timestamp() * 1000
        assert client.get(KLINES).status_code >= 500
        assert client.get("/sandbox/faults?only=/time").json()["only"] == "/time"
        assert client.get(KLINES).status_code == 200
        assert client.get("/api/v3/time").status_code >= 500


class Runaway:
    """A clock that goes on by two minutes of market time whenever it is read."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=7)
        return self.time


@contextmanager
def spoiled_sockets(faults: FaultPlan) -> Iterator[Loopback]:
    running = market(speed=1, clock=Runaway())
    with serving(Faults(binance_app(running, push_seconds=0.002), faults)) as server:
        yield server


async def next_message(socket: websockets.ClientConnection) -> dict[str, Any] | None:
    """What comes next, or null where the other side answers a ping and still says nothing."""
    try:
        return json.loads(await asyncio.wait_for(socket.recv(), 0.5))
    except TimeoutError:
        await asyncio.wait_for(await socket.ping(), 30)
    try:
        return json.loads(await asyncio.wait_for(socket.recv(), 2))
    except TimeoutError:
        return None


async def messages(server: Loopback, stream: str, wanted: int) -> list[dict[str, Any]]:
    """Messages until there are enough, none comes any more, or the server closes."""
    told: list[dict[str, Any]] = []
    async with websockets.connect(f"{server.websocket}/ws/{stream}", proxy=None) as socket:
        try:
            while len(told) < wanted:
                message = await next_message(socket)
                told.append({"silent": True} if message is None else message)
                if message is None:
                    break
        except websockets.ConnectionClosed as closed:
            told.append({"closed": closed.rcvd.code if closed.rcvd else None})
    return told


def closed_bars(told: list[dict[str, Any]]) -> list[int]:
    return [message["k"]["t"] // 60_000 for message in told if message.get("k", {}).get("x")]


async def test_socket_is_closed_after_some_messages() -> None:
    with spoiled_sockets(plan(dropped=1.0)) as server:
        told = await messages(server, "btcusdt@kline_1m", 100)
    assert 1 <= len(told) <= 21
    assert told[-1] == {"closed": 1012}


async def test_half_open_socket_looks_healthy_and_delivers_nothing() -> None:
    with spoiled_sockets(plan(half_open=1.0)) as server:
        told = await messages(server, "btcusdt@kline_1m", 100)
    assert 1 <= len(told) <= 21
    assert told[-1] == {"silent": True}


async def test_socket_follows_what_is_steered_while_it_is_open() -> None:
    with spoiled_sockets(plan()) as server:
        async with websockets.connect(f"{server.websocket}/ws/btcusdt@kline_1m", proxy=None) as socket:

            async def falls_silent() -> bool:
                for _ in range(100):
                    if await next_message(socket) is None:
                        return True
                return False

            assert not await falls_silent()
            async with httpx.AsyncClient(base_url=server.http) as client:
                assert (await client.get("/sandbox/faults?half_open=1&only=/ws")).status_code == 200
                assert (await client.get("/api/v3/ping")).status_code == 200
                assert await falls_silent()
                assert (await client.get("/sandbox/faults?half_open=0")).status_code == 200
            assert not await falls_silent()


async def test_gap_in_the_book_shows_in_its_numbers() -> None:
    with spoiled_sockets(plan(book_gap=0.3)) as server:
        told = await messages(server, "btcusdt@depth", 60)
    holes = [later["U"] - before["u"] - 1 for before, later in pairwise(told)]
    assert min(holes) == 0 < max(holes)


async def test_closed_bars_over_a_socket_are_missing_doubled_or_late() -> None:
    async def bars(**shares: float) -> list[int]:
        with spoiled_sockets(plan(4, **shares)) as server:
            return closed_bars(await messages(server, "btcusdt@kline_1m", 150))

    clean = await bars()
    assert clean == list(range(clean[0], clean[0] + len(clean)))
    missing = await bars(missing_bar=0.4)
    assert missing == sorted(set(missing))
    assert len(missing) < missing[-1] - missing[0] + 1
    doubled = await bars(duplicated_bar=0.4)
    assert len(doubled) > len(set(doubled))
    assert doubled == sorted(doubled)
    assert set(await bars(late_bar=0.5)) >= set(range(clean[0] + 1, clean[0] + 5))
