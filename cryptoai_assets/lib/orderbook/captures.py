"""Messages of Binance and Bitstamp as events, from a live stream or from a capture of one.

The functions from one decoded message to an event serve both. They return None for what is no market data,
such as the answer to a subscription. A capture is the same messages with the time of their receipt.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import TypeAlias, TypeVar

from cryptoai_assets.lib.orderbook.events import (
    BestQuote,
    Diff,
    Event,
    Level,
    MessageError,
    OrderBookError,
    Snapshot,
    Trade,
)

Parser: TypeAlias = Callable[[object, int], Event | None]
"""From a decoded message and the nanosecond of its receipt to an event."""

GREATEST_LINE_BYTES = 16 * 2**20
_PLAUSIBLE_NS = (946_684_800 * 10**9, 7_258_118_400 * 10**9)  # 2000 to 2200, as candles.py holds it
_BINANCE_OTHER_EVENTS = ("kline",)
_BITSTAMP_OTHER_EVENTS = (
    "bts:heartbeat",
    "bts:request_reconnect",
    "bts:subscribe",
    "bts:subscription_succeeded",
    "bts:unsubscription_succeeded",
)
_BITSTAMP_BOOK_LIMIT = 100  # levels a side in the channel order_book; the answer over HTTP is the whole book
_ZERO = re.compile(r"0(\.0+)?")
_LEAST, _GREATEST = 1e-18, 1e18  # prices and quantities; a hostile one must not overflow in a product
_NANOSECOND_LINE = re.compile(r"(?P<time>[0-9]{1,20}) (?P<message>.*)", re.DOTALL)
_SECOND_LINE = re.compile(
    r"(?:(?P<url>\S+) (?P<arrow><->|<-|->) )?(?P<seconds>[0-9]{1,11})(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?:: (?P<message>.*))?",
    re.DOTALL,
)


class CaptureError(OrderBookError):
    """A line of a capture cannot be read.

    Parameters
    ----------
    line
        Its number, counted from 1; the error stands behind the last line that could be read.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


def binance_event(message: object, known_at_ns: int) -> Event | None:
    """Event of a Binance message, spot or futures, alone or wrapped by a combined stream.

    Reads ``depthUpdate``, ``bookTicker``, ``trade`` and ``aggTrade``. A trade that is none on the market,
    such as one of the insurance fund (``X`` other than ``MARKET``), is no event.

    Raises
    ------
    MessageError
        When the message is of another kind than its protocol knows, or a field is absent or not as told.

    Source: Binance, web socket streams of spot and of USDⓈ-M futures.
    """
    outer = _object(message)
    data = _object(outer["data"]) if "stream" in outer and "data" in outer else outer
    kind = data.get("e")
    if kind is None and "u" in data:
        kind = "bookTicker"  # on the spot market it comes without its name and without a time
    if kind is None and ("result" in data or "error" in data):
        return None
    if kind == "depthUpdate":
        return _binance_diff(data, known_at_ns)
    if kind == "bookTicker":
        return _binance_quote(data, known_at_ns)
    if kind in ("trade", "aggTrade"):
        return _binance_trade(data, known_at_ns, number="t" if kind == "trade" else "a")
    if kind in _BINANCE_OTHER_EVENTS:
        return None
    raise MessageError(f"kind {_shown(kind)} is not known of Binance")


def binance_snapshot(message: object, known_at_ns: int, *, symbol: str, limit: int) -> Snapshot:
    """Snapshot of Binance's answer at ``/depth``, spot or futures, which names neither symbol nor limit.

    Raises
    ------
    MessageError
        When a field is absent or not as told.
    """
    data = _object(message)
    return Snapshot(
        symbol=symbol,
        known_at_ns=known_at_ns,
        event_time_ns=_binance_time(data, required=False),
        last_id=_whole(data, "lastUpdateId"),
        bids=_levels(data, "bids"),
        asks=_levels(data, "asks"),
        limit=limit,
    )


def bitstamp_event(message: object, known_at_ns: int) -> Event | None:
    """Event of a Bitstamp message in the channels ``diff_order_book``, ``order_book`` and ``live_trades``.

    Raises
    ------
    MessageError
        When the message is of another kind than its protocol knows, or a field is absent or not as told.

    Source: Bitstamp, websocket API v2.
    """
    outer = _object(message)
    if outer.get("event") in _BITSTAMP_OTHER_EVENTS:
        return None
    channel, _, pair = _text(outer, "channel").rpartition("_")
    kind = (channel, outer.get("event"))
    if not pair or kind not in (
        ("diff_order_book", "data"),
        ("order_book", "data"),
        ("live_trades", "trade"),
    ):
        raise MessageError(f"channel {_shown(outer['channel'])} is not known of Bitstamp")
    data, symbol = _object(outer.get("data")), _symbol(pair.upper())
    if channel == "order_book":
        return _bitstamp_book(data, known_at_ns, symbol=symbol, limit=_BITSTAMP_BOOK_LIMIT)
    if channel == "diff_order_book":
        moment = _whole_text(data, "microtimestamp")
        return Diff(
            symbol=symbol,
            known_at_ns=known_at_ns,
            event_time_ns=_plausible_ns(moment * 1000),
            first_id=moment,
            last_id=moment,
            previous_id=None,
            bids=_levels(data, "bids"),
            asks=_levels(data, "asks"),
        )
    price, quantity = _level([data.get("price_str"), data.get("amount_str")])
    return Trade(
        symbol=symbol,
        known_at_ns=known_at_ns,
        event_time_ns=_plausible_ns(_whole_text(data, "microtimestamp") * 1000),
        id=_whole(data, "id"),
        price=price,
        quantity=_positive(quantity),
        taker_side=_side(data.get("type"), buy=0, sell=1),
    )


def bitstamp_snapshot(message: object, known_at_ns: int, *, symbol: str) -> Snapshot:
    """Snapshot of Bitstamp's answer at ``/api/v2/order_book/<pair>``, the whole book.

    Raises
    ------
    MessageError
        When a field is absent or not as told.
    """
    return _bitstamp_book(_object(message), known_at_ns, symbol=symbol, limit=None)


def binance_capture(stream: BufferedIOBase, *, symbol: str, snapshot_limit: int) -> Iterator[Event]:
    """Events of lines ``<receive ns> <JSON>``, in which an answer of ``/depth`` stands among the messages.

    Raises
    ------
    CaptureError
        At the first line that cannot be read.
    """
    return _nanosecond_capture(
        stream, partial(_binance_event_or_snapshot, symbol=symbol, snapshot_limit=snapshot_limit)
    )


def recorded_capture(stream: BufferedIOBase, *, symbol: str, snapshot_limit: int) -> Iterator[Event]:
    """Events of our own recordings: as `binance_capture` reads them, or what `streamed_event` reads.

    Raises
    ------
    CaptureError
        At the first line that cannot be read.
    """

    def parse(message: object, known_at_ns: int) -> Event | None:
        if isinstance(message, dict) and message.keys() & {"streamed_book", "streamed_trade"}:
            return streamed_event(message, known_at_ns, symbol=symbol)
        return _binance_event_or_snapshot(message, known_at_ns, symbol=symbol, snapshot_limit=snapshot_limit)

    return _nanosecond_capture(stream, parse)


def streamed_event(message: object, known_at_ns: int, *, symbol: str) -> Event:
    """Event of a line that was recorded through ccxt.pro: a whole book, or a trade.

    The book is numbered by its receipt; trades are numbered by the recorder, with a hole where some may lie
    between two of them.

    Raises
    ------
    MessageError
        When a field is absent or not as told.
    """
    data = _object(message)
    if "streamed_book" in data:
        book = _object(data["streamed_book"])
        return Snapshot(
            symbol=symbol,
            known_at_ns=known_at_ns,
            event_time_ns=_streamed_time(book),
            last_id=known_at_ns,
            bids=_levels(book, "bids"),
            asks=_levels(book, "asks"),
            limit=_whole(book, "levels"),
        )
    trade = _object(data.get("streamed_trade"))
    price, quantity = _level([trade.get("price"), trade.get("quantity")])
    return Trade(
        symbol=symbol,
        known_at_ns=known_at_ns,
        event_time_ns=_streamed_time(trade),
        id=_whole(trade, "number"),
        price=price,
        quantity=_positive(quantity),
        taker_side=_side(trade.get("buy"), buy=True, sell=False),
    )


def stream_capture(stream: BufferedIOBase, parse: Parser) -> Iterator[Event]:
    """Events of lines ``<receive s>: <JSON>``; the openings ``<->`` and requests ``<-`` are passed over.

    Raises
    ------
    CaptureError
        At the first line that cannot be read.
    """
    for number, match in _second_lines(stream):
        if match["arrow"] is None:
            event = _read(number, _second_ns(match), match["message"], parse)
            if event is not None:
                yield event


def bitstamp_http_capture(stream: BufferedIOBase) -> Iterator[Snapshot]:
    """Snapshots of lines ``<URL> -> <receive s>: <JSON>``; the pair is the last part of the URL.

    Raises
    ------
    CaptureError
        At the first line that cannot be read.
    """
    for number, match in _second_lines(stream):
        if match["arrow"] != "->":
            raise CaptureError(number, f"{_shown(match[0])} is not '<URL> -> <receive s>: <JSON>'")
        symbol = match["url"].rstrip("/").rpartition("/")[2].upper()
        if not symbol:
            raise CaptureError(number, f"{_shown(match[0])} names no pair")
        parse = partial(bitstamp_snapshot, symbol=symbol)
        yield _read(number, _second_ns(match), match["message"], parse)


def open_capture(path: Path) -> BufferedIOBase:
    """The bytes of a capture, unpacked where its name ends in ``.gz``."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


_Parsed = TypeVar("_Parsed")


def _read(
    number: int, known_at_ns: int, text: str | None, parse: Callable[[object, int], _Parsed]
) -> _Parsed:
    try:
        return parse(json.loads(text or ""), _plausible_ns(known_at_ns))
    except MessageError as error:
        raise CaptureError(number, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CaptureError(number, f"{_shown(text)} is not JSON: {error}") from error


def _nanosecond_capture(stream: BufferedIOBase, parse: Parser) -> Iterator[Event]:
    for number, line in _numbered_lines(stream):
        match = _NANOSECOND_LINE.fullmatch(line)
        if match is None:
            raise CaptureError(number, f"{_shown(line)} is not '<receive ns> <JSON>'")
        event = _read(number, int(match["time"]), match["message"], parse)
        if event is not None:
            yield event


def _numbered_lines(stream: BufferedIOBase) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their end."""
    number = 0
    while True:
        number += 1
        try:
            raw = stream.readline(GREATEST_LINE_BYTES + 1)
            line = raw.decode().rstrip("\r\n")
        except (OSError, EOFError, zlib.error) as error:
            raise CaptureError(number, f"the file is damaged: {error}") from error
        except UnicodeDecodeError as error:
            raise CaptureError(number, f"the text is not UTF-8: {error}") from error
        if not raw:
            return
        if len(raw) > GREATEST_LINE_BYTES:
            raise CaptureError(number, f"longer than {GREATEST_LINE_BYTES} bytes")
        if line.strip():
            yield number, line


def _second_lines(stream: BufferedIOBase) -> Iterator[tuple[int, re.Match[str]]]:
    for number, line in _numbered_lines(stream):
        match = _SECOND_LINE.fullmatch(line)
        if match is None or (match["message"] is None and match["arrow"] != "<->"):
            raise CaptureError(number, f"{_shown(line)} is not '<receive s>: <JSON>'")
        yield number, match


def _second_ns(match: re.Match[str]) -> int:
    return int(match["seconds"]) * 10**9 + int((match["fraction"] or "").ljust(9, "0"))


def _binance_event_or_snapshot(
    message: object, known_at_ns: int, *, symbol: str, snapshot_limit: int
) -> Event | None:
    if isinstance(message, dict) and "lastUpdateId" in message:
        return binance_snapshot(message, known_at_ns, symbol=symbol, limit=snapshot_limit)
    return binance_event(message, known_at_ns)


def _binance_diff(data: dict[str, object], known_at_ns: int) -> Diff:
    first, last = _whole(data, "U"), _whole(data, "u")
    if first > last:
        raise MessageError(f"first change U {first} is after the last change u {last}")
    return Diff(
        symbol=_symbol(data.get("s")),
        known_at_ns=known_at_ns,
        event_time_ns=_binance_time(data, required=True),
        first_id=first,
        last_id=last,
        previous_id=_whole(data, "pu") if "pu" in data else None,
        bids=_levels(data, "b"),
        asks=_levels(data, "a"),
    )


def _binance_quote(data: dict[str, object], known_at_ns: int) -> BestQuote | None:
    """None when a side of the book is empty, which is told as price 0."""
    sides = [data.get("b"), data.get("B")], [data.get("a"), data.get("A")]
    if any(isinstance(price, str) and _ZERO.fullmatch(price) for price, _ in sides):
        return None
    return BestQuote(
        symbol=_symbol(data.get("s")),
        known_at_ns=known_at_ns,
        event_time_ns=_binance_time(data, required=False),
        update_id=_whole(data, "u"),
        bid=_level(sides[0]),
        ask=_level(sides[1]),
    )


def _binance_trade(data: dict[str, object], known_at_ns: int, *, number: str) -> Trade | None:
    if data.get("X", "MARKET") != "MARKET":
        return None
    price, quantity = _level([data.get("p"), data.get("q")])
    return Trade(
        symbol=_symbol(data.get("s")),
        known_at_ns=known_at_ns,
        event_time_ns=_binance_time(data, required=True),
        id=_whole(data, number),
        price=price,
        quantity=_positive(quantity),
        taker_side=_side(data.get("m"), buy=False, sell=True),
    )


def _bitstamp_book(data: dict[str, object], known_at_ns: int, *, symbol: str, limit: int | None) -> Snapshot:
    moment = _whole_text(data, "microtimestamp")
    return Snapshot(
        symbol=symbol,
        known_at_ns=known_at_ns,
        event_time_ns=_plausible_ns(moment * 1000),
        last_id=moment,
        bids=_levels(data, "bids"),
        asks=_levels(data, "asks"),
        limit=limit,
    )


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MessageError(f"{_shown(value)} is no JSON object")
    return value


def _text(data: dict[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise MessageError(f"{name} is {_shown(value)}, text needed")
    return value


def _symbol(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value or " " in value:
        raise MessageError(f"symbol is {_shown(value)}, printable text needed")
    return value


def _whole(data: dict[str, object], name: str) -> int:
    value = data.get(name)
    if type(value) is not int or not 0 <= value < 2**63:
        raise MessageError(f"{name} is {_shown(value)}, a whole number needed")
    return value


def _whole_text(data: dict[str, object], name: str) -> int:
    value = _text(data, name)
    if re.fullmatch(r"[0-9]{1,18}", value) is None:
        raise MessageError(f"{name} is {_shown(value)}, a whole number as text needed")
    return int(value)


def _binance_time(data: dict[str, object], *, required: bool) -> int | None:
    """Time of the change, where it is told (T), else of the message (E)."""
    name = "T" if "T" in data else "E"
    if name not in data and not required:
        return None
    return _plausible_ns(_whole(data, name) * 10**6)


def _streamed_time(data: dict[str, object]) -> int | None:
    return None if data.get("time_ms") is None else _plausible_ns(_whole(data, "time_ms") * 10**6)


def _plausible_ns(moment: int) -> int:
    if not _PLAUSIBLE_NS[0] <= moment < _PLAUSIBLE_NS[1]:
        raise MessageError(f"time {moment} ns is not in the years 2000 to 2199")
    return moment


def _levels(data: dict[str, object], name: str) -> list[Level]:
    raw = data.get(name)
    if not isinstance(raw, list):
        raise MessageError(f"{name} is {_shown(raw)}, a list of levels needed")
    return [_level(pair) for pair in raw]


def _level(pair: object) -> Level:
    if type(pair) is list and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) is str:
        try:
            price, quantity = float(pair[0]), float(pair[1])
        except ValueError:
            pass
        else:
            if _LEAST <= price <= _GREATEST and (quantity == 0 or _LEAST <= quantity <= _GREATEST):
                return price, quantity
    raise MessageError(
        f"{_shown(pair)} is not price and quantity, two numbers of {_LEAST} to {_GREATEST} as text"
    )


def _positive(quantity: float) -> float:
    if quantity == 0:
        raise MessageError("the quantity of a trade is 0")
    return quantity


def _side(value: object, *, buy: object, sell: object) -> int:
    for known, side in ((buy, 1), (sell, -1)):
        if type(value) is type(known) and value == known:
            return side
    raise MessageError(f"{_shown(value)} tells no side of a trade")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
