"""Streams of an exchange over websockets, through ccxt.pro: closed candles from a cursor, trades, books.

A connection is never believed to be whole: bars that it did not bring come over REST, in their order, and a
connection that is silent is given up for a new one. Whether the stream is fresh is judged by
`cryptoai_assets.lib.freshness`, from the bars that came over the stream.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import ccxt.pro
import polars as pl

from cryptoai_assets.lib.sources.bar_sequence import FAR, BarSequence, HoleFilling, StreamedBars, Values
from cryptoai_assets.lib.sources.candle_source import CandleSource, SourceRefusedError
from cryptoai_assets.lib.sources.exchange import VENUES
from cryptoai_assets.lib.sources.fact_source import plausible
from edge_bundle.candles import UTC_MICROSECONDS, interval_duration

Item = TypeVar("Item")
TRADE_SCHEMA: dict[str, pl.DataType] = {
    "time": UTC_MICROSECONDS,
    "symbol": pl.String(),
    "trade_id": pl.String(),
    "price": pl.Float64(),
    "volume": pl.Float64(),
    "buy": pl.Boolean(),
}
# These say with a bar whether it is closed; elsewhere a bar is closed when a later one is told of.
TELLS_CLOSING = frozenset({"binance", "binanceus", "binanceusdm", "binancecoinm"})
# Of these ccxt.pro holds each change of a book against the venue's numbers or its checksum, and starts the
# book anew when one is missing. Coinbase numbers the messages of a connection, which ccxt.pro does not read;
# Kraken's checksum is off there, for it was not reliable; Bitstamp numbers nothing.
# Source: `handle_order_book` of each in ccxt.pro.
COUNTS_CHANGES = TELLS_CLOSING | {"bitfinex", "cryptocom", "gate", "gateio", "htx", "huobi", "okx"}
_REFUSALS = (ccxt.AuthenticationError, ccxt.BadSymbol, ccxt.BadRequest, ccxt.NotSupported)
_TRADES_KEPT = 10_000
_EPOCH = datetime.fromtimestamp(0, tz=UTC)


class LostConnectionError(Exception):
    """A connection brings nothing more; a new one may. It does not leave this module."""


class ToldBar(NamedTuple):
    """A bar as it is now; its values are those of a candle, without its time."""

    opened: datetime
    values: Values
    closed: bool


@dataclass(frozen=True, slots=True)
class StreamedTrades:
    """Trades of one symbol in the order in which they came, in `TRADE_SCHEMA`.

    ``buy``: the taker bought; null where the venue does not tell.

    Parameters
    ----------
    after_gap
        Whether trades may be missing right before these: they are the first of a connection.
    """

    symbol: str
    trades: pl.DataFrame
    after_gap: bool


@dataclass(frozen=True, slots=True)
class StreamedBook:
    """Order book of one symbol as it was kept by the stream, from a snapshot and all differences since.

    Parameters
    ----------
    time
        The venue's; None while only the snapshot has come, or where the venue does not tell it.
    update_id
        The venue's number of the last difference; None where it does not count.
    bids, asks
        Price and size, best first.
    """

    symbol: str
    time: datetime | None
    update_id: int | None
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """How a connection is given up and opened again.

    Parameters
    ----------
    silence_seconds
        Without a message, after which a connection counts as lost, however healthy it looks.
    first_seconds, longest_seconds
        Of the waits before a new one; they double with each failure in a row.
    sleep, jitter
        Waits, and a number in [0, 1) for each wait.
    """

    silence_seconds: float
    first_seconds: float
    longest_seconds: float
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]

    async def pause(self, failures: int) -> None:
        """Wait after that many failures in a row."""
        longest = min(self.first_seconds * 2.0 ** min(failures, 30), self.longest_seconds)
        await self.sleep(longest * (0.5 + 0.5 * self.jitter()))


def is_streamed(venue: str) -> bool:
    """Whether ccxt.pro knows a venue, by its name or id."""
    return VENUES.get(venue, venue) in ccxt.pro.exchanges


def counts_changes(venue: str) -> bool:
    """Whether a lost change of a book is noticed there; elsewhere only a book that crosses is."""
    return VENUES.get(venue, venue) in COUNTS_CHANGES


class ExchangeStream:
    """Streams of one venue's spot markets; each symbol has a connection of its own.

    Parameters
    ----------
    venue
        A name in `exchange.VENUES` or any id of ccxt.pro.
    source
        Fills the holes of the candles.
    base_url
        Another server that speaks the venue's protocol over HTTP and websockets, such as the sandbox; its
        path goes before the venue's own. None is the venue.
    looks
        How often a hole is asked for, at successive bars, before a slot that stays unknown is passed over.

    Raises
    ------
    SourceRefusedError
        When ccxt.pro does not know the venue.
    """

    def __init__(
        self,
        venue: str,
        interval: str,
        *,
        source: CandleSource,
        base_url: str | None,
        reconnecting: Reconnecting,
        looks: int,
    ) -> None:
        if not is_streamed(venue):
            raise SourceRefusedError(
                f"venue {venue!r} has no streams in ccxt; use REST alone, or another one"
            )
        self._identity, self._interval, self._source = VENUES.get(venue, venue), interval, source
        self._base_url, self._reconnecting, self._looks = base_url, reconnecting, looks
        self._markets: dict[str, Any] = {}
        self.last_failure: str | None = None
        """What ended the last connection that was lost, for the one who hears an alarm."""

    @property
    def name(self) -> str:
        """Stands as the source of what is streamed."""
        return self._source.name

    def candles(self, cursors: Mapping[str, datetime]) -> AsyncGenerator[StreamedBars, None]:
        """Closed bars of every symbol from its cursor on, each once and in order of time, without an end.

        Slots that neither the stream nor, look after look, the source has are passed over, also when the
        source answers nothing at all: the store sees the gap. While the stream is away the bars come from the
        source.

        Parameters
        ----------
        cursors
            Open time of the first bar wanted, by symbol.

        Raises
        ------
        SourceRefusedError
            When asking again is of no use: unknown symbol, no such stream.
        """
        return _merged([self._bars_of(symbol, cursor) for symbol, cursor in cursors.items()])

    def trades(self, symbols: Iterable[str]) -> AsyncGenerator[StreamedTrades, None]:
        """Trades of every symbol as they happen, without an end; raises as `candles` does."""
        return _merged([self._trades_of(symbol) for symbol in symbols])

    def order_books(self, symbols: Iterable[str], *, levels: int) -> AsyncGenerator[StreamedBook, None]:
        """The book after each difference; a hole in its numbers, or a crossing, starts it from a snapshot."""
        return _merged([self._books_of(symbol, levels) for symbol in symbols])

    def books_and_trades(
        self, symbols: Sequence[str], *, levels: int
    ) -> AsyncGenerator[StreamedBook | StreamedTrades, None]:
        """Both, as they come."""
        streams: list[AsyncGenerator[StreamedBook | StreamedTrades, None]] = []
        for symbol in symbols:
            streams += [self._books_of(symbol, levels), self._trades_of(symbol)]
        return _merged(streams)

    async def _bars_of(self, symbol: str, cursor: datetime) -> AsyncGenerator[StreamedBars, None]:
        step = interval_duration(self._interval)
        due = _EPOCH - (_EPOCH - cursor) // step * step
        sequence = BarSequence(due, step, tells_closing=self._identity in TELLS_CLOSING)
        filling = HoleFilling(self._source, symbol, self._looks, sequence)

        async def watch(client: Any, market: str) -> list[ToldBar]:
            rows = await client.watch_ohlcv(market, self._interval)
            told = client.told_bars() if sequence.tells_closing else [(tuple(row), False) for row in rows]
            return [told_bar(row, closed=closed) for row, closed in told]

        async with aclosing(self._messages(symbol, watch)) as messages:
            async for told in messages:
                if told is None:
                    sequence.begin_connection()
                    if (bars := await filling.filled(FAR)) is not None:
                        yield bars
                    continue
                for bar in told:
                    sequence.hear(bar.opened, bar.values, closed=bar.closed)
                async for bars in filling.handed_out():
                    yield bars

    async def _trades_of(self, symbol: str) -> AsyncGenerator[StreamedTrades, None]:
        async def watch(client: Any, market: str) -> pl.DataFrame:
            return trade_frame(symbol, await client.watch_trades(market))

        after_gap = True
        async with aclosing(self._messages(symbol, watch)) as messages:
            async for told in messages:
                if told is not None and told.height:
                    yield StreamedTrades(symbol, told, after_gap=after_gap)
                after_gap = told is None or (after_gap and not told.height)

    async def _books_of(self, symbol: str, levels: int) -> AsyncGenerator[StreamedBook, None]:
        async def watch(client: Any, market: str) -> StreamedBook:
            return streamed_book(symbol, await client.watch_order_book(market), levels=levels)

        async with aclosing(self._messages(symbol, watch)) as messages:
            async for told in messages:
                if told is not None:
                    yield told

    async def _messages(
        self, symbol: str, watch: Callable[[Any, str], Awaitable[Item]]
    ) -> AsyncGenerator[Item | None, None]:
        """What `watch` brings, connection after connection; None after each one that was lost."""
        failures = 0
        while True:
            try:
                async with self._client() as client:
                    market = await self._told(self._market(client, symbol))
                    while True:
                        told = await self._told(watch(client, market))
                        failures = 0
                        yield told
            except LostConnectionError as lost:
                self.last_failure = f"{symbol}: {lost}"
            yield None
            await self._reconnecting.pause(failures)
            failures += 1

    async def _told(self, question: Awaitable[Item]) -> Item:
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that meets an answer.
            async with asyncio.timeout(self._reconnecting.silence_seconds):
                return await question
        except TimeoutError as error:
            silence = self._reconnecting.silence_seconds
            raise LostConnectionError(f"no message in {silence:g} seconds") from error
        except (SourceRefusedError, LostConnectionError):
            raise
        except _REFUSALS as error:
            raise SourceRefusedError(
                f"{self.name} refuses the stream: {error}; check symbol, interval and venue"
            ) from error
        except Exception as error:  # ccxt reads what a venue sends: anything can be raised
            raise LostConnectionError(f"{type(error).__name__} {error}") from error

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        """A client of its own for a connection: nothing of an old one is left in it."""
        client = _client_class(self._identity)({"enableRateLimit": True})
        client.has["fetchCurrencies"] = False
        client.options["tradesLimit"] = _TRADES_KEPT
        if self._base_url is not None:
            client.urls["api"] = _moved(client.urls["api"], self._base_url.rstrip("/"))
        if self._markets:
            client.set_markets(self._markets)
        try:
            yield client
        finally:
            await _to_its_end(client.close())

    async def _market(self, client: Any, symbol: str) -> str:
        """Name that ccxt has for a symbol."""
        self._markets = await client.load_markets()
        names = [
            market["symbol"]
            for market in self._markets.values()
            if market["spot"] and f"{market['base']}{market['quote']}" == symbol
        ]
        if len(names) != 1:
            raise SourceRefusedError(f"{self.name} offers {len(names)} spot markets {symbol}, 1 needed")
        return str(names[0])


def told_bar(row: Sequence[float], *, closed: bool) -> ToldBar:
    """Bar of a row: its opening in epoch milliseconds, then its values."""
    return ToldBar(_moment(row[0]), tuple(row[1:]), closed)


def streamed_book(symbol: str, book: Mapping[str, Any], *, levels: int) -> StreamedBook:
    """The best levels of a book that ccxt.pro keeps.

    Raises
    ------
    LostConnectionError
        When it is crossed, which only a lost change makes it: only another connection brings a whole book.
    """
    bids, asks = (tuple((row[0], row[1]) for row in book[side][:levels]) for side in ("bids", "asks"))
    if bids and asks and bids[0][0] >= asks[0][0]:
        raise LostConnectionError(f"the book is crossed: bid {bids[0][0]:g}, ask {asks[0][0]:g}")
    time = None if book["timestamp"] is None else _moment(book["timestamp"])
    return StreamedBook(symbol, time, book["nonce"], bids, asks)


def _client_class(identity: str) -> type[Any]:
    """Client of ccxt.pro that keeps what a venue says of a bar's closing, and, once closed, stays closed."""

    class Client(getattr(ccxt.pro, identity)):  # type: ignore[misc] # ccxt has a class a venue
        def __init__(self, settings: dict[str, Any]) -> None:
            self._bars: list[tuple[Values, bool]] = []
            self._left = False
            super().__init__(settings)

        def handle_ohlcv(self, client: Any, message: Any, *rest: Any) -> None:
            """Keep each state of a bar, in the shape that Binance sends."""
            if isinstance(bar := message.get("k"), dict) and self.id in TELLS_CLOSING:
                row = (int(bar["t"]), *(float(bar[name]) for name in "ohlcv"))
                self._bars.append((row, bool(bar["x"])))
            super().handle_ohlcv(client, message, *rest)

        def watch_multiple(self, url: str, *request: Any) -> Any:
            """Wait as ccxt does; a loss that comes when nobody waits any more is not told to the loop."""
            answer = super().watch_multiple(url, *request)
            for waiting in self.clients[url].futures.values():
                waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
            return answer

        def open(self) -> None:
            """Open a session, but none for what is still under way when the client is closed."""
            if self._left:
                raise ccxt.pro.NetworkError(f"{self.id} is closed")
            super().open()

        async def close(self) -> None:
            """Close all connections for good."""
            self._left = True
            await super().close()

        def told_bars(self) -> list[tuple[Values, bool]]:
            """States of bars since the last call, in the order in which they came."""
            bars, self._bars = self._bars, []
            return bars

    return Client


async def _merged(streams: list[AsyncGenerator[Item, None]]) -> AsyncGenerator[Item, None]:
    """Items of all streams as they come; none is read ahead of what was taken. The first error ends all."""
    items: asyncio.Queue[Item] = asyncio.Queue(maxsize=1)

    async def drain(stream: AsyncGenerator[Item, None]) -> None:
        async with aclosing(stream):
            async for item in stream:
                await items.put(item)

    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(drain(stream)) for stream in streams]
    try:
        while tasks:
            item = asyncio.create_task(items.get())
            done, _ = await asyncio.wait([item, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if item not in done:
                item.cancel()
                tasks.remove(ended := next(iter(done)))
                ended.result()
            else:
                yield item.result()
    finally:
        for task in (*tasks, item):
            task.cancel()
        await asyncio.gather(*tasks, item, return_exceptions=True)


async def _to_its_end(deed: Coroutine[Any, Any, None]) -> None:
    """Await a deed that a cancellation must not leave half done."""
    task = asyncio.create_task(deed)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _moved(address: Any, base_url: str) -> Any:
    """Addresses of ccxt with another server in place of the venue's; they may be nested by kind."""
    if isinstance(address, dict):
        return {kind: _moved(part, base_url) for kind, part in address.items()}
    parts = urlsplit(address)
    return (base_url.replace("http", "ws", 1) if parts.scheme.startswith("ws") else base_url) + parts.path


def _moment(epoch_ms: float) -> datetime:
    return plausible(_EPOCH + timedelta(milliseconds=epoch_ms))


def trade_frame(symbol: str, trades: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Trades of ccxt.pro in `TRADE_SCHEMA`."""
    rows = [
        (
            _moment(trade["timestamp"]),
            symbol,
            trade["id"],
            trade["price"],
            trade["amount"],
            None if trade["side"] is None else trade["side"] == "buy",
        )
        for trade in trades
    ]
    return pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")
