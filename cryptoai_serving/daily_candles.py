"""One day's candles as a device sends them: read in a process of its own, kept whole or not at all.

A file from outside may swell when it is read, or bring its reader down: the process has a bounded memory and
time, and nothing but the sound candles comes out of it.
"""

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Literal, Self, get_args

import polars as pl

from cryptoai_serving.errors import DailyFileRefusedError, StoreUnavailableError, without_place
from edge_bundle.candles import candle_frame, interval_duration, on_grid, read_candles_csv
from edge_bundle.errors import CandlesRefusedError

Kind = Literal["csv", "parquet"]
MEBIBYTE = 1024 * 1024
# Of the process that reads; a day of minutes of fifty symbols is 72,000 rows.
MEMORY_BYTES, SECONDS, MOST_ROWS = 2048 * MEBIBYTE, 20, 100_000
# Of one device, eleven years; the oldest make no room: nobody fills a disk or pushes out what is there.
MOST_DAYS = 4_000
CHECKSUM = "sha256"


@dataclass(frozen=True, slots=True)
class ExpectedDay:
    """What a file may hold.

    Parameters
    ----------
    until
        Bars that close later are refused.
    """

    day: date
    interval: str
    symbols: tuple[str, ...]
    until: datetime

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` gave."""
        told = json.loads(text)
        return cls(
            date.fromisoformat(told["day"]),
            told["interval"],
            tuple(told["symbols"]),
            datetime.fromisoformat(told["until"]),
        )


@dataclass(frozen=True, slots=True)
class KeptDay:
    """What became of a file; `new` is False when these very bytes were there already."""

    rows: int
    symbols: tuple[str, ...]
    sha256: str
    new: bool


def keep(
    content: bytes,
    kind: Kind,
    *,
    device: str,
    promised_sha256: str,
    expected: ExpectedDay,
    folder: Path,
    most_days: int,
) -> KeptDay:
    """Check a file and put its candles at ``<folder>/<device>/<day>.parquet``, in place of an earlier one.

    Raises
    ------
    DailyFileRefusedError
        When the bytes are not those that were promised, or hold anything but candles of that day, or when the
        device has sent too many days.
    StoreUnavailableError
        When it cannot be kept.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != promised_sha256.lower():
        raise DailyFileRefusedError(
            f"the file has SHA-256 {found[:12]}…, {promised_sha256[:12]}… was promised",
            where="x-content-sha256",
            cure="send it again",
        )
    path = folder / device / f"{expected.day}.parquet"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (known := _known(path, found)) is not None:
            return known
        if not path.exists() and sum(1 for _ in path.parent.glob("*.parquet")) >= most_days:
            raise DailyFileRefusedError(
                f"{most_days} days of this device are kept, and no more",
                where="day",
                cure=f"let who runs the platform clear {folder.name}/{device}",
            )
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            _read_apart(content, kind, expected, found, draft)
            rows = pl.read_parquet(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailableError(
            f"the file cannot be kept: {without_place(error)}", cure="try again later"
        ) from error
    return KeptDay(rows.height, tuple(rows["symbol"].unique().sort()), found, new=True)


def _known(path: Path, sha256: str) -> KeptDay | None:
    try:
        if not path.is_file() or pl.read_parquet_metadata(path).get(CHECKSUM) != sha256:
            return None
        rows = pl.read_parquet(path, columns=["symbol"])
    except pl.exceptions.PolarsError:
        return None  # what is there is broken, and the file takes its place
    return KeptDay(rows.height, tuple(rows["symbol"].unique().sort()), sha256, new=False)


def _read_apart(content: bytes, kind: Kind, expected: ExpectedDay, sha256: str, draft: Path) -> None:
    command = (sys.executable, "-m", __name__, kind, expected.to_json(), sha256, str(draft))
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "POLARS_MAX_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 — this very module
            command, input=content, capture_output=True, env=environment, timeout=2 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is not None and done.returncode == 0:
        return
    told = done.stdout.decode().strip() if done is not None and done.returncode == 1 else ""
    raise DailyFileRefusedError(
        told or f"the file cannot be read as {kind} within {SECONDS} s and {MEMORY_BYTES // MEBIBYTE} MiB",
        where="body",
        cure="send the closed bars of one UTC day: open_time, symbol, open, high, low, close, volume",
    )


def checked_day(content: bytes, kind: Kind, expected: ExpectedDay) -> pl.DataFrame:
    """Candle frame of a file; a day on which the device saw nothing has no row.

    Raises
    ------
    CandlesRefusedError
        When it holds no candles, or any that do not belong to the day.
    """
    try:
        candles = _candles(content, kind)
    # What polars makes of bytes that are no file, a panic among it.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        told = str(error).partition("\n")[0][:200]
        raise CandlesRefusedError(f"no {kind} file: {told}") from error
    step = interval_duration(expected.interval)
    opened = pl.col("open_time")
    faults = {
        f"more than {MOST_ROWS} rows": pl.len() > MOST_ROWS,
        f"bars that are not of {expected.day}": (opened.dt.date() != expected.day).any(),
        f"bars that do not open on the grid of {expected.interval}": (~on_grid(step)).any(),
        "bars that have not closed": (opened + step > expected.until).any(),
        f"symbols beside {', '.join(expected.symbols)}": ~pl.col("symbol").is_in(expected.symbols).all(),
        "a bar twice": pl.struct("symbol", "open_time").is_duplicated().any(),
    }
    found = candles.select(**faults).row(0, named=True)
    if wrong := [fault for fault, holds in found.items() if holds]:
        raise CandlesRefusedError(f"the file holds {', '.join(wrong)}")
    return candles


def _candles(content: bytes, kind: Kind) -> pl.DataFrame:
    if kind == "csv":
        return read_candles_csv(BytesIO(content))
    return candle_frame(pl.read_parquet(BytesIO(content), n_rows=MOST_ROWS + 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a file from standard input within bounds: 0 when it was written, 1 with what is wrong with it."""
    kind, expected, sha256, draft = sys.argv[1:] if arguments is None else arguments
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    known = next(one for one in get_args(Kind) if one == kind)
    try:
        candles = checked_day(sys.stdin.buffer.read(), known, ExpectedDay.from_json(expected))
    except CandlesRefusedError as error:
        sys.stdout.write(str(error))
        return 1
    with Path(draft).open("wb") as file:
        candles.write_parquet(file, metadata={CHECKSUM: sha256})
        file.flush()
        os.fsync(file.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
