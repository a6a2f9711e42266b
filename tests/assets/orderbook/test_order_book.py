"""The local book: equal to the venue's while it is served, and every fault of the stream is named."""

import gzip
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.orderbook.book import (
    BINANCE_FUTURES,
    BINANCE_SPOT,
    BITSTAMP,
    Anomaly,
    AnomalyKind,
    LocalBook,
    SequenceRules,
    TradeTape,
)
from cryptoai_assets.lib.orderbook.captures import (
    binance_event,
    bitstamp_event,
    bitstamp_http_capture,
    open_capture,
    stream_capture,
)
from cryptoai_assets.lib.orderbook.events import (
    BestQuote,
    BookNotServedError,
    Diff,
    Event,
    Level,
    OrderBookError,
    Snapshot,
    Trade,
)

NOW = 1_700_000_000 * 10**9
BIDS, ASKS = [(99.0, 1.0), (98.0, 2.0)], [(101.0, 1.0), (102.0, 2.0)]


def snapshot(last_id: int, bids: list[Level] = BIDS, asks: list[Level] = ASKS) -> Snapshot:
    return Snapshot("BTCUSDT", NOW, None, last_id, bids, asks, None)


def diff(first: int, last: int, bids: list[Level] | None = None, asks: list[Level] | None = None) -> Diff:
    return Diff("BTCUSDT", NOW, NOW, first, last, first - 1, bids or [], asks or [])


def quote(update_id: int, bid: float, ask: float) -> BestQuote:
    return BestQuote("BTCUSDT", NOW, NOW, update_id, (bid, 1.0), (ask, 1.0))


def trade(number: int) -> Trade:
    return Trade("BTCUSDT", NOW, NOW, number, 100.0, 1.0, 1)


def empty_book(rules: SequenceRules = BINANCE_SPOT) -> LocalBook:
    return LocalBook("BTCUSDT", rules, kept_diffs=1000)


def kinds(anomalies: list[Anomaly]) -> list[AnomalyKind]:
    return [anomaly.kind for anomaly in anomalies]


def test_kept_diffs_are_applied_to_an_older_snapshot() -> None:
    book = empty_book()
    assert book.take(diff(1, 10, bids=[(97.0, 9.0)])) == []
    assert book.take(diff(11, 20, bids=[(99.5, 3.0)])) == []
    assert book.take(snapshot(15)) == []
    assert book.bids(2) == [(99.5, 3.0), (99.0, 1.0)]
    assert book.asks(9) == ASKS


def test_level_with_quantity_zero_is_removed_also_when_it_is_unknown() -> None:
    book = empty_book()
    book.take(snapshot(10))
    assert book.take(diff(11, 11, bids=[(99.0, 0.0), (50.0, 0.0)], asks=[(101.0, 5.0)])) == []
    assert book.bids(9) == [(98.0, 2.0)]
    assert book.asks(1) == [(101.0, 5.0)]


def test_gap_is_named_and_the_book_is_not_served_until_a_snapshot_covers_it() -> None:
    book = empty_book()
    book.take(snapshot(10))
    (gap,) = book.take(diff(13, 14, bids=[(99.5, 1.0)]))
    assert str(gap) == "gap in BTCUSDT: 13 came after 10"
    with pytest.raises(BookNotServedError, match="give it a snapshot of Binance spot"):
        book.bids(1)
    assert kinds(book.take(snapshot(11))) == ["old snapshot"]
    assert not book.synchronised
    assert book.take(snapshot(12)) == []
    assert book.bids(1) == [(99.5, 1.0)]


def test_duplicate_is_named_and_changes_nothing() -> None:
    book = empty_book()
    book.take(snapshot(10))
    book.take(diff(11, 11, bids=[(99.5, 1.0)]))
    book.take(diff(12, 12, bids=[(99.5, 0.0)]))
    assert kinds(book.take(diff(11, 11, bids=[(99.5, 1.0)]))) == ["duplicate"]
    assert book.bids(1) == [(99.0, 1.0)]


def test_late_diff_is_a_gap_first_and_out_of_order_then_and_the_next_snapshot_uses_it() -> None:
    book = empty_book(BINANCE_FUTURES)
    book.take(snapshot(10))
    assert kinds(book.take(diff(12, 12, bids=[(99.0, 7.0)]))) == ["gap"]
    assert kinds(book.take(diff(11, 11, bids=[(99.0, 5.0), (98.5, 5.0)]))) == ["out of order"]
    assert not book.synchronised
    assert book.take(snapshot(10)) == []
    assert book.bids(2) == [(99.0, 7.0), (98.5, 5.0)]


def test_gap_among_the_diffs_before_the_first_snapshot_is_named() -> None:
    book = empty_book()
    book.take(diff(1, 5))
    assert kinds(book.take(diff(7, 9))) == ["gap"]


def test_first_diff_after_a_snapshot_has_to_reach_it() -> None:
    book = empty_book(BINANCE_FUTURES)
    book.take(snapshot(10))
    assert kinds(book.take(diff(12, 13))) == ["gap"]


def test_gap_that_the_snapshot_covers_is_named_and_the_book_served_on() -> None:
    book = empty_book()
    book.take(diff(1, 5))
    book.take(snapshot(10))
    assert kinds(book.take(diff(9, 11, bids=[(99.5, 1.0)]))) == ["gap"]
    assert book.bids(1) == [(99.5, 1.0)]


def test_crossed_book_is_named_and_not_served() -> None:
    book = empty_book()
    book.take(snapshot(10))
    assert kinds(book.take(diff(11, 11, bids=[(101.0, 1.0)]))) == ["crossed"]
    assert not book.synchronised
    assert kinds(book.take(snapshot(12, bids=[(103.0, 1.0)]))) == ["crossed"]
    assert not book.synchronised


def test_older_snapshot_does_not_take_a_served_book_back() -> None:
    book = LocalBook("BTCUSDT", BINANCE_SPOT, kept_diffs=1)
    book.take(snapshot(10))
    book.take(diff(11, 11, bids=[(99.5, 1.0)]))
    book.take(diff(12, 12, bids=[(99.6, 1.0)]))
    assert kinds(book.take(snapshot(10))) == ["old snapshot"]
    assert book.bids(1) == [(99.6, 1.0)]


def test_older_snapshot_is_refused_also_before_the_first_diff() -> None:
    book = empty_book()
    book.take(snapshot(10))
    assert kinds(book.take(snapshot(9, bids=[(50.0, 1.0)]))) == ["old snapshot"]
    assert book.bids(1) == BIDS[:1]


def test_best_quote_that_came_before_the_snapshot_holds_where_it_is_newer() -> None:
    book = empty_book()
    book.take(quote(11, bid=98.0, ask=102.0))
    book.take(snapshot(10))
    assert (book.bids(1), book.asks(1)) == (BIDS[1:], ASKS[1:])


def test_levels_that_come_and_go_leave_no_memory_behind() -> None:
    book = empty_book()
    book.take(snapshot(0))
    tracemalloc.start()
    for number in range(1, 40_001, 2):
        price = 1.0 + number / 10**6
        book.take(diff(number, number, bids=[(price, 1.0)]))
        book.take(diff(number + 1, number + 1, bids=[(price, 0.0)]))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert book.bids(9) == BIDS
    assert peak_bytes < 700_000  # of which the 1,000 kept diffs are the most


def test_best_quote_removes_better_levels_only_when_it_is_newer_than_the_book() -> None:
    book = empty_book()
    book.take(snapshot(10))
    assert book.take(quote(10, bid=98.0, ask=102.0)) == []
    assert book.bids(1) == BIDS[:1]
    assert book.take(quote(11, bid=98.0, ask=102.0)) == []
    assert (book.bids(1), book.asks(1)) == (BIDS[1:], ASKS[1:])
    assert kinds(book.take(quote(12, bid=98.0, ask=98.0))) == ["crossed"]


def test_reach_ends_where_a_limited_snapshot_ends() -> None:
    book = empty_book()
    book.take(replace(snapshot(10), limit=2))
    assert book.reach() == (98.0, 102.0)
    book.take(replace(snapshot(11), limit=3))
    assert book.reach() == (0.0, float("inf"))


def test_message_of_another_symbol_is_refused() -> None:
    with pytest.raises(OrderBookError, match="BTCUSDT was given a message of ETHUSDT"):
        empty_book().take(replace(snapshot(1), symbol="ETHUSDT"))
    with pytest.raises(OrderBookError, match="BTCUSDT was given a trade of ETHUSDT"):
        TradeTape("BTCUSDT", BITSTAMP, kept_ids=1).take(replace(trade(1), symbol="ETHUSDT"))


def test_late_diff_of_a_venue_without_numbers_stops_the_book() -> None:
    book = empty_book(BITSTAMP)
    book.take(snapshot(10))
    book.take(diff(12, 12))
    assert book.synchronised
    assert kinds(book.take(diff(11, 11))) == ["out of order"]
    assert not book.synchronised
    assert book.take(snapshot(13)) == []
    assert kinds(book.take(diff(9, 9))) == ["out of order"]
    assert book.synchronised  # the snapshot holds it already


def test_trades_that_are_lost_doubled_or_late_are_named() -> None:
    tape = TradeTape("BTCUSDT", BINANCE_SPOT, kept_ids=3)
    found = [tape.take(trade(number)) for number in (5, 6, 6, 8, 7, 9)]
    assert [anomaly and anomaly.kind for anomaly in found] == [
        None,
        None,
        "duplicate",
        "gap",
        "out of order",
        None,
    ]
    tape = TradeTape("BTCUSDT", BITSTAMP, kept_ids=3)
    assert [tape.take(trade(number)) for number in (5, 9)] == [None, None]


CHANGE = st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3))
FAULT = st.sampled_from(["none", "none", "none", "lost", "doubled", "swapped"])


@given(
    changes=st.lists(st.tuples(st.lists(CHANGE, min_size=1, max_size=4), FAULT), min_size=1, max_size=30),
    snapshots=st.dictionaries(st.integers(0, 29), st.integers(-3, 3)),
    rules=st.sampled_from([BINANCE_SPOT, BINANCE_FUTURES]),
)
def test_served_book_is_the_venues_whatever_the_faults(
    changes: list[tuple[list[tuple[bool, int, int]], str]], snapshots: dict[int, int], rules: SequenceRules
) -> None:
    truth: dict[bool, dict[float, float]] = {True: {}, False: {}}
    history = {100: (dict(truth[True]), dict(truth[False]))}
    sent: list[tuple[Diff, str]] = []
    last = 100
    for batch, fault in changes:
        levels: dict[bool, list[Level]] = {True: [], False: []}
        for is_bid, place, quantity in batch:
            price = 50.0 - place if is_bid else 51.0 + place
            levels[is_bid].append((price, float(quantity)))
            truth[is_bid][price] = float(quantity)
        sent.append((diff(last + 1, last + len(batch), levels[True], levels[False]), fault))
        last += len(batch)
        history[last] = (dict(truth[True]), dict(truth[False]))

    book = empty_book(rules)
    found: Counter[AnomalyKind] = Counter()
    received: list[Diff] = []
    for change, fault in sent:
        copies = {"lost": 0, "doubled": 2}.get(fault, 1)
        place = len(received) - 1 if fault == "swapped" and received else len(received)
        received[place:place] = [change] * copies
    numbers, newest = sorted(history), 100
    for index, change in enumerate(received):
        if index in snapshots:
            place = numbers.index(change.last_id) + snapshots[index]
            number = numbers[min(max(place, 0), len(numbers) - 1)]
            bids, asks = history[number]
            if not book.take(snapshot(number, sorted(bids.items()), sorted(asks.items()))):
                newest = max(newest, number)
        found.update(kinds(book.take(change)))
        newest = max(newest, change.last_id)
        if book.synchronised:
            bids, asks = history[newest]
            assert dict(book.bids(99)) == {price: quantity for price, quantity in bids.items() if quantity}
            assert dict(book.asks(99)) == {price: quantity for price, quantity in asks.items() if quantity}
    assert found["duplicate"] == len(received) - len({seen.last_id for seen in received})
    assert found["crossed"] == 0
    breaks = sum(
        later.first_id > max(seen.last_id for seen in received[:index]) + 1
        for index, later in enumerate(received)
        if index
    )
    assert found["gap"] >= breaks


def book_events(events: list[Event]) -> list[Snapshot | Diff | BestQuote]:
    return [event for event in events if not isinstance(event, Trade)]


def test_real_capture_gives_a_book_without_a_gap_and_never_crossed(
    futures_events: list[Event], shared_data: Callable[[str], Path]
) -> None:
    with gzip.open(shared_data("wire/binance_usdm_btcusdt_20240808.jsonl.gz"), "rt") as lines:
        raw = [json.loads(line.partition(" ")[2]).get("data", {}) for line in lines]
    diffs = [message for message in raw if message.get("e") == "depthUpdate"]
    assert len(diffs) == 6551
    assert all(after["pu"] == before["u"] for before, after in pairwise(diffs))

    book, served = empty_book(BINANCE_FUTURES), 0
    for event in book_events(futures_events):
        assert book.take(event) == []
        if isinstance(event, Diff) and book.synchronised:
            served += 1
            assert book.bids(1)[0][0] < book.asks(1)[0][0]
    first = next(place for place, message in enumerate(raw) if not message)
    assert served == sum(message.get("e") == "depthUpdate" for message in raw[first:]) > 6500


def test_real_capture_agrees_with_each_of_the_recorded_one_second_books(
    futures_events: list[Event], shared_data: Callable[[str], Path]
) -> None:
    """Equal: all 20 prices and quantities of both sides, after every message up to the recorded one."""
    recorded = pl.read_parquet(shared_data("orderbook/hft_usdm_btcusdt_l2_1s.parquet"))
    book, events = empty_book(BINANCE_FUTURES), iter(book_events(futures_events))
    event = next(events)
    agreeing = 0
    for row in recorded.iter_rows(named=True):
        while event.known_at_ns <= row["recv_ns"]:
            book.take(event)
            event = next(events)
        bids = [(row[f"bid_px_{level}"], row[f"bid_qty_{level}"]) for level in range(1, 21)]
        asks = [(row[f"ask_px_{level}"], row[f"ask_qty_{level}"]) for level in range(1, 21)]
        agreeing += book.bids(20) == bids and book.asks(20) == asks
    assert agreeing == recorded.height == 344


@pytest.mark.parametrize("fault", ["lost", "doubled", "swapped"])
def test_each_fault_planted_in_the_real_stream_is_named_and_healed(
    futures_events: list[Event], fault: str
) -> None:
    stream = [event for event in futures_events if isinstance(event, Snapshot | Diff)]
    undisturbed, disturbed = empty_book(BINANCE_FUTURES), empty_book(BINANCE_FUTURES)
    found: Counter[AnomalyKind] = Counter()
    planted, index = 0, 0
    while index + 2 < len(stream):
        plant = index % 60 == 59
        here = stream[index : index + 2] if plant else stream[index : index + 1]
        bad = {"lost": here[1:], "doubled": [here[0], *here], "swapped": here[::-1]}[fault] if plant else here
        for event in here:
            assert undisturbed.take(event) == []
        for event in bad:
            found.update(kinds(disturbed.take(event)))
        if plant:
            planted += 1
            assert disturbed.synchronised == (fault == "doubled")
            renewed = replace(
                snapshot(here[1].last_id, undisturbed.bids(10**6), undisturbed.asks(10**6)),
                known_at_ns=here[1].known_at_ns,
            )
            assert disturbed.take(renewed) == []
        if undisturbed.synchronised and (plant or index % 10 == 0):
            assert disturbed.bids(20) == undisturbed.bids(20)
            assert disturbed.asks(20) == undisturbed.asks(20)
        index += len(here)
    assert planted > 100
    named = {"lost": ["gap"], "doubled": ["duplicate"], "swapped": ["gap", "out of order"]}[fault]
    assert found == {AnomalyKind(kind): planted for kind in named}


def test_real_spot_stream_has_no_gap_and_each_lost_diff_is_one(shared_data: Callable[[str], Path]) -> None:
    with open_capture(shared_data("wire/binance_spot.ws.txt")) as stream:
        diffs = [event for event in stream_capture(stream, binance_event) if isinstance(event, Diff)]
    assert len(diffs) == 177
    for symbol in {event.symbol for event in diffs}:
        own = [event for event in diffs if event.symbol == symbol]
        for lost in range(len(own)):
            book = LocalBook(symbol, BINANCE_SPOT, kept_diffs=10)
            found = [book.take(event) for place, event in enumerate(own) if place != lost]
            inner = 0 < lost < len(own) - 1
            assert kinds([anomaly for anomalies in found for anomaly in anomalies]) == ["gap"] * inner


def test_real_bitstamp_books_stay_in_order_and_never_cross(shared_data: Callable[[str], Path]) -> None:
    with open_capture(shared_data("wire/bitstamp.http.txt")) as stream:
        events: list[Event] = list(bitstamp_http_capture(stream))
    books = {event.symbol: LocalBook(event.symbol, BITSTAMP, kept_diffs=100) for event in events}
    with open_capture(shared_data("wire/bitstamp.ws.txt")) as stream:
        events += stream_capture(stream, bitstamp_event)
    for event in book_events(events):
        assert books[event.symbol].take(event) == []
    assert len(books) == 10
    assert all(book.bids(1)[0] < book.asks(1)[0] for book in books.values())
