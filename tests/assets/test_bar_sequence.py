"""Bars are handed out once and in order, and never half: what a stream did not bring whole is asked for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.bar_sequence import FAR, BarSequence, HoleFilling, StreamedBars
from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError, SourceRefusedError
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE

NOON, STEP = datetime(2026, 1, 5, 12, tzinfo=UTC), timedelta(minutes=1)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def slot(number: int) -> datetime:
    return NOON + number * STEP


def row(number: int, volume: float = 1.0) -> tuple[float, ...]:
    return (10.0 + number, 12.0 + number, 9.0 + number, 11.0 + number, volume)


@dataclass
class Archive:
    """Holds bars by slot and slots without a trade; fails as often as it is told to."""

    holds: set[int]
    quiet: set[int] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    asked: list[tuple[datetime, datetime]] = field(default_factory=list)
    name: str = "archive"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        self.asked.append((start, end))
        if self.failures:
            raise self.failures.pop()
        bars = [(slot(number), symbol, *row(number)) for number in sorted(self.holds)]
        facts = [
            (symbol, slot(number), slot(number) + STEP, "archive", NO_TRADE, 1.0) for number in self.quiet
        ]
        wanted = [bar for bar in bars if start <= bar[0] < end]
        return Fetched(
            pl.DataFrame(wanted, schema=CANDLE_SCHEMA, orient="row"),
            pl.DataFrame([one for one in facts if start <= one[1] < end], schema=FACT_SCHEMA, orient="row"),
        )


def filling(archive: Archive, *, tells_closing: bool = True, looks: int = 2) -> HoleFilling:
    return HoleFilling(archive, "BTCUSDT", looks, BarSequence(NOON, STEP, tells_closing))


def numbers(bars: StreamedBars) -> list[int]:
    return [(time - NOON) // STEP for time in bars.fetched.candles["open_time"]]


async def out(one: HoleFilling) -> list[tuple[list[int], bool]]:
    return [(numbers(bars), bars.over_rest) async for bars in one.handed_out()]


async def test_closed_bars_are_handed_out_as_they_come_and_nothing_is_asked() -> None:
    one = filling(Archive(set()))
    one.sequence.hear(slot(0), row(0, 0.5), closed=False)
    assert await out(one) == []
    one.sequence.hear(slot(0), row(0), closed=True)
    one.sequence.hear(slot(1), row(1), closed=True)
    (bars,) = [bars async for bars in one.handed_out()]
    assert bars.fetched.candles.rows() == [(slot(n), "BTCUSDT", *row(n)) for n in (0, 1)]
    assert await out(one) == []
    assert one.source.asked == []


async def test_hole_is_filled_in_its_place() -> None:
    one = filling(Archive(set(range(10))))
    for number in (0, 3, 4):
        one.sequence.hear(slot(number), row(number), closed=True)
    assert await out(one) == [([0], False), ([1, 2], True), ([3, 4], False)]
    assert one.source.asked == [(slot(1), slot(3))]


async def test_bar_whose_close_was_not_told_comes_from_the_source_when_the_next_one_grows() -> None:
    one = filling(Archive(set(range(10))))
    one.sequence.hear(slot(0), row(0, 0.5), closed=False)
    one.sequence.hear(slot(1), row(1, 0.1), closed=False)
    assert await out(one) == [([0], True)]
    one.sequence.hear(slot(0), row(0), closed=True)
    one.sequence.hear(slot(1), row(1), closed=True)
    assert await out(one) == [([1], False)]


async def test_without_a_word_of_closing_a_later_bar_closes_and_the_first_seen_is_not_trusted() -> None:
    one = filling(Archive(set(range(10))), tells_closing=False)
    for number, volume in ((0, 0.5), (1, 0.2), (1, 1.0), (2, 0.1)):
        one.sequence.hear(slot(number), row(number, volume), closed=False)
    told = [bars async for bars in one.handed_out()]
    assert [(numbers(bars), bars.over_rest) for bars in told] == [([0], True), ([1], False)]
    assert told[1].fetched.candles["volume"].to_list() == [1.0]


async def test_bar_that_grew_over_a_lost_connection_is_asked_for() -> None:
    one = filling(Archive(set(range(10))), tells_closing=False)
    for number in (0, 1, 2):
        one.sequence.hear(slot(number), row(number), closed=False)
    assert await out(one) == [([0], True), ([1], False)]
    one.sequence.begin_connection()
    for number in (3, 4, 5):
        one.sequence.hear(slot(number), row(number), closed=False)
    assert await out(one) == [([2, 3], True), ([4], False)]


async def test_slot_that_stays_open_is_looked_at_again_at_the_next_bar_and_then_passed_over() -> None:
    one = filling(Archive({0, 2}), looks=2)
    one.sequence.hear(slot(3), row(3), closed=True)
    assert await out(one) == [([0], True)]
    assert await out(one) == []
    assert len(one.source.asked) == 1
    one.sequence.hear(slot(4), row(4), closed=True)
    assert await out(one) == [([2], True), ([3, 4], False)]


async def test_slot_that_the_source_had_late_is_not_lost() -> None:
    one = filling(Archive({0, 2}), looks=2)
    one.sequence.hear(slot(3), row(3), closed=True)
    assert await out(one) == [([0], True)]
    one.source.holds.add(1)
    one.sequence.hear(slot(4), row(4), closed=True)
    assert await out(one) == [([1, 2], True), ([3, 4], False)]


async def test_slot_without_a_trade_is_known_and_told_as_a_fact() -> None:
    one = filling(Archive({0}, quiet={1}))
    one.sequence.hear(slot(2), row(2), closed=True)
    told = [bars async for bars in one.handed_out()]
    assert [numbers(bars) for bars in told] == [[0], [2]]
    assert told[0].fetched.facts["event_time"].to_list() == [slot(1)]


async def test_bars_wait_behind_a_hole_until_a_source_that_failed_answers_in_time() -> None:
    one = filling(Archive(set(range(10)), failures=[SourceError("down"), SourceError("down")]), looks=3)
    for number in (1, 2):
        one.sequence.hear(slot(number), row(number), closed=True)
        assert await out(one) == []
    one.sequence.hear(slot(3), row(3), closed=True)
    assert await out(one) == [([0], True), ([1, 2, 3], False)]


async def test_hole_is_passed_over_when_the_source_failed_at_every_look() -> None:
    one = filling(Archive(set(range(10)), failures=[SourceError("down")] * 3), looks=2)
    one.sequence.hear(slot(2), row(2), closed=True)
    assert await out(one) == []
    one.sequence.hear(slot(3), row(3), closed=True)
    assert await out(one) == [([2, 3], False)]
    # While the stream is away no slot is known to be closed: nothing is passed over.
    assert await one.filled(FAR) is None
    assert await one.filled(FAR) is not None
    assert one.source.asked[-1] == (slot(4), FAR)


async def test_refusal_is_not_swallowed() -> None:
    one = filling(Archive(set(), failures=[SourceRefusedError("no such symbol")]))
    one.sequence.hear(slot(2), row(2), closed=True)
    with pytest.raises(SourceRefusedError, match="no such symbol"):
        await out(one)


async def test_while_the_stream_is_away_bars_come_from_the_source_up_to_what_it_has() -> None:
    one = filling(Archive({0, 1, 2}))
    told = await one.filled(FAR)
    assert told is not None
    assert (numbers(told), told.over_rest) == ([0, 1, 2], True)
    assert await one.filled(FAR) is None
    one.source.holds.add(3)
    again = await one.filled(FAR)
    assert again is not None
    assert numbers(again) == [3]


@given(st.data())
def test_whatever_the_stream_drops_doubles_or_delays_each_bar_comes_once_in_order_and_whole(
    data: st.DataObject,
) -> None:
    asyncio.run(storm(data.draw, tells_closing=data.draw(st.booleans())))


async def storm(draw: Callable[..., list[tuple[int, str]]], *, tells_closing: bool) -> None:
    deeds = ["grow", "close", "double", "late", "drop connection", "poll"]
    told = draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(deeds)), max_size=40))
    one, now, bars = filling(Archive(set()), tells_closing=tells_closing), 0, []
    for ahead, deed in told:
        now += ahead
        one.source.holds = set(range(now))
        if deed == "drop connection":
            one.sequence.begin_connection()
        if deed == "poll":
            bars += [part] if (part := await one.filled(FAR)) else []
        if deed in {"close", "double", "late"} and tells_closing and now:
            closed = now - 1 if deed != "late" else max(now - 3, 0)
            for _ in range(1 + (deed == "double")):
                one.sequence.hear(slot(closed), row(closed), closed=True)
        one.sequence.hear(slot(now), row(now, 0.5 if tells_closing else 1.0), closed=False)
        bars += [part async for part in one.handed_out()]
    frame = pl.concat([pl.DataFrame(schema=CANDLE_SCHEMA), *(part.fetched.candles for part in bars)])
    assert frame.rows() == [(slot(n), "BTCUSDT", *row(n)) for n in range(now if told else 0)]
