"""Recordings: what was added is read back over days and crashes, and a day's first bar finds its book."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from cryptoai_assets.lib.orderbook.book import BINANCE_FUTURES, BINANCE_SPOT, LocalBook, TradeTape
from cryptoai_assets.lib.orderbook.captures import CaptureError, binance_capture, open_capture
from cryptoai_assets.lib.orderbook.events import Diff, OrderBookError, Snapshot, Trade
from cryptoai_assets.lib.orderbook.microstructure import (
    MINUTE,
    BarRecorder,
    BarSettings,
    bar_frame,
    recording,
)
from cryptoai_assets.lib.orderbook.recordings import LEAD, Line, Recordings, recorded_bars

SYMBOL, DAY = "BTCUSDT", date(2024, 3, 2)
MIDNIGHT = datetime(2024, 3, 2, tzinfo=UTC)
SETTINGS = BarSettings((MINUTE,), levels=1, depth_bps=1e4, greatest_silence=timedelta(seconds=30))


def at(seconds: float) -> int:
    return int(MIDNIGHT.timestamp()) * 10**9 + round(seconds * 1e9)


def snapshot(seconds: float, last_id: int) -> Line:
    levels = {"bids": [["99", "3"]], "asks": [["101", "1"]]}
    return at(seconds), json.dumps({"lastUpdateId": last_id, **levels})


def diff(seconds: float, number: int, bid: float) -> Line:
    told = {"e": "depthUpdate", "E": at(seconds) // 10**6, "s": SYMBOL, "U": number, "u": number}
    return at(seconds), json.dumps({"stream": "x", "data": told | {"b": [["99", str(bid)]], "a": []}})


def trade(seconds: float, number: int) -> Line:
    told = {"e": "trade", "E": at(seconds) // 10**6, "T": at(seconds) // 10**6, "s": SYMBOL, "t": number}
    return at(seconds), json.dumps(
        {"stream": "x", "data": told | {"p": "100", "q": "2", "m": False, "M": True}}
    )


def stream() -> list[Line]:
    """From five minutes before midnight to three after it: a change and a trade every ten seconds."""
    seconds = range(-300, 181, 10)
    pairs = [(diff(s, n, 1 + n % 3), trade(s + 5, n)) for n, s in enumerate(seconds, start=11)]
    return [snapshot(-301, 10), *(line for pair in pairs for line in pair)]


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    return Recordings(tmp_path / "recordings")


def bars(
    recordings: Recordings,
    *,
    since: datetime | None = None,
    until: datetime = MIDNIGHT + timedelta(days=2),
) -> pl.DataFrame:
    made, anomalies = recorded_bars(
        recordings,
        SYMBOL,
        DAY,
        rules=BINANCE_SPOT,
        settings=SETTINGS,
        snapshot_limit=1000,
        since=since,
        until=until,
    )
    assert anomalies == []
    return made


def test_lines_are_kept_by_day_of_receipt_and_read_back_with_the_end_of_the_day_before(
    recordings: Recordings,
) -> None:
    recordings.append(SYMBOL, stream()[:20])
    recordings.append(SYMBOL, stream()[20:])
    assert [path.name for path in sorted(recordings.root.rglob("*.jsonl"))] == [
        "2024-03-01.jsonl",
        "2024-03-02.jsonl",
    ]
    assert recordings.days(SYMBOL) == [date(2024, 3, 1), DAY]
    assert recordings.days("ETHUSDT") == []
    kinds = Counter(type(event) for event in recordings.events(SYMBOL, DAY, snapshot_limit=1000))
    assert kinds == {Snapshot: 1, Diff: 49, Trade: 49}
    assert list(recordings.events(SYMBOL, DAY + timedelta(days=2), snapshot_limit=1000)) == []


def test_first_bar_of_a_day_has_the_book_of_the_day_before(recordings: Recordings) -> None:
    recordings.append(SYMBOL, stream())
    made = bars(recordings)
    assert made["open_time"].to_list() == [MIDNIGHT + minute * MINUTE for minute in range(3)]
    assert made["top_imbalance"].null_count() == 0
    assert made["trade_intensity"].to_list() == [0.1] * 3
    assert bars(recordings, until=MIDNIGHT + 2 * MINUTE).equals(made.head(2))


def test_bars_that_are_gone_on_with_are_those_of_the_whole_day(recordings: Recordings) -> None:
    recordings.append(SYMBOL, stream())
    assert bars(recordings, since=MIDNIGHT + MINUTE).equals(bars(recordings).tail(2))


def test_last_bar_of_a_day_ends_with_the_first_message_of_the_next(recordings: Recordings) -> None:
    day = timedelta(days=1).total_seconds()
    snapshots = [snapshot(day - 70 + 10 * n, 10 + n) for n in range(7)]
    recordings.append(SYMBOL, snapshots)
    assert bars(recordings).is_empty()
    recordings.append(SYMBOL, [snapshot(day + 20, 99)])
    assert bars(recordings)["open_time"].to_list() == [MIDNIGHT + timedelta(days=1) - MINUTE]


def test_bar_is_none_before_something_was_recorded_after_its_end(recordings: Recordings) -> None:
    recordings.append(SYMBOL, stream()[:-2])  # the last line is of five seconds before the third minute's end
    assert bars(recordings).height == 2


def test_files_of_days_long_gone_are_removed_when_a_day_begins(recordings: Recordings) -> None:
    kept = replace(recordings, kept_days=1)
    assert kept.last_added([SYMBOL]) is None
    day = timedelta(days=1).total_seconds()
    for number in range(4):
        kept.append(SYMBOL, [snapshot(number * day, number), snapshot(number * day + 1, number)])
    assert sorted(path.stem for path in (kept.root / SYMBOL).iterdir()) == ["2024-03-04", "2024-03-05"]
    added = kept.last_added([SYMBOL, "ETHUSDT"])
    assert added is not None
    assert abs(datetime.now(UTC) - added) < timedelta(minutes=1)


def test_line_that_a_killed_writer_left_is_no_line_and_goes_with_the_next_one(recordings: Recordings) -> None:
    lines = stream()
    recordings.append(SYMBOL, lines[:-8])
    path = recordings.path(SYMBOL, DAY)
    with path.open("a") as file:
        file.write(f"{lines[-8][0]} {lines[-8][1][:20]}")
    assert bars(recordings).height == 2
    recordings.append(SYMBOL, lines[-8:])
    assert bars(recordings).height == 3


def test_damaged_line_is_named(recordings: Recordings) -> None:
    recordings.append(SYMBOL, [*stream(), (at(200), "{]")])
    with pytest.raises(CaptureError, match="is not JSON"):
        bars(recordings)


def test_line_with_an_endless_time_is_one_without_a_time(recordings: Recordings) -> None:
    recordings.append(SYMBOL, stream())
    path = recordings.path(SYMBOL, DAY)
    whole, endless = path.read_bytes(), b"9" * 5000 + b" {}\n"
    path.write_bytes(endless + whole)
    assert bars(recordings).height == 3
    assert recordings.begun_at_ns(SYMBOL, DAY) == 0
    path.write_bytes(whole + endless)
    with pytest.raises(CaptureError, match="is not '<receive ns> <JSON>'"):
        bars(recordings)


def test_line_of_another_symbol_is_refused(recordings: Recordings) -> None:
    told = stream()
    recordings.append(SYMBOL, [*told[:-1], (told[-1][0], told[-1][1].replace(SYMBOL, "ETHUSDT"))])
    with pytest.raises(OrderBookError, match=r"BTCUSDT was given .* ETHUSDT"):
        bars(recordings)


def test_real_stream_gives_the_bars_that_it_gives_without_being_recorded(
    recordings: Recordings, shared_data: Callable[[str], Path]
) -> None:
    """Its messages by day, as one recording of a futures market."""
    with open_capture(shared_data("wire/binance_usdm_btcusdt_20240808.jsonl.gz")) as file:
        raw = file.readlines()[:50_000]
    pairs = (line.decode().strip().split(" ", 1) for line in raw)
    lines = [(int(known_at_ns), text) for known_at_ns, text in pairs]
    recordings.append(SYMBOL, lines)
    read = partial(
        recorded_bars,
        recordings,
        SYMBOL,
        date(2024, 8, 8),
        rules=BINANCE_FUTURES,
        settings=replace(SETTINGS, levels=5),
        snapshot_limit=1000,
        until=datetime(2024, 8, 10, tzinfo=UTC),
    )
    made, _ = read()
    book, tape = (
        LocalBook(SYMBOL, BINANCE_FUTURES, kept_diffs=10**5),
        TradeTape(SYMBOL, BINANCE_FUTURES, kept_ids=10**5),
    )
    events = binance_capture(BytesIO(b"".join(raw)), symbol=SYMBOL, snapshot_limit=1000)
    expected = bar_frame(
        recording(BarRecorder(book, tape, replace(SETTINGS, levels=5)), events)[0], interval=MINUTE
    )
    assert made.equals(expected)
    assert read(since=made["open_time"][1])[0].equals(made[1:])
    begun = datetime.fromtimestamp(lines[0][0] // 10**9, UTC)
    late = list(recordings.events(SYMBOL, date(2024, 8, 8), snapshot_limit=1000, since=begun + LEAD + MINUTE))
    assert 0 < len(late) < len(lines)
    since_ns = (lines[0][0] // 10**9 + 60) * 10**9
    assert len(late) == sum(known_at_ns >= since_ns for known_at_ns, _ in lines)
    assert expected["top_imbalance"].is_not_null().sum() >= 2
