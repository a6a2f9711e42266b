"""The cache: one making for all who ask, dropped by another origin, by age, and when it turns stale."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from fakes.hand_clock import HandClock

from cryptoai_serving.forecast_cache import LIFETIME, ForecastCache


@dataclass
class Maker:
    """Makes 1, 2, 3 …, each when it is let."""

    made: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> int:
        self.made += 1
        number = self.made
        await self.gate.wait()
        return number


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def opened(maker: Maker) -> Maker:
    maker.gate.set()
    return maker


def test_who_asks_while_it_is_made_waits_for_the_same_one() -> None:
    async def work() -> None:
        cache, make = ForecastCache[int](clock=HandClock()), Maker()
        asking = [asyncio.ensure_future(cache.answer("a", (1,), make)) for _ in range(50)]
        await asyncio.sleep(0)
        make.gate.set()
        assert set(await asyncio.gather(*asking)) == {1}
        assert (make.made, cache.misses, cache.hits) == (1, 1, 49)

    run(work())


def test_another_origin_or_key_is_made_anew() -> None:
    async def work() -> None:
        cache, make = ForecastCache[int](clock=HandClock()), opened(Maker())
        first = object()
        assert await cache.answer("a", (first, 1), make) == 1
        assert await cache.answer("a", (first, 1), make) == 1
        assert await cache.answer("a", (first, 2), make) == 2
        assert await cache.answer("a", (object(), 2), make) == 3
        assert await cache.answer("b", (first, 1), make) == 4

    run(work())


def test_answer_lives_no_longer_than_its_time() -> None:
    async def work() -> None:
        clock, make = HandClock(), opened(Maker())
        cache = ForecastCache[int](clock=clock)
        assert await cache.answer("a", (1,), make) == 1
        clock.now += LIFETIME - timedelta(milliseconds=1)
        assert await cache.answer("a", (1,), make) == 1
        clock.now += timedelta(milliseconds=1)
        assert await cache.answer("a", (1,), make) == 2
        clock.now -= timedelta(hours=1)
        assert await cache.answer("a", (1,), make) == 3

    run(work())


def test_answer_that_turned_stale_is_made_anew_and_one_made_stale_is_kept() -> None:
    async def work() -> None:
        clock, make = HandClock(), opened(Maker())
        stale_at = clock.now + timedelta(seconds=5)
        cache = ForecastCache[int](clock=clock, until=lambda _: stale_at)
        assert await cache.answer("a", (1,), make) == 1
        clock.now = stale_at
        assert await cache.answer("a", (1,), make) == 1
        clock.now += timedelta(seconds=1)
        assert await cache.answer("a", (1,), make) == 2
        assert await cache.answer("a", (1,), make) == 2

    run(work())


def test_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    async def work() -> None:
        cache, make, broken = ForecastCache[int](clock=HandClock()), opened(Maker()), asyncio.Event()

        async def fail() -> int:
            await broken.wait()
            raise ZeroDivisionError

        asking = [asyncio.ensure_future(cache.answer("a", (1,), fail)) for _ in range(3)]
        await asyncio.sleep(0)
        broken.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError] * 3
        assert await cache.answer("a", (1,), make) == 1

    run(work())


def test_who_leaves_takes_the_answer_from_nobody() -> None:
    async def work() -> None:
        cache, make = ForecastCache[int](clock=HandClock()), Maker()
        leaving = asyncio.ensure_future(cache.answer("a", (1,), make))
        await asyncio.sleep(0)
        staying = asyncio.ensure_future(cache.answer("a", (1,), make))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        make.gate.set()
        assert await staying == 1
        assert make.made == 1

    run(work())


def test_nothing_is_kept_while_the_origin_is_not_known() -> None:
    async def work() -> None:
        cache, make = ForecastCache[int](clock=HandClock()), opened(Maker())
        assert await cache.answer("a", (1, None), make) == 1
        assert await cache.answer("a", (1, None), make) == 2

    run(work())


def test_cache_without_a_lifetime_makes_each_his_own() -> None:
    async def work() -> None:
        cache, make = ForecastCache[int](clock=HandClock(), lifetime=timedelta(0)), opened(Maker())
        both = await asyncio.gather(*(cache.answer("k", ("o",), make) for _ in range(2)))
        assert sorted(both) == [1, 2]
        assert await cache.answer("k", ("o",), make) == 3

    run(work())
