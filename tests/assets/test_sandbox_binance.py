"""The sandbox as Binance, asked by ccxt over REST and websockets, and by hand where ccxt hides something."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import ccxt
import ccxt.pro
import httpx
import polars as pl
import pytest
import websockets
from fakes.loopback_app import Loopback, serving

from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import INTERVALS, Asked, aggregate_trades, binance_app, klines
from cryptoai_assets.sandbox.binance_socket import decimal_text
from cryptoai_assets.sandbox.market import SandboxMarket, resampled
from edge_bundle.candles import CANDLE_SCHEMA

SAMPLE = pl.read_parquet(sample_file()).sort("symbol", "open_time")
START = datetime(2019, 1, 10, 12, 17, 31, tzinfo=UTC)
START_MS = 1_547_122_651_000
MINUTE = timedelta(minutes=1)
ROWS = {"klines": klines, "aggTrades": aggregate_trades}

pytestmark = pytest.mark.anyio


@dataclass
class Driven:
    """A market whose clock the test drives, and where it is served."""

    server: Loopback
    time: list[datetime] = field(default_factory=lambda: [datetime(2026, 1, 1, tzinfo=UTC)])
    market: SandboxMarket = field(init=False)

    def __post_init__(self) -> None:
        self.market = SandboxMarket(SAMPLE, seed=1, start=START, speed=1, clock=lambda: self.time[0])

    def pass_on(self, span: timedelta) -> None:
        self.time[0] += span

    def get(self, path: str, **params: object) -> httpx.Response:
        return httpx.get(f"{self.server.http}/api/v3/{path}", params={k: str(v) for k, v in params.items()})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def venue() -> Iterator[Driven]:
    driven = Driven(Loopback(0))
    with serving(binance_app(driven.market, push_seconds=0.005)) as server:
        driven.server = server
        yield driven


def pointed(client: Any, server: Loopback) -> Any:
    """The client of Binance.US, with the sandbox in the venue's place."""
    client.urls["api"] |= {"public": f"{server.http}/api/v3", "ws": {"spot": f"{server.websocket}/ws"}}
    return client


def frame(rows: list[list[float]], symbol: str) -> pl.DataFrame:
    columns = ["open_time", "open", "high", "low", "close", "volume"]
    bars = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.Float64), orient="row")
    time = pl.col("open_time").cast(pl.Int64).cast(pl.Datetime("ms", "UTC")).cast(CANDLE_SCHEMA["open_time"])
    return bars.with_columns(time, symbol=pl.lit(symbol)).select(*CANDLE_SCHEMA)


def test_pages_read_by_ccxt_are_the_half_hours_of_the_sample_bit_for_bit(venue: Driven) -> None:
    client, start, rows = pointed(ccxt.binanceus(), venue.server), datetime(2018, 1, 1, tzinfo=UTC), []
    client.enableRateLimit = False
    since = int(start.timestamp() * 1000)
    for _ in range(6):
        page = client.fetch_ohlcv("XRP/USDT", "1m", since=since, limit=1000)
        rows += page
        since = page[-1][0] + 60_000
    minutes = frame(rows, "XRPUSDT")
    assert minutes.equals(venue.market.bars("XRPUSDT", "1m", start, start + 6000 * MINUTE))
    own = SAMPLE.filter((pl.col("symbol") == "XRPUSD") & (pl.col("open_time") >= start)).head(200)
    assert resampled(minutes, 30 * MINUTE).drop("symbol").equals(own.drop("symbol"))


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_interval_is_served_and_its_running_bar_comes_last(venue: Driven, interval: str) -> None:
    rows = venue.get("klines", symbol="BTCUSDT", interval=interval, limit=3).json()
    newest = venue.market.klines("BTCUSDT", interval, start=None, end=START, limit=2)
    assert [row[0] for row in rows[:2]] == newest["open_time"].dt.epoch("ms").to_list()
    assert [float(row[5]) for row in rows[:2]] == newest["volume"].to_list()
    assert rows[2][0] <= START_MS <= rows[2][6]
    assert {len(row) for row in rows} == {12}
    kinds = [int, str, str, str, str, str, int, str, int, str, str, str]
    assert [type(value) for value in rows[2]] == kinds
    assert rows[2][6] - rows[2][0] == rows[1][0] - rows[0][0] - 1


def test_start_and_end_are_inclusive_and_a_page_has_at_most_a_thousand_bars(venue: Driven) -> None:
    def opened(**params: object) -> list[int]:
        rows = venue.get("klines", symbol="BTCUSDT", interval="1m", **params).json()
        return [row[0] for row in rows]

    start = START_MS - START_MS % 60_000 - 1_200 * 60_000
    assert len(opened()) == 500
    assert opened(startTime=start, limit=5000) == [start + minute * 60_000 for minute in range(1000)]
    assert opened(startTime=start, endTime=start + 120_000) == [start, start + 60_000, start + 120_000]
    assert opened(startTime=start + 1, endTime=start + 120_000 - 1) == [start + 60_000]
    assert opened(endTime=start, limit=2) == [start - 60_000, start]
    assert opened(startTime=START_MS + 60_000) == []
    assert opened(startTime=start, limit=0) == []


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("klines", {"interval": "1m"}, -1102),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "DOGEUSDT", "interval": "1m"}, -1121),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "-1"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "now"}, -1100),
        ("depth", {"symbol": "btcusdt"}, -1121),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "x"}, -1100),
        ("exchangeInfo", {"symbol": "NOPE"}, -1121),
    ],
)
def test_what_binance_refuses_is_refused_with_its_code(
    venue: Driven, path: str, params: dict[str, str], code: int
) -> None:
    answer = venue.get(path, **params)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["msg"]


def test_ccxt_names_a_symbol_that_is_not_there(venue: Driven) -> None:
    client = pointed(ccxt.binanceus(), venue.server)
    with pytest.raises(ccxt.BadSymbol):
        client.fetch_ohlcv("DOGE/USDT")


def test_every_answer_is_marked_and_tells_its_weight_of_the_minute(venue: Driven) -> None:
    first, second = venue.get("ping"), venue.get("exchangeInfo")
    assert {answer.headers["x-cryptoai-simulated"] for answer in (first, second)} == {"1"}
    assert [answer.headers["x-mbx-used-weight-1m"] for answer in (first, second)] == ["1", "11"]
    venue.pass_on(MINUTE)
    assert venue.get("time").headers["x-mbx-used-weight-1m"] == "1"
    assert venue.get("time").json() == {"serverTime": START_MS + 60_000}


def test_trades_read_by_ccxt_are_those_of_the_market(venue: Driven) -> None:
    client = pointed(ccxt.binanceus(), venue.server)
    told = client.fetch_trades("ETH/USDT", limit=100)
    tape = venue.market.newest_trades("ETHUSDT", 100)
    assert [int(trade["id"]) for trade in told] == tape["trade_id"].to_list()
    assert [trade["amount"] for trade in told] == tape["volume"].to_list()
    assert [trade["side"] == "buy" for trade in told] == tape["buy"].to_list()
    later = client.fetch_trades("ETH/USDT", since=told[50]["timestamp"], limit=10)
    assert [trade["id"] for trade in later][-1] > told[50]["id"]
    from_id = venue.get("aggTrades", symbol="ETHUSDT", fromId=told[7]["id"], limit=3).json()
    assert [row["a"] for row in from_id] == [int(trade["id"]) for trade in told[7:10]]
    recent = venue.get("trades", symbol="ETHUSDT", limit=2).json()
    assert [row["qty"] for row in recent] == [decimal_text(size) for size in tape["volume"][-2:]]


def test_snapshot_of_the_book_read_by_ccxt_is_that_of_the_market(venue: Driven) -> None:
    book = pointed(ccxt.binanceus(), venue.server).fetch_order_book("BTC/USDT", 10)
    drawn = venue.market.book("BTCUSDT", START)
    assert book["nonce"] == drawn.update_id
    assert book["bids"] == drawn.bids[:10].tolist()
    assert book["asks"] == drawn.asks[:10].tolist()


@pytest.mark.parametrize(
    ("number", "text"), [(1e-07, "0.0000001"), (4367.1, "4367.1"), (2.5e-9, "0.0000000025")]
)
def test_number_is_written_without_an_exponent(number: float, text: str) -> None:
    assert decimal_text(number) == text
    assert float(decimal_text(number / 3)) == number / 3


def test_smallest_volumes_are_told_without_an_exponent_and_read_back_exactly() -> None:
    thin = SAMPLE.filter(pl.col("symbol") == "BTCUSD").with_columns(volume=pl.col("volume") * 1e-8)
    market = SandboxMarket(thin, seed=1, start=START, speed=0, clock=lambda: START)
    told = {
        path: answer(Asked({"symbol": "BTCUSDT", "interval": "1m"}, market)) for path, answer in ROWS.items()
    }
    assert not any("e-" in text for text in told.values())
    newest = market.klines("BTCUSDT", "1m", start=None, end=START, limit=499)
    assert [float(row[5]) for row in json.loads(told["klines"])[:499]] == newest["volume"].to_list()
    sizes = market.newest_trades("BTCUSDT", 500)["volume"].to_list()
    assert [float(row["q"]) for row in json.loads(told["aggTrades"])] == sizes
    assert min(sizes) < 1e-10


@asynccontextmanager
async def connected(venue: Driven, path: str) -> AsyncIterator[websockets.ClientConnection]:
    async with websockets.connect(f"{venue.server.websocket}{path}", proxy=None) as socket:
        yield socket


async def told(socket: websockets.ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 20))


async def subscribe(socket: websockets.ClientConnection, *streams: str) -> None:
    await socket.send(json.dumps({"method": "SUBSCRIBE", "params": list(streams), "id": 1}))
    assert await told(socket) == {"result": None, "id": 1}


async def test_every_bar_is_closed_once_and_in_order(venue: Driven) -> None:
    async with connected(venue, "/ws") as socket:
        await subscribe(socket, "btcusdt@kline_1m")
        closed: list[dict[str, Any]] = []
        while len(closed) < 6:
            venue.pass_on(timedelta(seconds=17))
            message = await told(socket)
            assert (message["e"], message["s"]) == ("kline", "BTCUSDT")
            if message["k"]["x"]:
                closed.append(message["k"])
    first = START.replace(second=0)
    bars = venue.market.bars("BTCUSDT", "1m", first, first + 6 * MINUTE)
    names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    for column, key in names.items():
        assert [float(kline[key]) for kline in closed] == bars[column].to_list()
    assert [kline["t"] for kline in closed] == bars["open_time"].dt.epoch("ms").to_list()
    tape = venue.market.trades("BTCUSDT", first, first + MINUTE)
    assert (closed[0]["f"], closed[0]["L"]) == (tape["trade_id"][0], tape["trade_id"][-1])


async def test_local_book_from_snapshot_and_differences_is_the_book(venue: Driven) -> None:
    async with connected(venue, "/stream?streams=btcusdt@depth@100ms") as socket:
        snapshot = venue.get("depth", symbol="BTCUSDT", limit=5000).json()
        local = {side: dict(snapshot[side]) for side in ("bids", "asks")}
        number = snapshot["lastUpdateId"]
        for _ in range(30):
            venue.pass_on(timedelta(seconds=3))
            message = await told(socket)
            assert message["stream"] == "btcusdt@depth@100ms"
            difference = message["data"]
            assert difference["U"] == number + 1
            number = difference["u"]
            for side, key in (("bids", "b"), ("asks", "a")):
                local[side] |= dict(difference[key])
    drawn = venue.market.book(
        "BTCUSDT", START + timedelta(milliseconds=100 * (number - snapshot["lastUpdateId"]) / 8)
    )
    assert drawn.update_id in range(number - 8, number + 9)
    for side, levels in (("bids", drawn.bids), ("asks", drawn.asks)):
        held = {float(price): float(size) for price, size in local[side].items() if float(size)}
        assert held == dict(levels.tolist())


async def test_socket_tells_every_trade_once(venue: Driven) -> None:
    async with connected(venue, "/ws/ethusdt@trade") as socket:
        trades: list[dict[str, Any]] = []
        while len(trades) < 40:
            venue.pass_on(timedelta(seconds=5))
            trades.append(await told(socket))
    tape = venue.market.trades("ETHUSDT", START + timedelta(microseconds=1), venue.market.now() + MINUTE)
    assert [trade["t"] for trade in trades] == tape["trade_id"].to_list()[:40]
    assert [float(trade["q"]) for trade in trades] == tape["volume"].to_list()[:40]


async def test_best_prices_and_requests_of_a_connection(venue: Driven) -> None:
    async with connected(venue, "/ws") as socket:
        await subscribe(socket, "btcusdt@bookTicker", "nope@trade")
        best = await told(socket)
        assert float(best["b"]) < float(best["a"])
        assert float(best["B"]) == venue.market.book("BTCUSDT", START).bids[0, 1]
        await socket.send('{"method": "LIST_SUBSCRIPTIONS", "id": 2}')
        assert await told(socket) == {"result": ["btcusdt@bookTicker"], "id": 2}
        await socket.send('{"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 3}')
        assert await told(socket) == {"result": None, "id": 3}
        for wrong, code in (("{", 3), ("[]", 2), ('{"method": "DANCE", "id": 4}', 2)):
            await socket.send(wrong)
            assert (await told(socket))["error"]["code"] == code


async def test_ccxt_pro_watches_bars_trades_and_the_book(venue: Driven) -> None:
    client = pointed(ccxt.pro.binanceus({"enableRateLimit": False}), venue.server)

    async def drive() -> None:
        while True:
            venue.pass_on(timedelta(seconds=2))
            await asyncio.sleep(0.01)

    driving = asyncio.create_task(drive())
    try:
        async with asyncio.timeout(30):
            bars = await client.watch_ohlcv("BTC/USDT", "1m")
            trades = await client.watch_trades("BTC/USDT")
            books = [dict(await client.watch_order_book("BTC/USDT", 20)) for _ in range(10)]
    finally:
        driving.cancel()
        await client.close()
    assert bars[0][0] >= START_MS - 60_000
    assert trades[0]["timestamp"] >= START_MS
    numbers = [book["nonce"] for book in books]
    assert numbers == sorted(set(numbers))
