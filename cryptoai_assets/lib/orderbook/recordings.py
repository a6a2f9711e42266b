"""Recordings of raw order-book streams, one file a symbol and day, and the bars that are made of a day."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from io import BytesIO
from itertools import groupby
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.orderbook.book import Anomaly, LocalBook, SequenceRules, TradeTape
from cryptoai_assets.lib.orderbook.captures import recorded_capture
from cryptoai_assets.lib.orderbook.events import Event
from cryptoai_assets.lib.orderbook.microstructure import BarRecorder, BarSettings, bar_frame, recording

# Of the day before: a snapshot lies in it, so that the day's first bar finds a book.
LEAD = timedelta(minutes=15)
KEPT_DIFFS, KEPT_TRADES = 100_000, 100_000
LINES_AT_ONCE, KEPT_BACK_NS = 200, 10 * 10**9
_DAY = timedelta(days=1)
_BLOCK_BYTES = 65_536
_LONGEST_STAMP = 20
Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Recordings:
    """Lines ``<receive ns> <JSON>`` as `recorded_capture` reads them; a file is only added to.

    Parameters
    ----------
    kept_days
        Days before a new one whose files stay when it begins; None is all.
    """

    root: Path
    kept_days: int | None = None

    def path(self, symbol: str, day: date) -> Path:
        """File of one symbol and one UTC day of receipt."""
        return self.root / symbol / f"{day:%Y-%m-%d}.jsonl"

    def days(self, symbol: str) -> list[date]:
        """Days that are recorded, in order."""
        return sorted(date.fromisoformat(path.stem) for path in (self.root / symbol).glob("[0-9]*.jsonl"))

    def append(self, symbol: str, lines: Iterable[Line]) -> None:
        """Add messages in the order of receipt; what a killed writer left of a line is taken off first."""
        for day, own in groupby(lines, lambda line: datetime.fromtimestamp(line[0] // 10**9, UTC).date()):
            path = self.path(symbol, day)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                self._forget_before(symbol, day)
            with path.open("ab+") as file:
                file.truncate(_whole_bytes(path))
                file.write("".join(f"{known_at_ns} {text}\n" for known_at_ns, text in own).encode())

    def last_added(self, symbols: Iterable[str]) -> datetime | None:
        """When something was last added about any of these symbols, by the clock of the disk."""
        files = [path for symbol in symbols for path in (self.root / symbol).glob("*.jsonl")]
        newest = max((path.stat().st_mtime for path in files), default=None)
        return None if newest is None else datetime.fromtimestamp(newest, UTC)

    def begun_at_ns(self, symbol: str, day: date) -> int | None:
        """When the first message of a day was received; None when there is none."""
        path = self.path(symbol, day)
        if not path.is_file() or not _whole_bytes(path):
            return None
        with path.open("rb") as file:
            return _received_ns(file.readline())

    def _forget_before(self, symbol: str, day: date) -> None:
        if self.kept_days is None:
            return
        oldest = self.path(symbol, day - self.kept_days * _DAY)
        for path in oldest.parent.glob("*.jsonl"):
            if path.name < oldest.name:
                path.unlink()

    def events(
        self, symbol: str, day: date, *, snapshot_limit: int, since: datetime | None = None
    ) -> Iterator[Event]:
        """Events of a day from a time on, after those of the `LEAD` before it.

        Parameters
        ----------
        since
            None is the beginning of the day.

        Raises
        ------
        CaptureError
            At the first line that cannot be read; a last line without an end is none yet.
        """
        first = _nanoseconds((since or _midnight(day)) - LEAD)
        for part in (day - _DAY, day):
            path = self.path(symbol, part)
            if path.is_file():
                late = BytesIO(_lines_since(path, first))
                yield from recorded_capture(late, symbol=symbol, snapshot_limit=snapshot_limit)


@dataclass(slots=True)
class LineBuffer:
    """Messages on their way into the recordings, which are written a few at a time.

    At the latest they are written with the first message after so much time, or so many; and by `flush`.
    """

    recordings: Recordings
    _lines: dict[str, list[Line]] = field(default_factory=dict)

    def add(self, symbol: str, known_at_ns: int, text: str) -> None:
        """Take the next message of a symbol."""
        lines = self._lines.setdefault(symbol, [])
        lines.append((known_at_ns, text))
        if len(lines) >= LINES_AT_ONCE or known_at_ns - lines[0][0] >= KEPT_BACK_NS:
            self.recordings.append(symbol, self._lines.pop(symbol))

    def flush(self) -> None:
        """Write all that was taken."""
        while self._lines:
            self.recordings.append(*self._lines.popitem())


def recorded_bars(
    recordings: Recordings,
    symbol: str,
    day: date,
    *,
    rules: SequenceRules,
    settings: BarSettings,
    snapshot_limit: int,
    since: datetime | None = None,
    until: datetime,
) -> tuple[pl.DataFrame, list[Anomaly]]:
    """Bars of a day, of the first of the intervals, and what was wrong with the stream.

    Parameters
    ----------
    since
        Of the day: earlier bars are left out, and little of what was recorded before is read.
    until
        Now, or later: a bar that has not ended then is none. Neither is one after whose end nothing was
        recorded, for what was received in it may not be written yet.

    Raises
    ------
    CaptureError
        At the first line that cannot be read.
    OrderBookError
        When a line is of another symbol.
    """
    book = LocalBook(symbol, rules, kept_diffs=KEPT_DIFFS)
    recorder = BarRecorder(book, TradeTape(symbol, rules, kept_ids=KEPT_TRADES), settings)
    events = recordings.events(symbol, day, snapshot_limit=snapshot_limit, since=since)
    bars, anomalies = recording(recorder, events)
    # The last bar of the day ended when the next day's first message came.
    if (following := recordings.begun_at_ns(symbol, day + _DAY)) is not None:
        bars += recorder.advance(following)
    interval, end = settings.intervals[0], min(_midnight(day + _DAY), until)
    frame = bar_frame(bars, interval=interval)
    own = (pl.col("open_time") >= (since or _midnight(day))) & (pl.col("open_time") + interval <= end)
    return frame.filter(own), anomalies


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _nanoseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000


def _lines_since(path: Path, since_ns: int) -> bytes:
    """Whole lines that were received then or later; they lie in the order of receipt."""
    low, high = 0, _whole_bytes(path)
    end = high
    with path.open("rb") as file:
        while high - low > _BLOCK_BYTES:
            file.seek((low + high) // 2)
            file.readline()
            start = file.tell()
            if start >= high:
                break
            if _received_ns(file.readline()) < since_ns:
                low = start
            else:
                high = start
        file.seek(low)
        while low < end and _received_ns(line := file.readline()) < since_ns:
            low += len(line)
        file.seek(low)
        return file.read(end - low)


def _received_ns(line: bytes) -> int:
    """Time of a line; one that has none is left to be refused by name."""
    stamp = line.partition(b" ")[0]
    return int(stamp) if stamp.isdigit() and len(stamp) <= _LONGEST_STAMP else 0


def _whole_bytes(path: Path) -> int:
    """Length up to the end of the last whole line."""
    size = path.stat().st_size if path.is_file() else 0
    with path.open("rb") as file:
        while size:
            start = max(size - _BLOCK_BYTES, 0)
            file.seek(start)
            end = file.read(size - start).rfind(b"\n")
            if end >= 0:
                return start + end + 1
            size = start
    return 0
