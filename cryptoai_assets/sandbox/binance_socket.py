"""Binance's spot websockets over the simulated market: klines, trades, differences of the book, best prices.

Source of every shape: Binance, "WebSocket Streams",
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from cryptoai_assets.sandbox.book import Book
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_assets.sandbox.path import Floats
from cryptoai_assets.sandbox.series import milliseconds
from edge_bundle.candles import interval_duration

Message = dict[str, Any]


class Feed(Protocol):
    """One stream of one connection; it remembers what it has told."""

    def messages(self, now: datetime) -> Iterator[Message]:
        """What happened since the last call."""
        ...


@dataclass(slots=True)
class KlineFeed:
    """Every bar when it closes, and the running one while it grows."""

    market: SandboxMarket
    symbol: str
    interval: str
    told: datetime
    running: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, now: datetime) -> Iterator[Message]:
        """Closed bars in order, then the running one when it has changed."""
        step = interval_duration(self.interval)
        # A bar that closes at t opens at t - step; the last one told of is not told again.
        start, end = (moment - step + timedelta(microseconds=1) for moment in (self.told, now))
        most = (now - self.told) // step + 2
        closed = self.market.klines(self.symbol, self.interval, start=start, end=end, limit=most)
        self.told = now
        for bar in closed.iter_rows(named=True):
            yield self._message(bar, step, now, closed=True)
        for bar in self.market.running_bar(self.symbol, self.interval).iter_rows(named=True):
            if bar != self.running and bar["open_time"] + step > now:
                self.running = bar
                yield self._message(bar, step, now, closed=False)

    def _message(self, bar: Mapping[str, Any], step: timedelta, now: datetime, *, closed: bool) -> Message:
        opened, trades = milliseconds(bar["open_time"]), bar["trades"]
        kline = {
            "t": opened,
            "T": opened + step // timedelta(milliseconds=1) - 1,
            "s": self.symbol,
            "i": self.interval,
            "f": bar["first_trade"] if trades else -1,
            "L": bar["first_trade"] + trades - 1 if trades else -1,
            "o": decimal_text(bar["open"]),
            "c": decimal_text(bar["close"]),
            "h": decimal_text(bar["high"]),
            "l": decimal_text(bar["low"]),
            "v": decimal_text(bar["volume"]),
            "n": trades,
            "x": closed,
            "q": decimal_text(bar["quote_volume"]),
            "V": decimal_text(bar["buy_volume"]),
            "Q": decimal_text(bar["buy_quote_volume"]),
            "B": "0",
        }
        return {"e": "kline", "E": milliseconds(now), "s": self.symbol, "k": kline}


@dataclass(slots=True)
class TradeFeed:
    """Every trade; as an aggregate of one where those are asked for."""

    market: SandboxMarket
    symbol: str
    told: datetime
    aggregate: bool

    def messages(self, now: datetime) -> Iterator[Message]:
        """Trades since the last call."""
        after = timedelta(microseconds=1)
        tape = self.market.trades(self.symbol, self.told + after, now + after)
        self.told = now
        for trade in tape.iter_rows(named=True):
            number, traded = trade["trade_id"], milliseconds(trade["time"])
            kind = {"e": "aggTrade" if self.aggregate else "trade", "E": milliseconds(now), "s": self.symbol}
            ids = {"a": number, "f": number, "l": number} if self.aggregate else {"t": number}
            amount = {"p": decimal_text(trade["price"]), "q": decimal_text(trade["volume"])}
            yield {**kind, **ids, **amount, "T": traded, "m": not trade["buy"], "M": True}


@dataclass(slots=True)
class DepthFeed:
    """Differences of the book, whose numbers follow one another without a hole."""

    market: SandboxMarket
    symbol: str
    book: Book

    def messages(self, now: datetime) -> Iterator[Message]:
        """One difference, when a level has changed."""
        book = self.market.book(self.symbol, now)
        bids, asks = book.changes_since(self.book)
        if len(bids) + len(asks) == 0:
            return
        numbers = {"U": self.book.update_id + 1, "u": book.update_id}
        self.book = book
        kind = {"e": "depthUpdate", "E": milliseconds(now), "s": self.symbol}
        yield {**kind, **numbers, "b": _levels(bids), "a": _levels(asks)}


@dataclass(slots=True)
class BookTickerFeed:
    """Best bid and ask."""

    market: SandboxMarket
    symbol: str
    told: Message = field(default_factory=dict)

    def messages(self, now: datetime) -> Iterator[Message]:
        """The best levels, when they have changed."""
        book = self.market.book(self.symbol, now)
        (bid, bid_size), (ask, ask_size) = _levels(book.bids[:1])[0], _levels(book.asks[:1])[0]
        best = {"s": self.symbol, "b": bid, "B": bid_size, "a": ask, "A": ask_size}
        if best != self.told:
            self.told = best
            yield {"u": book.update_id, **best}


class BinanceSockets:
    """The two kinds of connections: raw messages, and combined ones that name their stream.

    Parameters
    ----------
    intervals
        Of klines.
    push_seconds
        Clock time between two looks at the market.
    """

    def __init__(self, market: SandboxMarket, *, intervals: Collection[str], push_seconds: float) -> None:
        self._market, self._intervals, self._push_seconds = market, intervals, push_seconds

    async def raw(self, socket: WebSocket) -> None:
        """Serve ``/ws`` and ``/ws/<stream>/<stream>``."""
        await self._serve(socket, socket.path_params.get("streams", "").split("/"), combined=False)

    async def combined(self, socket: WebSocket) -> None:
        """Serve ``/stream?streams=<stream>/<stream>``."""
        await self._serve(socket, socket.query_params.get("streams", "").split("/"), combined=True)

    async def _serve(self, socket: WebSocket, names: list[str], *, combined: bool) -> None:
        feeds: dict[str, Feed] = {}
        self._subscribe(feeds, names)
        await socket.accept(headers=[(b"x-cryptoai-simulated", b"1")])
        tasks = [
            asyncio.create_task(self._listen(socket, feeds)),
            asyncio.create_task(self._push(socket, feeds, combined=combined)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError, WebSocketDisconnect):
                    await task

    async def _listen(self, socket: WebSocket, feeds: dict[str, Feed]) -> None:
        while True:
            await socket.send_text(json.dumps(self._reply(await socket.receive_text(), feeds)))

    async def _push(self, socket: WebSocket, feeds: dict[str, Feed], *, combined: bool) -> None:
        while True:
            await asyncio.sleep(self._push_seconds)
            now = self._market.now()
            for name, feed in list(feeds.items()):
                for message in feed.messages(now):
                    told = {"stream": name, "data": message} if combined else message
                    await socket.send_text(json.dumps(told, separators=(",", ":")))

    def _reply(self, text: str, feeds: dict[str, Feed]) -> Message:
        try:
            request = json.loads(text)
        except ValueError as error:
            return {"error": {"code": 3, "msg": f"Invalid JSON: {error}"}}
        match request:
            case {"method": "SUBSCRIBE", "params": list(names)}:
                self._subscribe(feeds, names)
            case {"method": "UNSUBSCRIBE", "params": list(names)}:
                for name in names:
                    feeds.pop(name, None)
            case {"method": "LIST_SUBSCRIPTIONS"}:
                return {"result": list(feeds), "id": request.get("id")}
            case _:
                return {"error": {"code": 2, "msg": "Invalid request: method or params not understood"}}
        return {"result": None, "id": request.get("id")}

    def _subscribe(self, feeds: dict[str, Feed], names: list[Any]) -> None:
        """Add a feed for each name that means something; the venue ignores the others too."""
        for name in names:
            feed = self._feed(str(name))
            if feed is not None and name not in feeds:
                feeds[name] = feed

    def _feed(self, name: str) -> Feed | None:
        lower, _, kind = name.partition("@")
        symbol, market = lower.upper(), self._market
        if symbol not in market.symbols:
            return None
        now = market.now()
        match kind.split("@")[0].split("_"):
            case ["kline", interval] if interval in self._intervals:
                return KlineFeed(market, symbol, interval, now)
            case [("trade" | "aggTrade") as trade]:
                return TradeFeed(market, symbol, now, aggregate=trade == "aggTrade")
            case ["depth"]:
                return DepthFeed(market, symbol, market.book(symbol, now))
            case ["bookTicker"]:
                return BookTickerFeed(market, symbol)
        return None


def decimal_text(number: float) -> str:
    """A number as venues write it: no exponent, and read back exactly."""
    return format(Decimal(repr(number)), "f")


def _levels(levels: Floats) -> list[list[str]]:
    return [[f"{price:.8f}", f"{size:.8f}"] for price, size in levels]
