"""How many requests each caller may make: a bucket for each, which time fills again.

The buckets lie in a file that all workers of a machine map into their memory: whichever of them answers, a
request is counted once.
"""

import fcntl
import hashlib
import logging
import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

WINDOW_SECONDS = 60.0
# Callers without a key are told apart by their address: there may be any number of them.
SETS, PLACES = 2_048, 8
# Of a caller: the first bytes of the hash of its name, and when its bucket will be full again.
_PLACES = Struct("<" + "Qd" * PLACES)
_PLACE = Struct("<Qd")
TABLE_BYTES = SETS * _PLACES.size
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller may still do, as its headers say it.

    Parameters
    ----------
    limit
        Requests in a minute, which may come at once.
    reset_seconds
        Until all of them may come again.
    retry_seconds
        Until the next one may come; 0 when this one may.
    """

    limit: int
    remaining: int
    reset_seconds: int
    retry_seconds: int


class RateLimits:
    """Buckets by caller, in a file that is opened at the first request.

    A bucket is the time at which it will be full, so that one which is full need not be remembered: where
    there is no place for one more caller, the one that has most left is forgotten. Without the file each
    worker counts by itself.

    Parameters
    ----------
    monotonic
        Seconds that never go back and are the same for all processes of the machine.
    """

    def __init__(self, path: Path, *, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._descriptor: int | None = None
        self._table: mmap.mmap | None = None
        self._lock = threading.Lock()

    def take(self, caller: str, *, a_minute: int) -> Allowance:
        """Take one request out of a caller's bucket, if there is one."""
        name = int.from_bytes(hashlib.blake2b(caller.encode(), digest_size=8).digest(), "little") or 1
        rate = a_minute / WINDOW_SECONDS
        with self._held() as table:
            now = self._monotonic()
            place, full_at = _found(table, name, now)
            tokens = a_minute - rate * max(full_at - now, 0.0)
            # As much as rounding may take from the last one.
            admitted = tokens >= 1.0 - 1e-6
            if admitted:
                full_at = max(full_at, now) + 1.0 / rate
                tokens -= 1.0
                _PLACE.pack_into(table, place, name, full_at)
        return Allowance(
            limit=a_minute,
            remaining=max(int(tokens + 1e-6), 0),
            reset_seconds=math.ceil(full_at - now - 1e-6),
            retry_seconds=0 if admitted else max(1, math.ceil((1.0 - tokens) / rate - 1e-6)),
        )

    def close(self) -> None:
        """Let the file go; a later use opens it again."""
        with self._lock:
            if self._table is not None:
                self._table.close()
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._table = self._descriptor = None

    @contextmanager
    def _held(self) -> Iterator[mmap.mmap]:
        """The table, for this thread of this process alone; whoever dies with it lets it go."""
        with self._lock:
            table = self._opened()
            if self._descriptor is None:
                yield table
                return
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield table
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _opened(self) -> mmap.mmap:
        if self._table is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                os.truncate(self._descriptor, TABLE_BYTES)
                self._table = mmap.mmap(self._descriptor, TABLE_BYTES)
            except OSError:
                logger.exception("limits are counted in this process alone")
                self._table = mmap.mmap(-1, TABLE_BYTES)
        return self._table


def _found(table: mmap.mmap, name: int, now: float) -> tuple[int, float]:
    """Place of a caller, its own or one that it may take, and when its bucket is full."""
    start = name % SETS * _PLACES.size
    found = _PLACES.unpack_from(table, start)
    names, times = found[::2], found[1::2]
    if name in names:
        place = names.index(name)
        # No bucket takes longer than the window to fill: a later time is of before the machine was started.
        full_at = times[place] if times[place] <= now + WINDOW_SECONDS + 1e-6 else now
    else:
        place, full_at = times.index(min(times)), now
    return start + place * _PLACE.size, full_at
