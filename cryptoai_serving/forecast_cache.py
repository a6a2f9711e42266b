"""Answers that are computed once: kept for a while, dropped when what they were made of changes.

It knows nothing about forecasts; it lives in one event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
LIFETIME = timedelta(seconds=30)


@dataclass(slots=True)
class _Entry(Generic[Answer]):
    origin: tuple[object, ...]
    made_at: datetime
    making: asyncio.Task[Answer]
    until: datetime | None = None


class ForecastCache(Generic[Answer]):
    """At most one answer a key, and none that is too old; asked again while it is made, it is made once.

    Parameters
    ----------
    lifetime
        Greatest age of an answer; without any, each who asks gets one made for himself.
    until
        Of an answer: the time from which it is another one, even when nothing else changes.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        lifetime: timedelta = LIFETIME,
        until: Callable[[Answer], datetime | None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._until = until
        self._entries: dict[Hashable, _Entry[Answer]] = {}
        self.hits = 0
        self.misses = 0

    async def answer(
        self, key: Hashable, origin: tuple[object, ...], make: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Answer that was made of `origin`, kept or new; what `make` raises is raised to all who wait for it.

        Parameters
        ----------
        origin
            What the answer is made of, compared by identity or equality; with None in it nothing is kept.
        """
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and self._holds(entry, origin, now):
            self.hits += 1
            if entry.making.done():
                return entry.making.result()
        else:
            self.misses += 1
            if not self._lifetime or any(part is None for part in origin):
                return await make()
            entry = _Entry(origin, now, asyncio.ensure_future(_made(make)))
            self._entries[key] = entry
            entry.making.add_done_callback(lambda _: self._settle(key, entry))
        # Who leaves takes the answer from nobody else.
        return await asyncio.shield(entry.making)

    def _holds(self, entry: _Entry[Answer], origin: tuple[object, ...], now: datetime) -> bool:
        if not all(made is asked or made == asked for made, asked in zip(entry.origin, origin, strict=True)):
            return False
        if not entry.making.done():
            return True
        ended = entry.until is not None and entry.made_at <= entry.until < now
        return not ended and timedelta(0) <= now - entry.made_at < self._lifetime

    def _settle(self, key: Hashable, entry: _Entry[Answer]) -> None:
        """Keep what was made; forget what failed."""
        failed = entry.making.cancelled() or entry.making.exception() is not None
        if not failed:
            entry.until = self._until(entry.making.result())
        elif self._entries.get(key) is entry:
            del self._entries[key]


async def _made(make: Callable[[], Awaitable[Answer]]) -> Answer:
    return await make()
