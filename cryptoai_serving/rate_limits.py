"""How many requests each caller may make: a bucket for each, which time fills again."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
# The least recent one is forgotten beyond these: callers without a key are told apart by their address.
MOST_CALLERS = 10_000


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


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimits:
    """Buckets by caller; the clock is handed in, in seconds that never go back."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, *, a_minute: int) -> Allowance:
        """Take one request out of a caller's bucket, if there is one."""
        now, rate = self._monotonic(), a_minute / WINDOW_SECONDS
        bucket = self._buckets.setdefault(caller, _Bucket(float(a_minute), now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(float(a_minute), bucket.tokens + rate * (now - bucket.filled_at))
        bucket.filled_at = now
        admitted = bucket.tokens >= 1.0
        bucket.tokens -= admitted
        return Allowance(
            limit=a_minute,
            remaining=int(bucket.tokens),
            reset_seconds=math.ceil((a_minute - bucket.tokens) / rate),
            retry_seconds=0 if admitted else max(1, math.ceil((1.0 - bucket.tokens) / rate)),
        )
