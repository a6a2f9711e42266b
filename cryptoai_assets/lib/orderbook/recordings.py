"""Recordings of raw order-book streams, one file a symbol and day, and the bars that are made of a day."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from io import BytesIO
from itertools import groupby
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.orderbook.book import Anomaly, LocalBook, SequenceRules, TradeTape
from cryptoai_assets.lib.orderbook.captures import binance_capture
from cryptoai_assets.lib.orderbook.events import Event
from cryptoai_assets.lib.orderbook.microstructure import BarRecorder, BarSettings, bar_frame, recording

# Of the day before: a snapshot lies in it, so that the day's first bar finds a book.
LEAD = timedelta(minutes=15)
KEPT_DIFFS, KEPT_TRADES = 100_000, 100_000
_DAY = timedelta(days=1)
Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Recordings:
    """Lines ``<receive ns> <JSON>``, answers of ``/depth`` among the messages; a file is only added to."""

    root: Path

    def path(self, symbol: str, day: date) -> Path:
        """File of one symbol and one UTC day of receipt."""
        return self.root / symbol / f"{day:%Y-%m-%d}.jsonl"

    def append(self, symbol: str, lines: Iterable[Line]) -> None:
        """Add messages in the order of receipt; what a killed writer left of a line is taken off first."""
        for day, own in groupby(lines, lambda line: datetime.fromtimestamp(line[0] // 10**9, UTC).date()):
            path = self.path(symbol, day)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                file.truncate(_whole_bytes(path))
                file.write("".join(f"{known_at_ns} {text}\n" for known_at_ns, text in own).encode())

    def events(self, symbol: str, day: date, *, snapshot_limit: int) -> Iterator[Event]:
        """Events of a day, after those of the last `LEAD` of the day before.

        Raises
        ------
        CaptureError
            At the first line that cannot be read; a last line without an end is none yet.
        """
        since = _nanoseconds(_midnight(day) - LEAD)
        for part, first in ((day - _DAY, since), (day, 0)):
            path = self.path(symbol, part)
            if path.is_file():
                with path.open("rb") as file:
                    whole = file.read(_whole_bytes(path)).splitlines(keepends=True)
                late = b"".join(line for line in whole if int(line.partition(b" ")[0] or 0) >= first)
                yield from binance_capture(BytesIO(late), symbol=symbol, snapshot_limit=snapshot_limit)


def recorded_bars(
    recordings: Recordings,
    symbol: str,
    day: date,
    *,
    rules: SequenceRules,
    settings: BarSettings,
    snapshot_limit: int,
    until: datetime,
) -> tuple[pl.DataFrame, list[Anomaly]]:
    """Bars of a day, of the first of the intervals, and what was wrong with the stream.

    Parameters
    ----------
    until
        Now, or later: a bar that has not ended then is none.

    Raises
    ------
    CaptureError
        At the first line that cannot be read.
    """
    book = LocalBook(symbol, rules, kept_diffs=KEPT_DIFFS)
    recorder = BarRecorder(book, TradeTape(symbol, rules, kept_ids=KEPT_TRADES), settings)
    bars, anomalies = recording(recorder, recordings.events(symbol, day, snapshot_limit=snapshot_limit))
    interval, end = settings.intervals[0], min(_midnight(day + _DAY), until)
    frame = bar_frame([*bars, *recorder.advance(_nanoseconds(end))], interval=interval)
    own = (pl.col("open_time") >= _midnight(day)) & (pl.col("open_time") + interval <= end)
    return frame.filter(own), anomalies


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _nanoseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000


def _whole_bytes(path: Path) -> int:
    """Length up to the end of the last whole line."""
    size = path.stat().st_size if path.is_file() else 0
    with path.open("rb") as file:
        while size:
            start = max(size - 65_536, 0)
            file.seek(start)
            end = file.read(size - start).rfind(b"\n")
            if end >= 0:
                return start + end + 1
            size = start
    return 0
