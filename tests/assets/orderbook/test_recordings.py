"""Recordings: what was added is read back over days and crashes, and a day's first bar finds its book."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from cryptoai_assets.lib.orderbook.book import BINANCE_FUTURES, BINANCE_SPOT, LocalBook, TradeTape
from cryptoai_assets.lib.orderbook.captures import CaptureError, binance_capture, open_capture
from cryptoai_assets.lib.orderbook.events import Diff, Snapshot, Trade
from cryptoai_assets.lib.orderbook.microstructure import (
    MINUTE,
    BarRecorder,
    BarSettings,
    bar_frame,
    recording,
)
from cryptoai_assets.lib.orderbook.recordings import Line, Recordings, recorded_bars

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


def bars(recordings: Recordings, *, until: datetime = MIDNIGHT + timedelta(days=2)) -> pl.DataFrame:
    made, anomalies = recorded_bars(
        recordings,
        SYMBOL,
        DAY,
        rules=BINANCE_SPOT,
        settings=SETTINGS,
        snapshot_limit=1000,
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


def test_real_stream_gives_the_bars_that_it_gives_without_being_recorded(
    recordings: Recordings, shared_data: Callable[[str], Path]
) -> None:
    """Its messages by day, as one recording of a futures market."""
    with open_capture(shared_data("wire/binance_usdm_btcusdt_20240808.jsonl.gz")) as file:
        raw = file.readlines()[:50_000]
    pairs = (line.decode().strip().split(" ", 1) for line in raw)
    lines = [(int(known_at_ns), text) for known_at_ns, text in pairs]
    recordings.append(SYMBOL, lines)
    made, _ = recorded_bars(
        recordings,
        SYMBOL,
        date(2024, 8, 8),
        rules=BINANCE_FUTURES,
        settings=replace(SETTINGS, levels=5),
        snapshot_limit=1000,
        until=datetime(2024, 8, 10, tzinfo=UTC),
    )
    book, tape = (
        LocalBook(SYMBOL, BINANCE_FUTURES, kept_diffs=10**5),
        TradeTape(SYMBOL, BINANCE_FUTURES, kept_ids=10**5),
    )
    events = binance_capture(BytesIO(b"".join(raw)), symbol=SYMBOL, snapshot_limit=1000)
    expected = bar_frame(
        recording(BarRecorder(book, tape, replace(SETTINGS, levels=5)), events)[0], interval=MINUTE
    )
    assert made.head(expected.height).equals(expected)
    assert expected["top_imbalance"].is_not_null().sum() >= 2
