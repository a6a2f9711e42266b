"""Binance's REST market data on loopback, which serves made-up minutes and fails as a test tells it to.

Wire format: developers.binance.com, Spot, "Market Data endpoints". A plain server and not an ASGI app, which
could not hang up in the middle of an answer.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl

from edge_bundle.candles import CANDLE_SCHEMA

MINUTE_MS = 60_000
PAGE_BARS = 1000
LISTED = datetime(2026, 1, 1, tzinfo=UTC)
INVALID_SYMBOL = b'{"code":-1121,"msg":"Invalid symbol."}'
Row = list[Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to an answer.

    Parameters
    ----------
    body
        In place of the true one.
    lost
        Bytes of the body that are announced and never come.
    hangs_up
        No answer at all.
    reshapes
        Applied to the rows of a page of candles.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    lost: int = 0
    hangs_up: bool = False
    reshapes: Callable[[list[Row]], list[Row]] = list


HANGS_UP = Fault(hangs_up=True)
TRUE_ANSWER = Fault()


def kline(open_ms: int) -> Row:
    """The bar of a minute, the same each time; every seventh is without a trade."""
    index = open_ms // MINUTE_MS
    quiet = index % 7 == 0
    opened, closed = _price(index - 1), _price(index)
    volume = "0.00000000" if quiet else f"{1 + index % 50}.50000000"
    low, high = sorted((opened, closed))
    return [
        open_ms,
        *(f"{price:.8f}" for price in (opened, high, low, closed)),
        volume,
        open_ms + MINUTE_MS - 1,
        volume,
        0 if quiet else 5,
        volume,
        volume,
        "0",
    ]


def _price(index: int) -> float:
    traded = index - 1 if index % 7 == 0 else index
    return 100 + traded * 7919 % 1000 / 100


def minute_candles(start: datetime, minutes: int, symbol: str = "BTCUSDT") -> pl.DataFrame:
    """What the server serves, as a candle frame."""
    first = int(start.timestamp() * 1000)
    rows = [kline(first + minute * MINUTE_MS)[:6] for minute in range(minutes)]
    columns = [name for name in CANDLE_SCHEMA if name != "symbol"]
    raw = pl.DataFrame(rows, schema=columns, orient="row")
    return raw.select(
        pl.from_epoch("open_time", time_unit="ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        pl.lit(symbol).alias("symbol"),
        pl.col(columns[1:]).cast(pl.Float64),
    )


@dataclass(slots=True)
class BinanceServer:
    """A running server.

    Parameters
    ----------
    now
        Its clock; the minute that is running is served as Binance does, unfinished.
    absent
        Open times in milliseconds of minutes that it does not have.
    asked
        Path and query of each request.
    """

    url: str
    now: datetime
    symbols: tuple[tuple[str, str], ...] = (("BTC", "USDT"), ("ETH", "USDT"), ("BTC", "USD"))
    halted: tuple[str, ...] = ()
    absent: set[int] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)

    def will(self, path: str, *faults: Fault) -> None:
        """Say what happens to the next requests for a path, such as ``"klines"``."""
        self.faults.setdefault(path, deque()).extend(faults)

    def pages(self) -> list[dict[str, str]]:
        """The questions for candles so far."""
        split = [urlsplit(target) for target in self.asked if "/klines?" in target]
        return [{key: values[0] for key, values in parse_qs(parts.query).items()} for parts in split]

    def answer(self, path: str, query: Mapping[str, str], fault: Fault) -> tuple[int, Any]:
        """Status and content of an answer."""
        now_ms = int(self.now.timestamp() * 1000)
        match path:
            case "ping":
                return 200, {}
            case "time":
                return 200, {"serverTime": now_ms}
            case "exchangeInfo":
                return 200, {"symbols": [self._listing(base, quote) for base, quote in self.symbols]}
            case "klines" if query["symbol"] in [base + quote for base, quote in self.symbols]:
                return 200, fault.reshapes(self._klines(query, now_ms))
            case "klines":
                return 400, json.loads(INVALID_SYMBOL)
        return 404, {}

    def _listing(self, base: str, quote: str) -> dict[str, object]:
        symbol = base + quote
        status = "BREAK" if symbol in self.halted else "TRADING"
        return {
            "symbol": symbol,
            "status": status,
            "baseAsset": base,
            "quoteAsset": quote,
            "isSpotTradingAllowed": True,
            "permissions": ["SPOT"],
            "filters": [],
        }

    def _klines(self, query: Mapping[str, str], now_ms: int) -> list[Row]:
        since = max(int(query["startTime"]), int(LISTED.timestamp() * 1000))
        limit = min(int(query.get("limit", "500")), PAGE_BARS)
        first = -(-since // MINUTE_MS) * MINUTE_MS
        rows: list[Row] = []
        for open_ms in range(first, now_ms + 1, MINUTE_MS):
            if len(rows) == limit:
                break
            if open_ms not in self.absent:
                rows.append(kline(open_ms))
        return rows


@contextmanager
def binance_server(now: datetime) -> Iterator[BinanceServer]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = (
            True  # or a second piece of an answer waits for the first to be acknowledged
        )

        def do_GET(self) -> None:
            server.asked.append(self.path)
            parts = urlsplit(self.path)
            path = parts.path.rpartition("/")[2]
            faults = server.faults.get(path)
            fault = faults.popleft() if faults else TRUE_ANSWER
            if fault.hangs_up:
                self.close_connection = True
                return
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            status, content = server.answer(path, query, fault)
            status = fault.status if fault.status != 200 else status
            body = json.dumps(content).encode() if fault.body is None else fault.body
            self.send_response(status)
            for name, value in {**server.headers, **fault.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) - fault.lost])
            self.close_connection = self.close_connection or fault.lost > 0

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Keep the output clean: a client may be killed while it is answered."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        server = BinanceServer(f"http://127.0.0.1:{listening.server_address[1]}", now)
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
