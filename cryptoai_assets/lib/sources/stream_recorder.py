"""A recording of order book and trades of any venue that ccxt.pro streams, in one form for all of them.

What is kept is what ccxt.pro makes of the venue's messages: the book once a second, and every trade.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptoai_assets.lib.orderbook.captures import streamed_event
from cryptoai_assets.lib.orderbook.events import MessageError
from cryptoai_assets.lib.orderbook.recordings import LineBuffer, Recordings
from cryptoai_assets.lib.sources.exchange_stream import ExchangeStream, StreamedBook, StreamedTrades

# Levels a side that are kept: what bars read of a liquid book, and a tenth of what the wire would take.
LEVELS = 100
BOOK_EVERY_NS = 10**9
# After a connection begins a venue may tell its last trades once more.
KEPT_TRADES = 10_000
_ANY_TIME_NS = 1


@dataclass(slots=True)
class TradeNumbers:
    """Numbers for the trades of one symbol, which count up, with a hole where some may have been missed.

    The venue's own names of trades tell only which came before: not all venues count.

    Parameters
    ----------
    newest
        Number before the first one; higher than any of an earlier recording.
    """

    newest: int
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def skip(self) -> None:
        """Leave a hole: trades may be missing here."""
        self.newest += 1

    def take(self, trade_id: str | None) -> int | None:
        """Number of the next trade; None of one that came before."""
        if trade_id is not None:
            if trade_id in self._known:
                return None
            self._known[trade_id] = None
            if len(self._known) > KEPT_TRADES:
                self._known.popitem(last=False)
        self.newest += 1
        return self.newest


@dataclass(slots=True)
class StreamRecorder:
    """Records until it is told to stop; lost connections are the stream's to open anew.

    Parameters
    ----------
    clock_ns
        Time of receipt, in epoch nanoseconds.
    """

    recordings: Recordings
    symbols: Sequence[str]
    stream: ExchangeStream
    clock_ns: Callable[[], int]

    def record(self, stopped: Callable[[], bool]) -> None:
        """Record until `stopped`, which is asked with each message.

        Raises
        ------
        SourceError
            When asking again is of no use: unknown symbol, no such stream.
        """
        asyncio.run(self._record(stopped))

    async def _record(self, stopped: Callable[[], bool]) -> None:
        lines = LineBuffer(self.recordings)
        numbers = {symbol: TradeNumbers(self.clock_ns()) for symbol in self.symbols}
        written: dict[str, int] = {}
        try:
            async with aclosing(self.stream.books_and_trades(self.symbols, levels=LEVELS)) as told:
                async for one in told:
                    now_ns = self.clock_ns()
                    if isinstance(one, StreamedTrades):
                        recorded = trade_lines(one, numbers[one.symbol])
                    elif now_ns - written.get(one.symbol, 0) >= BOOK_EVERY_NS:
                        written[one.symbol] = now_ns
                        recorded = [book_line(one)]
                    else:
                        recorded = []
                    for line in filter(partial(is_readable, one.symbol), recorded):
                        lines.add(one.symbol, now_ns, line)
                    if stopped():
                        return
        finally:
            lines.flush()


def is_readable(symbol: str, line: str) -> bool:
    """Whether a line can be read back: one that cannot would stop the bars of its whole day."""
    try:
        streamed_event(json.loads(line), _ANY_TIME_NS, symbol=symbol)
    except MessageError:
        return False
    return True


def book_line(book: StreamedBook) -> str:
    """Line of a book."""

    def side(levels: Sequence[tuple[float, float]]) -> list[list[str]]:
        return [[repr(price), repr(quantity)] for price, quantity in levels]

    return _line(
        "streamed_book",
        {
            "time_ms": None if book.time is None else round(book.time.timestamp() * 1000),
            "update_id": book.update_id,
            "levels": LEVELS,
            "bids": side(book.bids),
            "asks": side(book.asks),
        },
    )


def trade_lines(told: StreamedTrades, numbers: TradeNumbers) -> list[str]:
    """A line a trade; one whose taker's side is not told cannot be used, and counts as missed."""
    if told.after_gap:
        numbers.skip()
    lines = []
    for row in told.trades.iter_rows(named=True):
        number = numbers.take(row["trade_id"])
        if number is not None and row["buy"] is not None:
            trade = {
                "time_ms": round(row["time"].timestamp() * 1000),
                "number": number,
                "trade_id": row["trade_id"],
                "price": repr(row["price"]),
                "quantity": repr(row["volume"]),
                "buy": row["buy"],
            }
            lines.append(_line("streamed_trade", trade))
    return lines


def _line(kind: str, content: Mapping[str, Any]) -> str:
    return json.dumps({kind: content}, separators=(",", ":"))
