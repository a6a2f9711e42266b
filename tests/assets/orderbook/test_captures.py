"""Messages and captures: what the venues really sent becomes events, and hostile text a named error."""

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from fakes.sound_events import is_sound
from hypothesis import example, given
from hypothesis import strategies as st

from cryptoai_assets.lib.orderbook.captures import (
    GREATEST_LINE_BYTES,
    CaptureError,
    binance_capture,
    binance_event,
    binance_snapshot,
    bitstamp_event,
    bitstamp_http_capture,
    bitstamp_snapshot,
    open_capture,
    recorded_capture,
    stream_capture,
    streamed_event,
)
from cryptoai_assets.lib.orderbook.events import BestQuote, Diff, Event, MessageError, Snapshot, Trade

NOW = 1_700_000_000_123_456_789
MS = 1_700_000_000_000
DIFF = {
    "e": "depthUpdate",
    "E": MS,
    "T": MS - 1,
    "s": "BTCUSDT",
    "U": 5,
    "u": 7,
    "pu": 4,
    "b": [["100.5", "2"]],
    "a": [["101", "0.000"]],
}
QUOTE = {"u": 7, "s": "BTCUSDT", "b": "100.5", "B": "2", "a": "101", "A": "3"}
TRADE = {
    "e": "trade",
    "E": MS,
    "T": MS,
    "s": "BTCUSDT",
    "t": 9,
    "p": "100.5",
    "q": "2",
    "X": "MARKET",
    "m": True,
}
BOOK = {"lastUpdateId": 6, "bids": [["100.5", "2"]], "asks": [["101", "3"]]}
BITSTAMP_BOOK = {"microtimestamp": f"{MS}000", "bids": [["100.5", "2"]], "asks": [["101", "3"]]}
BITSTAMP_DIFF = {"event": "data", "channel": "diff_order_book_btcusd", "data": BITSTAMP_BOOK}
BITSTAMP_TRADE = {
    "event": "trade",
    "channel": "live_trades_btcusd",
    "data": {"id": 9, "price_str": "100.5", "amount_str": "2", "type": 1, "microtimestamp": f"{MS}000"},
}
STREAMED_BOOK = {
    "streamed_book": {
        "time_ms": MS,
        "update_id": None,
        "levels": 100,
        "bids": [["100.5", "2"]],
        "asks": [["101", "3"]],
    }
}
STREAMED_TRADE = {
    "streamed_trade": {
        "time_ms": MS,
        "number": 9,
        "trade_id": "a",
        "price": "100.5",
        "quantity": "2",
        "buy": False,
    }
}


def test_binance_messages_become_events() -> None:
    assert binance_event({"stream": "btcusdt@depth", "data": DIFF}, NOW) == Diff(
        "BTCUSDT", NOW, (MS - 1) * 10**6, 5, 7, 4, [(100.5, 2.0)], [(101.0, 0.0)]
    )
    assert binance_event(QUOTE, NOW) == BestQuote("BTCUSDT", NOW, None, 7, (100.5, 2.0), (101.0, 3.0))
    assert binance_event(TRADE, NOW) == Trade("BTCUSDT", NOW, MS * 10**6, 9, 100.5, 2.0, -1)
    aggregate = {**TRADE, "e": "aggTrade", "a": 8, "m": False}
    assert binance_event(aggregate, NOW) == Trade("BTCUSDT", NOW, MS * 10**6, 8, 100.5, 2.0, 1)
    assert binance_snapshot(BOOK, NOW, symbol="BTCUSDT", limit=1000) == Snapshot(
        "BTCUSDT", NOW, None, 6, [(100.5, 2.0)], [(101.0, 3.0)], 1000
    )


def test_streamed_messages_become_events() -> None:
    book = streamed_event(STREAMED_BOOK, NOW, symbol="BTCUSD")
    assert book == Snapshot("BTCUSD", NOW, MS * 10**6, NOW, [(100.5, 2.0)], [(101.0, 3.0)], 100)
    trade = streamed_event(STREAMED_TRADE, NOW, symbol="BTCUSD")
    assert trade == Trade("BTCUSD", NOW, MS * 10**6, 9, 100.5, 2.0, -1)
    lines = "".join(f"{NOW} {json.dumps(one)}\n" for one in (STREAMED_BOOK, DIFF, BOOK))
    kinds = recorded_capture(io.BytesIO(lines.encode()), symbol="BTCUSDT", snapshot_limit=1000)
    assert [type(event) for event in kinds] == [Snapshot, Diff, Snapshot]


@pytest.mark.parametrize("change", [{"buy": None}, {"buy": 0}, {"number": "9"}, {"time_ms": 12}])
def test_streamed_trade_that_is_not_as_told_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        streamed_event(
            {"streamed_trade": {**STREAMED_TRADE["streamed_trade"], **change}}, NOW, symbol="BTCUSD"
        )


def test_bitstamp_messages_become_events() -> None:
    assert bitstamp_event(BITSTAMP_DIFF, NOW) == Diff(
        "BTCUSD", NOW, MS * 10**6, MS * 1000, MS * 1000, None, [(100.5, 2.0)], [(101.0, 3.0)]
    )
    assert bitstamp_event(BITSTAMP_TRADE, NOW) == Trade("BTCUSD", NOW, MS * 10**6, 9, 100.5, 2.0, -1)
    full = bitstamp_event({**BITSTAMP_DIFF, "channel": "order_book_btcusd"}, NOW)
    assert full == Snapshot("BTCUSD", NOW, MS * 10**6, MS * 1000, [(100.5, 2.0)], [(101.0, 3.0)], 100)
    whole = bitstamp_snapshot(BITSTAMP_BOOK, NOW, symbol="BTCUSD")
    assert whole.limit is None


@pytest.mark.parametrize(
    "message",
    [
        {"result": None, "id": 1},
        {"e": "kline", "k": {}},
        {**TRADE, "X": "INSURANCE_FUND"},
        {**QUOTE, "b": "0.00000000", "B": "0.00000000"},
    ],
)
def test_binance_message_that_is_no_market_data_is_no_event(message: object) -> None:
    assert binance_event(message, NOW) is None


def test_bitstamp_message_that_is_no_market_data_is_no_event() -> None:
    assert bitstamp_event({"event": "bts:heartbeat", "channel": "", "data": {}}, NOW) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"e": "liquidation"}, "kind 'liquidation' is not known"),
        ({"U": 8}, "first change U 8 is after the last change u 7"),
        ({"u": "7"}, "u is '7', a whole number needed"),
        ({"u": True}, "u is True"),
        ({"u": 2**63}, "u is 9223372036854775808"),
        ({"s": "\ud800"}, "symbol is"),
        ({"T": 0}, "not in the years 2000 to 2199"),
        ({"b": {}}, "b is {}, a list of levels needed"),
        ({"b": [["1", "2", "3"]]}, "is not price and quantity"),
        ({"b": ["12"]}, "'12' is not price and quantity"),
        ({"b": [[1.5, 2.0]]}, "is not price and quantity"),
        ({"b": [["nan", "1"]]}, "is not price and quantity"),
        ({"b": [["0", "1"]]}, "is not price and quantity"),
        ({"b": [["1", "-1"]]}, "is not price and quantity"),
        ({"b": [["1", "1e300"]]}, "is not price and quantity"),
    ],
)
def test_message_that_breaks_its_protocol_is_refused_by_name(change: dict[str, object], told: str) -> None:
    with pytest.raises(MessageError, match=told.replace("{", r"\{")):
        binance_event({**DIFF, **change}, NOW)


@pytest.mark.parametrize(
    "message",
    [
        [],
        {**BITSTAMP_DIFF, "channel": "detail_orders_btcusd"},
        {**BITSTAMP_DIFF, "event": "trade"},
        {**BITSTAMP_DIFF, "data": None},
        {**BITSTAMP_DIFF, "data": {**BITSTAMP_BOOK, "microtimestamp": "１７"}},
        {**BITSTAMP_TRADE, "data": {**BITSTAMP_TRADE["data"], "type": False}},
        {**BITSTAMP_TRADE, "data": {**BITSTAMP_TRADE["data"], "amount_str": "0"}},
    ],
)
def test_bitstamp_message_that_breaks_its_protocol_is_refused(message: object) -> None:
    with pytest.raises(MessageError):
        bitstamp_event(message, NOW)


def futures_lines(text: bytes) -> list[Event]:
    return list(binance_capture(io.BytesIO(text), symbol="BTCUSDT", snapshot_limit=1000))


def test_error_tells_the_number_of_the_line_behind_the_good_ones() -> None:
    good = f"{NOW} {json.dumps(DIFF)}\n".encode()
    events = binance_capture(io.BytesIO(good + b"\n" + good + b"12 {}"), symbol="X", snapshot_limit=1)
    assert [next(events).known_at_ns, next(events).known_at_ns] == [NOW, NOW]
    with pytest.raises(CaptureError, match="line 4: time 12 ns is not in the years") as caught:
        next(events)
    assert caught.value.line == 4


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"hello", "is not '<receive ns> <JSON>'"),
        (f"{NOW} ".encode(), "is not JSON"),
        (f"{NOW} {{".encode(), "is not JSON"),
        (f"{NOW} ".encode() + b"[" * 100_000, "is not JSON"),
        (f"{NOW} {'9' * 5000}".encode(), "is not JSON"),
        (f"{NOW} []".encode(), r"\[\] is no JSON object"),
        (b"\xff", "not UTF-8"),
        (b" " * (GREATEST_LINE_BYTES + 1), "longer than 16777216 bytes"),
    ],
)
def test_bad_line_is_named(line: bytes, told: str) -> None:
    with pytest.raises(CaptureError, match=told):
        futures_lines(line)


def test_damaged_archive_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(f"{NOW} {json.dumps(DIFF)}\n".encode() * 1000)
    for damaged in (whole[:-9], whole[:40] + b"\0" * 20 + whole[60:], b"no archive"):
        (tmp_path / "capture.gz").write_bytes(damaged)
        with (
            open_capture(tmp_path / "capture.gz") as stream,
            pytest.raises(CaptureError, match="the file is damaged"),
        ):
            list(binance_capture(stream, symbol="BTCUSDT", snapshot_limit=1000))


def test_seconds_become_nanoseconds_exactly() -> None:
    (event,) = stream_capture(
        io.BytesIO(b"1700000000.12345678: " + json.dumps(QUOTE).encode()), binance_event
    )
    assert event.known_at_ns == 1_700_000_000_123_456_780


def test_openings_and_requests_are_passed_over() -> None:
    text = b'wss://host/ <-> 1641343690.5\nwss://host/ <- 1641343691.0: {"event":"bts:subscribe"}\n'
    assert list(stream_capture(io.BytesIO(text), bitstamp_event)) == []
    with pytest.raises(CaptureError, match=r"line 1: .* is not '<URL> -> <receive s>: <JSON>'"):
        list(bitstamp_http_capture(io.BytesIO(text)))
    with pytest.raises(CaptureError, match=r"line 1: .* is not '<receive s>: <JSON>'"):
        list(stream_capture(io.BytesIO(b"1641343691.0"), bitstamp_event))
    with pytest.raises(CaptureError, match="names no pair"):
        list(bitstamp_http_capture(io.BytesIO(b"/ -> 1641343691.0: {}")))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["1", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MESSAGES: list[dict[str, object]] = [
    *(DIFF, QUOTE, TRADE, BOOK),
    *(BITSTAMP_DIFF, BITSTAMP_TRADE, BITSTAMP_BOOK),
    *(dict(STREAMED_BOOK), dict(STREAMED_TRADE)),
]


@st.composite
def changed_messages(draw: st.DrawFn) -> object:
    """A real message with fields that are gone, exchanged, or anything."""
    message = dict(draw(st.sampled_from(MESSAGES)))
    within = next((name for name in ("data", *STREAMED_BOOK, *STREAMED_TRADE) if name in message), "")
    inner = message.get(within)
    data = dict(inner) if isinstance(inner, dict) and draw(st.booleans()) else message
    for name in draw(st.lists(st.sampled_from(sorted(data)), max_size=3)):
        if draw(st.booleans()):
            data.pop(name, None)
        else:
            data[name] = draw(JSON | st.sampled_from(list(data.values()) or [None]))
    return {**message, within: data} if data is not message else message


def read_all(text: bytes) -> list[Event]:
    """What every reader makes of the same bytes, up to its first named error."""
    readers: list[Callable[[io.BytesIO], object]] = [
        lambda stream: binance_capture(stream, symbol="BTCUSDT", snapshot_limit=1000),
        lambda stream: recorded_capture(stream, symbol="BTCUSDT", snapshot_limit=1000),
        lambda stream: stream_capture(stream, binance_event),
        lambda stream: stream_capture(stream, bitstamp_event),
        bitstamp_http_capture,
    ]
    events: list[Event] = []
    for reader in readers:
        try:
            events.extend(reader(io.BytesIO(text)))
        except CaptureError as error:
            assert 1 <= error.line <= text.count(b"\n") + 1  # noqa: PT017 - of an error that most texts do not raise
    return events


@given(message=changed_messages() | JSON)
def test_changed_message_is_a_sound_event_or_a_named_error(message: object) -> None:
    text = json.dumps(message)
    lines = [f"{NOW} {text}\n", f"1700000000.5: {text}\n", f"https://host/btcusd -> 1700000000.5: {text}\n"]
    assert all(is_sound(event) for line in lines for event in read_all(line.encode("utf-8", "surrogatepass")))


@given(text=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
@example(f"{'9' * 20} {{}}".encode())
@example(b"99999999999.999999999: {}")
def test_any_bytes_are_read_or_refused_by_line(text: bytes) -> None:
    assert all(is_sound(event) for event in read_all(text))


@given(data=st.data())
def test_damaged_real_line_is_read_or_refused_by_line(data: st.DataObject) -> None:
    message = json.dumps(data.draw(st.sampled_from(MESSAGES)))
    prefix = data.draw(
        st.sampled_from([f"{NOW} ", "1700000000.5: ", "https://host/btcusd -> 1700000000.5: "])
    )
    line = bytearray((prefix + message).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(line) - 1))
        line[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        line = line or bytearray(b"?")
    assert all(is_sound(event) for event in read_all(bytes(line)))


def test_real_futures_capture_is_read_whole(futures_events: list[Event]) -> None:
    counts = Counter(type(event) for event in futures_events)
    assert counts == {Diff: 6551, BestQuote: 66089, Trade: 21313, Snapshot: 1}
    assert all(earlier.known_at_ns <= later.known_at_ns for earlier, later in pairwise(futures_events))
    behind = [event.event_time_ns - event.known_at_ns for event in futures_events if event.event_time_ns]
    assert 1.1e9 < sorted(behind)[len(behind) // 2] < 1.3e9  # the receive clock runs behind the exchange's


def test_real_spot_and_bitstamp_captures_are_read_whole(shared_data: Callable[[str], Path]) -> None:
    with open_capture(shared_data("wire/binance_spot.ws.txt")) as stream:
        spot = Counter(type(event) for event in stream_capture(stream, binance_event))
    with open_capture(shared_data("wire/bitstamp.ws.txt")) as stream:
        bitstamp = Counter(type(event) for event in stream_capture(stream, bitstamp_event))
    with open_capture(shared_data("wire/bitstamp.http.txt")) as stream:
        books = list(bitstamp_http_capture(stream))
    assert spot == {Diff: 177, BestQuote: 84, Trade: 2}
    assert bitstamp == {Diff: 717, Trade: 10}
    assert [book.symbol for book in books][:2] == ["SGBEUR", "ETHUSD"]
    assert len(books) == 10
