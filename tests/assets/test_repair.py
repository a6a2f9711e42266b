"""Repair of gaps: each bar comes from the venue, from another one, or is not to be had; none is invented."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.gaps import GapTable, find_gaps
from cryptoai_assets.lib.market_data import MarketStores, cleaned, known_candles
from cryptoai_assets.lib.quality import Plausibility
from cryptoai_assets.lib.repair import Repaired, RepairPolicy, repair
from cryptoai_assets.lib.source_changes import bars_by_source
from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, no_trade_slots

START = datetime(2018, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
DUE = 12  # bars
POLICY = RepairPolicy(own_tries=2, max_tries=3, bars_a_request=4)


def at(slot: int) -> datetime:
    return START + slot * BAR


@dataclass
class Venue:
    """Answers what it holds, or fails."""

    name: str
    bars: dict[int, float] = field(default_factory=dict)
    quiet: set[int] = field(default_factory=set)
    failure: SourceError | None = None
    asked: list[tuple[int, int]] = field(default_factory=list)

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        window = range((start - START) // BAR, (end - START) // BAR)
        self.asked.append((window.start, window.stop))
        if self.failure is not None:
            raise self.failure
        candles = [
            (at(slot), symbol, 10.0, close if close >= 100 else 12.0, 8.0, close, 1.0)
            for slot, close in sorted(self.bars.items())
            if slot in window
        ]
        quiet = [
            (symbol, at(slot), at(slot + 1), self.name, NO_TRADE, 1.0)
            for slot in sorted(self.quiet)
            if slot in window
        ]
        return Fetched(
            pl.DataFrame(candles, schema=CANDLE_SCHEMA, orient="row"),
            pl.DataFrame(quiet, schema=FACT_SCHEMA, orient="row"),
        )


@dataclass
class Room:
    """A store with a month of which some bars are there, and its table of gaps."""

    folder: Path
    held: dict[int, float]
    plausibility: Plausibility | None = None
    lent: tuple[int, ...] = ()  # slots of which a fallback gave the bar

    def __post_init__(self) -> None:
        self.stores, self.gaps = MarketStores(self.folder), GapTable(self.folder / "gaps")
        first = Venue("venue", self.held).fetch("BTCUSD", START, at(DUE))
        self.stores.raw_candles.write("BTCUSD", "2018-01", first.candles)
        marks = [("BTCUSD", at(slot), at(slot + 1), "other", FROM_FALLBACK, 1.0) for slot in self.lent]
        facts = pl.DataFrame(marks, schema=FACT_SCHEMA, orient="row")
        self.stores.raw_facts.write("BTCUSD", "2018-01", facts)
        self.clean()
        find_gaps(
            self.gaps,
            self.stores,
            symbol="BTCUSD",
            month="2018-01",
            interval="30m",
            venue="Bitfinex",
            start=START,
            end=at(DUE),
            now=at(DUE),
        )

    def clean(self) -> None:
        cleaned(self.stores, symbol="BTCUSD", month="2018-01", interval="30m", plausibility=self.plausibility)

    def repair(self, venue: Venue, second: Venue | None = None, *, now: int = 20) -> Repaired:
        done = repair(
            self.gaps,
            self.stores,
            symbols=["BTCUSD"],
            interval="30m",
            source=venue,
            second_source=second,
            policy=POLICY,
            plausibility=self.plausibility,
            month=None,
            now=at(now),
        )
        self.clean()
        return done

    @property
    def current(self) -> list[tuple[int, int, str, int, str]]:
        rows = self.gaps.current(["BTCUSD"], interval="30m")
        return [
            ((first - START) // BAR, (last - START) // BAR, *rest)
            for first, last, *rest in rows.select("from", "to", "cause", "tries", "state").rows()
        ]

    def candles(self, known_by: int | None = None) -> dict[int, float]:
        known = known_candles(
            self.stores.clean_candles.month("BTCUSD", "2018-01"),
            self.stores.clean_facts.month("BTCUSD", "2018-01"),
            interval="30m",
            known_by=None if known_by is None else at(known_by),
        )
        slots = [(moment - START) // BAR for moment in known["open_time"]]
        return dict(zip(slots, known["close"], strict=True))


HELD = {slot: 11.0 for slot in range(DUE) if slot not in (2, 3, 4, 9)}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path, HELD)


def test_bars_that_the_venue_gives_now_fill_their_gap_and_were_not_known_before(room: Room) -> None:
    done = room.repair(Venue("venue", HELD | {2: 10.0, 3: 9.0, 4: 10.0, 9: 9.0}))
    assert room.current == [
        (2, 4, "not_delivered", 1, "refilled"),
        (9, 9, "not_delivered", 1, "refilled"),
    ]
    assert (done.rows.height, done.failures) == (2, ())
    assert room.candles() == HELD | {2: 10.0, 3: 9.0, 4: 10.0, 9: 9.0}
    assert room.candles(known_by=19) == HELD
    refills = room.stores.raw_facts.month("BTCUSD", "2018-01")
    assert refills.select("source", "name", "known_at").unique().rows() == [("venue", "refilled", at(20))]


def test_second_look_tells_that_nobody_traded(room: Room) -> None:
    room.repair(Venue("venue", HELD | {2: 10.0}, quiet={3, 4}))
    assert room.current == [
        (2, 2, "not_delivered", 1, "refilled"),
        (3, 4, "no_trade", 1, "refilled"),
        (9, 9, "not_delivered", 1, "open"),
    ]
    facts = room.stores.clean_facts.month("BTCUSD", "2018-01")
    assert no_trade_slots(facts)["open_time"].to_list() == [at(3), at(4)]
    assert facts.filter(pl.col("name") == NO_TRADE)["known_at"].unique().to_list() == [at(20)]
    assert room.candles() == HELD | {2: 10.0}


def test_another_venue_is_asked_when_the_own_one_was_asked_often_enough(room: Room) -> None:
    own, other = Venue("venue", HELD), Venue("other", dict.fromkeys(range(DUE), 9.5), quiet={9})
    del other.bars[9]
    room.repair(own, other)
    assert other.asked == []
    room.repair(own, other, now=21)
    assert room.current == [
        (2, 4, "not_delivered", 2, "from_another_venue"),
        (9, 9, "not_delivered", 2, "open"),
    ]
    assert room.candles() == HELD | {
        2: 9.5,
        3: 9.5,
        4: 9.5,
    }  # no held bar is revised
    facts = room.stores.clean_facts.month("BTCUSD", "2018-01")
    assert facts.select("source", "name").unique().rows() == [("other", "refilled")]


def test_what_nobody_gives_is_not_to_be_had_in_the_end_and_is_asked_for_no_more(room: Room) -> None:
    own, other = Venue("venue", HELD), Venue("other")
    for hour in range(5):
        room.repair(own, other, now=20 + hour)
    assert room.current == [
        (2, 4, "not_delivered", 3, "not_to_be_had"),
        (9, 9, "not_delivered", 3, "not_to_be_had"),
    ]
    assert (len(own.asked), len(other.asked)) == (3 * 2, 2 * 2)
    assert room.candles() == HELD
    assert room.gaps.history(["BTCUSD"])["state"].to_list() == ["open"] * 6 + ["not_to_be_had"] * 2


def test_venue_that_is_down_costs_no_try_and_leaves_the_gap_open(room: Room) -> None:
    down, other = Venue("venue", failure=SourceError("venue is down: try later")), Venue("other", {2: 9.0})
    for hour in range(5):
        done = room.repair(down, other, now=20 + hour)
        assert (done.rows.is_empty(), done.failures) == (True, ("venue is down: try later",))
    assert {(tries, state) for *_, tries, state in room.current} == {(0, "open")}
    assert other.asked == []


def test_venue_that_refuses_is_one_that_gives_nothing(room: Room) -> None:
    refusing = Venue("venue", failure=SourceRefusedError("venue: 451"))
    other = Venue("other", dict.fromkeys((2, 3, 4), 9.0))
    for hour in range(2):
        assert room.repair(refusing, other, now=20 + hour).failures == ("venue: 451",)
    assert room.current[0] == (2, 4, "not_delivered", 2, "from_another_venue")


def test_other_venue_that_is_down_is_told_and_the_try_counts(room: Room) -> None:
    other = Venue("other", failure=SourceError("other is down"))
    for hour in range(3):
        failures = room.repair(Venue("venue"), other, now=20 + hour).failures
    assert failures == ("other is down",)
    assert {state for *_, state in room.current} == {"not_to_be_had"}


def test_bad_bar_fills_no_gap(room: Room) -> None:
    room.repair(Venue("venue", HELD | {2: 99.0, 3: 10.0}))
    assert room.current == [
        (2, 2, "not_delivered", 1, "open"),
        (3, 3, "not_delivered", 1, "refilled"),
        (4, 4, "not_delivered", 1, "open"),
        (9, 9, "not_delivered", 1, "open"),
    ]
    rejected = room.stores.quarantine.month("BTCUSD", "2018-01")
    assert rejected.select("open_time", "reason").rows() == [(at(2), "open_or_close_outside_range")]


def test_rejected_bar_is_made_good(tmp_path: Path) -> None:
    room = Room(tmp_path, dict.fromkeys(range(DUE), 11.0) | {5: 99.0})
    assert room.current == [(5, 5, "rejected", 0, "open")]
    room.repair(Venue("venue", {5: 10.0}))
    assert room.current == [(5, 5, "rejected", 1, "refilled")]
    assert room.candles()[5] == 10.0


def test_bars_missing_at_the_end_come_late_too(tmp_path: Path) -> None:
    room = Room(tmp_path, dict.fromkeys(range(9), 11.0))
    room.repair(Venue("venue", dict.fromkeys(range(9, DUE), 10.0)))
    assert set(room.candles(known_by=19)) == set(range(9))
    assert set(room.candles()) == set(range(DUE))


def test_gap_that_was_filled_on_the_way_is_closed_without_a_question(room: Room) -> None:
    raw = room.stores.raw_candles
    late = Venue("venue", dict.fromkeys((2, 3, 4, 9), 10.0)).fetch("BTCUSD", START, at(DUE))
    raw.write("BTCUSD", "2018-01", pl.concat([raw.month("BTCUSD", "2018-01"), late.candles]))
    venue = Venue("venue")
    room.repair(venue)
    assert venue.asked == []
    assert {(tries, state) for *_, tries, state in room.current} == {(0, "refilled")}


def test_gaps_that_lie_near_each_other_share_a_request(tmp_path: Path) -> None:
    room = Room(tmp_path, dict.fromkeys((0, 2, 6, 10, 11), 11.0))
    venue = Venue("venue")
    room.repair(venue)
    assert venue.asked == [(1, 5), (5, 9), (9, 10)]


def test_killed_before_the_table_was_written_the_next_repair_ends_the_same(room: Room) -> None:
    venue = Venue("venue", HELD | {2: 10.0, 3: 9.0})
    before = room.gaps.history(["BTCUSD"])
    room.repair(venue)
    stored = room.stores.raw_candles.fingerprints(["BTCUSD"]) | room.stores.raw_facts.fingerprints(["BTCUSD"])
    room.gaps = GapTable(room.folder / "older")
    room.gaps.append(before)
    room.repair(venue, now=30)
    assert [row[-1] for row in room.current] == ["refilled", "open", "open"]
    assert stored == room.stores.raw_candles.fingerprints(["BTCUSD"]) | room.stores.raw_facts.fingerprints(
        ["BTCUSD"]
    )


RULE = Plausibility(bars=4, typical_moves=300.0, least_move=0.001, volume_factor=1e9, second_venue_move=0.05)
WILD = {**dict.fromkeys(range(DUE), 10.0), 8: 100.0}


def wild_room(folder: Path) -> Room:
    """One bar of which is far from those before it, further than the rule allows."""
    room = Room(folder, WILD, RULE)
    assert room.current == [(8, 8, "rejected", 0, "open")]
    return room


def test_bar_that_is_not_believed_stays_a_gap_while_the_venue_says_the_same(tmp_path: Path) -> None:
    room = wild_room(tmp_path)
    for hour in range(POLICY.max_tries):
        room.repair(Venue("venue", WILD), now=20 + hour)
    assert room.current == [(8, 8, "rejected", 3, "not_to_be_had")]
    assert set(room.candles()) == set(range(DUE)) - {8}


def test_bar_that_is_not_believed_is_refilled_by_a_better_version_of_it(tmp_path: Path) -> None:
    room = wild_room(tmp_path)
    room.repair(Venue("venue", WILD | {8: 10.0}))
    assert room.current == [(8, 8, "rejected", 1, "refilled")]
    assert room.candles()[8] == 10.0
    assert 8 not in room.candles(known_by=19)


def test_price_far_off_is_believed_when_another_venue_saw_it_too(tmp_path: Path) -> None:
    room = wild_room(tmp_path)
    for hour in range(POLICY.own_tries):
        room.repair(Venue("venue", WILD), Venue("other", WILD | {8: 101.0}), now=20 + hour)
    assert room.current == [(8, 8, "rejected", 2, "from_another_venue")]
    assert room.candles()[8] == 101.0


LENT = (5, 6)


def lent_room(folder: Path) -> Room:
    """A month with one absent bar, and two that a fallback gave in the place of the venue."""
    return Room(folder, {slot: 9.0 if slot in LENT else 11.0 for slot in range(DUE) if slot != 2}, lent=LENT)


def foreign(room: Room) -> list[int]:
    candles, facts = (
        store.month("BTCUSD", "2018-01") for store in (room.stores.clean_candles, room.stores.clean_facts)
    )
    others = bars_by_source(candles, facts, source="venue").filter(pl.col("source") != "venue")
    return [(moment - START) // BAR for moment in others["open_time"]]


def test_bars_that_a_fallback_gave_are_the_venues_own_once_it_answers(tmp_path: Path) -> None:
    room = lent_room(tmp_path)
    before = room.candles()
    assert foreign(room) == list(LENT)
    room.repair(Venue("venue", failure=SourceError("venue is down")))
    assert room.current[1] == (5, 6, "from_fallback", 0, "open")
    room.repair(Venue("venue", dict.fromkeys(range(DUE), 10.0) | {6: 9.0}), now=21)
    assert room.current == [(2, 2, "not_delivered", 1, "refilled"), (5, 6, "from_fallback", 1, "refilled")]
    assert foreign(room) == []
    assert room.candles() == before | {2: 10.0, 5: 10.0}
    assert room.candles(known_by=20) == before


def test_bars_of_a_fallback_stay_when_the_venue_has_none_and_no_third_one_is_asked(tmp_path: Path) -> None:
    room = lent_room(tmp_path)
    before = room.candles()
    own, other = Venue("venue"), Venue("other")
    for hour in range(5):
        room.repair(own, other, now=20 + hour)
    assert room.current == [
        (2, 2, "not_delivered", 3, "not_to_be_had"),
        (5, 6, "from_fallback", 3, "from_another_venue"),
    ]
    assert (len(own.asked), other.asked) == (3 * 2, [(2, 3)] * 2)
    assert (room.candles(), foreign(room)) == (before, list(LENT))


def test_slot_of_a_fallbacks_bar_in_which_nobody_traded_is_asked_for_once(tmp_path: Path) -> None:
    room, venue = lent_room(tmp_path), Venue("venue", {2: 10.0}, quiet=set(LENT))
    for hour in range(2):
        room.repair(venue, now=20 + hour)
    assert room.current[1] == (5, 6, "from_fallback", 1, "from_another_venue")
    assert venue.asked == [(2, 6), (6, 7)]


SLOTS = st.sets(st.integers(0, DUE - 1))


@given(held=SLOTS, own=SLOTS, quiet=SLOTS, elsewhere=SLOTS)
@settings(max_examples=30)
def test_every_absent_bar_ends_where_it_belongs(
    held: set[int], own: set[int], quiet: set[int], elsewhere: set[int]
) -> None:
    absent = set(range(DUE)) - held
    venue = Venue("venue", dict.fromkeys(own, 10.0), quiet - own)
    other = Venue("other", dict.fromkeys(elsewhere, 9.0))
    with TemporaryDirectory() as folder:
        room = Room(Path(folder), dict.fromkeys(held, 11.0))
        for hour in range(POLICY.max_tries):
            room.repair(venue, other, now=20 + hour)
        states = {
            slot: (cause, state)
            for first, last, cause, _, state in room.current
            for slot in range(first, last + 1)
        }
        assert states == {
            slot: ("not_delivered", "refilled")
            if slot in own
            else ("no_trade", "refilled")
            if slot in quiet
            else ("not_delivered", "from_another_venue" if slot in elsewhere else "not_to_be_had")
            for slot in absent
        }
        given = dict.fromkeys(elsewhere - quiet, 9.0) | dict.fromkeys(own, 10.0) | dict.fromkeys(held, 11.0)
        assert room.candles() == given
        assert room.candles(known_by=19) == dict.fromkeys(held, 11.0)
