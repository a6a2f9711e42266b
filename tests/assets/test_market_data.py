"""Market data on their way into the store, from a source that gives good and bad rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from fakes.archives import embedded_candles
from fakes.s3_server import s3_bucket
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.leaks import features_ignore_later_bars
from cryptoai_assets.lib.market import PRESETS
from cryptoai_assets.lib.market_data import (
    REFILLED,
    MarketStores,
    TakenIn,
    appended,
    awaited_bars,
    cleaned,
    givers,
    ingested,
    knowledge,
    known_candles,
    late_moments,
    stand_ins,
)
from cryptoai_assets.lib.monthly_features import month_features
from cryptoai_assets.lib.quality import Plausibility
from cryptoai_assets.lib.sources.candle_source import CandleSource, Fetched, SourceError
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK, FallbackSource
from cryptoai_assets.lib.store import StoreError
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.errors import FactsRefusedError
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, no_trade_slots
from edge_bundle.windows import MarketWindow, window_features

START, END = datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 2, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)


@dataclass(frozen=True)
class TypedSource:
    """Gives bars with these closes, by slot, and these slots as no-trade evidence."""

    closes: dict[int, float]
    quiet: tuple[int, ...] = ()
    known_after: timedelta = BAR
    name: str = "typed"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        slots = {slot: start + slot * BAR for slot in (*self.closes, *self.quiet)}
        assert max(slots.values()) < end
        candles = [(slots[slot], symbol, 10.0, 12.0, 8.0, close, 1.0) for slot, close in self.closes.items()]
        facts = [
            (symbol, slots[slot], slots[slot] + self.known_after, self.name, NO_TRADE, 1.0)
            for slot in self.quiet
        ]
        return Fetched(
            pl.DataFrame(candles, schema=CANDLE_SCHEMA, orient="row"),
            pl.DataFrame(facts, schema=FACT_SCHEMA, orient="row"),
        )


def ingest(source: TypedSource, stores: MarketStores) -> None:
    ingested(source, stores, symbol="BTCUSD", month="2018-01", start=START, end=END)


def slots_of(frame: pl.DataFrame) -> list[int]:
    return [(time - START) // BAR for time in frame["open_time"]]


def test_rows_go_to_the_clean_store_or_the_quarantine(tmp_path: Path) -> None:
    stores = MarketStores(tmp_path)
    ingest(TypedSource({0: 11.0, 1: 13.0, 2: 11.5}), stores)
    assert slots_of(stores.raw_candles.month("BTCUSD", "2018-01")) == [0, 1, 2]
    told = cleaned(stores, symbol="BTCUSD", month="2018-01", interval="30m")
    assert stores.clean_candles.month("BTCUSD", "2018-01").equals(told.accepted)
    assert slots_of(told.accepted) == [0, 2]
    rejected = stores.quarantine.month("BTCUSD", "2018-01")
    assert (slots_of(rejected), rejected["reason"].to_list()) == ([1], ["open_or_close_outside_range"])


def test_slot_with_a_row_of_any_quality_is_no_longer_a_no_trade_slot(tmp_path: Path) -> None:
    stores = MarketStores(tmp_path)
    ingest(TypedSource({0: 11.0, 1: 13.0}, quiet=(0, 1, 2)), stores)
    cleaned(stores, symbol="BTCUSD", month="2018-01", interval="30m")
    assert slots_of(no_trade_slots(stores.clean_facts.month("BTCUSD", "2018-01"))) == [2]


def test_month_that_is_fetched_again_replaces_what_was_there(tmp_path: Path) -> None:
    stores = MarketStores(tmp_path)
    for closes in ({0: 11.0, 1: 11.0}, {0: 11.0, 2: 9.0}):
        ingest(TypedSource(closes), stores)
        cleaned(stores, symbol="BTCUSD", month="2018-01", interval="30m")
    assert slots_of(stores.clean_candles.read(["BTCUSD"])) == [0, 2]


def test_evidence_known_before_its_slot_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    stores = MarketStores(tmp_path)
    with pytest.raises(FactsRefusedError, match="before its event"):
        ingest(TypedSource({0: 11.0}, quiet=(1,), known_after=-BAR), stores)
    with pytest.raises(StoreError, match="is absent"):
        stores.raw_candles.month("BTCUSD", "2018-01")


# --- a month that grows

HEAD = 96  # bars that are stored first
OVERLAP = 4 * BAR


@dataclass
class Venue:
    """Answers what it holds at the time, unless it is away, and remembers what it was asked."""

    bars: dict[int, float] = field(default_factory=dict)
    quiet: set[int] = field(default_factory=set)
    asked: list[tuple[int, int]] = field(default_factory=list)
    name: str = "venue"
    away: bool = False

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        window = [(moment - START) // BAR for moment in (start, end)]
        self.asked.append((window[0], window[1]))
        if self.away:
            raise SourceError(f"{self.name} is away")
        within = range(*window)
        now = end
        candles = [candle(slot, close) for slot, close in self.bars.items() if slot in within]
        facts = [
            (symbol, at(slot), now, self.name, NO_TRADE, 1.0) for slot in sorted(self.quiet) if slot in within
        ]
        return Fetched(
            pl.DataFrame(candles, schema=CANDLE_SCHEMA, orient="row"),
            pl.DataFrame(facts, schema=FACT_SCHEMA, orient="row"),
        )


def at(slot: int) -> datetime:
    return START + slot * BAR


def candle(slot: int, close: float) -> tuple[object, ...]:
    return (at(slot), "BTCUSD", 10.0, 12.0, 8.0, close, 1.0)


def grown(venue: CandleSource, stores: MarketStores, slots: int, now: datetime | None = None) -> TakenIn:
    """Append up to a slot, as it was known when that slot began."""
    return month_appended(venue, stores, end=at(slots), now=now or at(slots), overlap=OVERLAP)


def month_appended(
    venue: CandleSource, stores: MarketStores, *, end: datetime, now: datetime, overlap: timedelta
) -> TakenIn:
    return appended(
        venue,
        stores,
        symbol="BTCUSD",
        month="2018-01",
        start=START,
        end=end,
        interval="30m",
        overlap=overlap,
        now=now,
    )


def test_bars_that_were_due_are_awaited_until_they_come(tmp_path: Path) -> None:
    stores, venue = MarketStores(tmp_path), Venue(dict.fromkeys(range(4), 11.0))

    def awaited(slots: int) -> list[tuple[object, ...]]:
        grown(venue, stores, slots)
        raw, facts = (store.month("BTCUSD", "2018-01") for store in (stores.raw_candles, stores.raw_facts))
        return awaited_bars(raw, facts).rows()

    assert awaited(4) == []
    assert awaited(6) == [("BTCUSD", at(4), 2)]
    assert awaited(9) == [("BTCUSD", at(4), 5)]
    venue.bars |= {4: 11.0, 5: 11.0}
    assert awaited(9) == [("BTCUSD", at(6), 3)]
    venue.bars |= dict.fromkeys(range(10), 11.0)
    assert awaited(10) == []


def stored(stores: MarketStores, known_by: datetime | None = None) -> dict[int, float]:
    clean(stores)
    candles = known_candles(
        stores.clean_candles.month("BTCUSD", "2018-01"),
        stores.clean_facts.month("BTCUSD", "2018-01"),
        interval="30m",
        known_by=known_by,
    )
    return dict(zip(slots_of(candles), candles["close"], strict=True))


def clean(stores: MarketStores) -> pl.DataFrame:
    return cleaned(stores, symbol="BTCUSD", month="2018-01", interval="30m").rejected


def said(stores: MarketStores, *, of_newest: bool = False) -> list[tuple[int, str, float, int]]:
    """Slot, name, value and the slot at which it became known, of facts about bars, or about newest ones."""
    facts = stores.raw_facts.month("BTCUSD", "2018-01")
    rows = facts.filter((pl.col("name") == "not_delivered") == of_newest).rows(named=True)
    return [
        ((row["event_time"] - START) // BAR, row["name"], row["value"], (row["known_at"] - START) // BAR)
        for row in rows
    ]


@pytest.fixture
def stores(tmp_path: Path) -> MarketStores:
    return MarketStores(tmp_path)


def test_growing_month_asks_for_the_newest_bars_and_a_little_before_them(stores: MarketStores) -> None:
    venue = Venue(dict.fromkeys(range(HEAD), 11.0))
    assert grown(venue, stores, 90).candles.height == 90
    venue.asked.clear()
    assert grown(venue, stores, HEAD).candles.height == HEAD - 90
    assert venue.asked == [(86, HEAD)]
    assert slots_of(stores.raw_candles.month("BTCUSD", "2018-01")) == list(range(HEAD))
    assert said(stores) == []


def test_growing_month_equals_one_that_was_fetched_whole(stores: MarketStores, tmp_path: Path) -> None:
    venue = Venue({slot: 9.0 + slot % 3 for slot in range(HEAD) if slot % 7}, {0, 7, 14})
    for end in (0, 1, 30, 31, 60, HEAD):
        grown(venue, stores, end)
    whole = MarketStores(tmp_path / "whole")
    ingested(venue, whole, symbol="BTCUSD", month="2018-01", start=START, end=at(HEAD))
    for one in (stores, whole):
        clean(one)
    assert stores.clean_candles.read(["BTCUSD"]).equals(whole.clean_candles.read(["BTCUSD"]))
    quiet = [no_trade_slots(one.clean_facts.read(["BTCUSD"])) for one in (stores, whole)]
    assert quiet[0].equals(quiet[1])


def test_answer_that_repeats_itself_writes_nothing(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 2: 11.0}, {1})
    grown(venue, stores, 3)
    before = [one.fingerprints(["BTCUSD"]) for one in (stores.raw_candles, stores.raw_facts)]
    again = grown(venue, stores, 3, now=at(10))
    assert (again.candles.height, again.facts.height, again.rejected.height) == (0, 0, 0)
    assert [one.fingerprints(["BTCUSD"]) for one in (stores.raw_candles, stores.raw_facts)] == before
    # Known like a bar of its slot, whose close it is, and not when it happened to be asked for.
    assert said(stores) == [(1, NO_TRADE, 1.0, 2)]


def test_month_without_a_bar_yet_is_stored_as_empty(stores: MarketStores) -> None:
    grown(Venue(), stores, 0)
    assert stores.raw_candles.month("BTCUSD", "2018-01").is_empty()
    assert stores.raw_facts.month("BTCUSD", "2018-01").is_empty()


def test_bar_that_changed_is_a_revision_and_its_first_version_stays(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 1: 11.0})
    grown(venue, stores, 2)
    venue.bars[1] = 9.0
    assert grown(venue, stores, 3).candles.is_empty()
    assert said(stores) == [(1, "revised_close", 9.0, 3)]
    assert stores.raw_candles.month("BTCUSD", "2018-01")["close"].to_list() == [11.0, 11.0]
    assert stored(stores, known_by=at(2)) == {0: 11.0, 1: 11.0}
    assert stored(stores, known_by=at(3)) == stored(stores) == {0: 11.0, 1: 9.0}
    venue.bars[1] = 11.0
    for end in (4, 5):
        grown(venue, stores, end)
    assert said(stores)[1:] == [(1, "revised_close", 11.0, 4)]
    assert stored(stores) == {0: 11.0, 1: 11.0}


def test_bar_that_comes_late_is_kept_and_was_not_known_before(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 2: 11.0})
    grown(venue, stores, 3)
    venue.bars[1] = 10.0
    grown(venue, stores, 4)
    assert said(stores) == [(1, "refilled", 1.0, 4)]
    assert stored(stores, known_by=at(3)) == {0: 11.0, 2: 11.0}
    assert stored(stores, known_by=at(4)) == {0: 11.0, 1: 10.0, 2: 11.0}


def test_bar_in_a_slot_that_was_said_to_be_quiet_comes_late_even_at_the_end(stores: MarketStores) -> None:
    venue = Venue({0: 11.0}, {1})
    grown(venue, stores, 2)
    venue.bars[1] = 10.0
    venue.quiet.clear()
    grown(venue, stores, 3)
    assert said(stores) == [(1, NO_TRADE, 1.0, 2), (1, "refilled", 1.0, 3)]
    assert stored(stores, known_by=at(2)) == {0: 11.0}
    assert stored(stores) == {0: 11.0, 1: 10.0}
    assert said(stores)[0] == (1, NO_TRADE, 1.0, 2)  # what was known until then stays
    assert no_trade_slots(stores.clean_facts.read(["BTCUSD"]))["open_time"].to_list() == [at(1)]


def test_newest_bars_that_were_due_and_did_not_come_are_late_when_they_do(stores: MarketStores) -> None:
    venue = Venue({0: 11.0})
    for end in (2, 3):
        grown(venue, stores, end)
    assert said(stores, of_newest=True) == [(1, "not_delivered", 1.0, 2), (1, "not_delivered", 2.0, 3)]
    venue.bars |= {1: 10.0, 2: 9.0, 3: 11.0}
    grown(venue, stores, 4)
    assert said(stores) == [(1, "refilled", 1.0, 4), (2, "refilled", 1.0, 4)]
    assert stored(stores, known_by=at(3)) == {0: 11.0}
    assert stored(stores, known_by=at(4)) == venue.bars


def test_evidence_about_an_old_slot_is_known_when_it_is_heard(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 2: 11.0})
    grown(venue, stores, 3)
    venue.quiet.add(1)
    grown(venue, stores, 3, now=at(9))
    assert said(stores) == [(1, NO_TRADE, 1.0, 9)]


def test_bad_bar_is_made_good_by_a_later_answer(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 1: 99.0, 2: 11.0})  # its close lies above its high
    grown(venue, stores, 3)
    assert stored(stores) == {0: 11.0, 2: 11.0}
    venue.bars[1] = 10.0
    grown(venue, stores, 4)
    assert stored(stores, known_by=at(3)) == {0: 11.0, 2: 11.0}
    assert stored(stores) == {0: 11.0, 1: 10.0, 2: 11.0}
    rejected = stores.quarantine.month("BTCUSD", "2018-01")
    assert rejected.select("close", "reason").rows() == [(99.0, "open_or_close_outside_range")]


def test_good_bar_is_not_undone_by_a_bad_version_of_it(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 1: 10.0})
    grown(venue, stores, 2)
    venue.bars[1] = 99.0
    for end in (3, 4):
        grown(venue, stores, end)
    assert stored(stores) == {0: 11.0, 1: 10.0}
    assert said(stores) == []
    assert clean(stores).select("close", "reason").rows() == [(99.0, "open_or_close_outside_range")]


def test_two_versions_at_the_first_look_are_settled_by_the_next(stores: MarketStores) -> None:
    @dataclass
    class Stutter(Venue):
        def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
            first = super().fetch(symbol, start, end)
            other = first.candles.filter(open_time=at(1)).with_columns(close=pl.lit(9.5))
            return Fetched(pl.concat([first.candles, other]), first.facts)

    grown(Stutter({0: 11.0, 1: 10.0, 2: 11.0}), stores, 3)
    assert clean(stores)["reason"].to_list() == ["duplicate_with_other_values"] * 2
    grown(Venue({0: 11.0, 1: 10.0, 2: 11.0}), stores, 4)
    assert stored(stores) == {0: 11.0, 1: 10.0, 2: 11.0}
    assert clean(stores)["reason"].to_list() == ["duplicate_with_other_values"] * 2


def grown_with_fallback(own: Venue, other: Venue, stores: MarketStores, slots: int) -> None:
    grown(FallbackSource((own, other), lambda: at(slots)), stores, slots)


def test_fallback_gives_bars_where_there_is_none_and_touches_no_good_one(stores: MarketStores) -> None:
    own, other = Venue(dict.fromkeys(range(4), 11.0)), Venue(dict.fromkeys(range(6), 9.0), name="other")
    grown_with_fallback(own, other, stores, 4)
    own.away = True
    for slots in (4, 6):
        grown_with_fallback(own, other, stores, slots)
    assert other.asked == [(0, 4), (0, 6)]
    assert stored(stores) == own.bars | {4: 9.0, 5: 9.0}
    assert said(stores) == [(4, FROM_FALLBACK, 1.0, 6), (5, FROM_FALLBACK, 1.0, 6)]


def test_fallback_is_heard_where_the_bar_of_the_venue_is_bad_or_did_not_come_and_named(
    stores: MarketStores,
) -> None:
    own, other = Venue({0: 11.0, 1: 99.0, 3: 11.0}), Venue(dict.fromkeys(range(4), 9.0), name="other")
    grown_with_fallback(own, other, stores, 4)
    own.away = True
    grown_with_fallback(own, other, stores, 5)
    assert stored(stores) == {0: 11.0, 1: 9.0, 2: 9.0, 3: 11.0}
    assert stored(stores, known_by=at(4)) == {0: 11.0, 3: 11.0}
    facts = stores.raw_facts.month("BTCUSD", "2018-01").filter(pl.col("name") == REFILLED)
    assert facts["source"].to_list() == ["other", "other"]


def test_bad_bar_of_a_fallback_that_it_makes_good_itself_is_still_not_the_venues(
    stores: MarketStores,
) -> None:
    own, other = Venue({0: 11.0}), Venue({1: 99.0}, name="other")
    grown_with_fallback(own, other, stores, 1)
    own.away = True
    grown_with_fallback(own, other, stores, 2)
    other.bars[1] = 9.0
    grown_with_fallback(own, other, stores, 3)
    assert stored(stores) == {0: 11.0, 1: 9.0}
    assert stand_ins(stores.raw_facts.month("BTCUSD", "2018-01"))["open_time"].to_list() == [at(1)]


@pytest.mark.parametrize("close", [11.0, 9.0], ids=["another", "the same"])
def test_bar_of_a_fallback_that_the_venue_gives_after_all_is_its_own_from_then_on(
    close: float, stores: MarketStores
) -> None:
    own, other = Venue({0: 11.0}), Venue(dict.fromkeys(range(3), 9.0), name="other")
    grown_with_fallback(own, other, stores, 1)
    own.away = True
    grown_with_fallback(own, other, stores, 3)
    own.away, own.bars = False, {0: 11.0, 1: close, 2: close}
    for slots in (3, 4):
        grown_with_fallback(own, other, stores, slots)
    own.away = True
    grown_with_fallback(own, other, stores, 3)
    assert stored(stores) == own.bars
    facts = stores.raw_facts.month("BTCUSD", "2018-01")
    assert stand_ins(facts).is_empty()
    assert givers(facts).sort("open_time").rows() == [
        ("BTCUSD", at(1), "venue"),
        ("BTCUSD", at(2), "venue"),
    ]


def test_growing_month_on_s3_is_the_one_on_disk(stores: MarketStores) -> None:
    venue = Venue({0: 11.0, 2: 11.0}, {3})
    with s3_bucket() as bucket:
        there = MarketStores(bucket / "data")
        for one in (stores, there):
            venue.bars = {0: 11.0, 2: 11.0}
            grown(venue, one, 4)
            venue.bars = {0: 11.0, 1: 10.0, 2: 9.0, 4: 11.0}
            grown(venue, one, 5)
        assert stored(there) == stored(stores) == {0: 11.0, 1: 10.0, 2: 9.0, 4: 11.0}
        assert there.raw_facts.read(["BTCUSD"]).equals(stores.raw_facts.read(["BTCUSD"]))


def test_bars_are_judged_by_those_of_the_month_before(stores: MarketStores) -> None:
    rule = Plausibility(
        bars=20, typical_moves=200.0, least_move=0.001, volume_factor=150.0, second_venue_move=0.05
    )
    calm = [candle(slot, 10.0) for slot in range(-20, 48)]
    bars = pl.DataFrame(calm, schema=CANDLE_SCHEMA, orient="row").with_columns(high=10.1, low=9.9)
    before, after = bars.head(20), bars.tail(48)
    stores.raw_candles.write("BTCUSD", "2018-01", after)
    stores.raw_facts.write("BTCUSD", "2018-01", pl.DataFrame(schema=FACT_SCHEMA))

    def january() -> int:
        told = cleaned(stores, symbol="BTCUSD", month="2018-01", interval="30m", plausibility=rule)
        return told.rejected.height

    assert january() == 0
    higher = before.with_columns(pl.col("open", "high", "low", "close") * 100)
    stores.raw_candles.write("BTCUSD", "2017-12", higher)
    assert january() == 11  # until most of the bars before agree


SLOT = st.integers(0, 11)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["bar", "bad", "quiet", "nothing"]), SLOT, st.sampled_from([9.0, 10.0, 11.0])),
    max_size=14,
)


def days_of(venue: Venue, events: list[tuple[str, int, float]]) -> Iterator[int]:
    """The venue as it changes: two events, then a bar's time goes by."""
    for place, (kind, slot, close) in enumerate(events):
        venue.quiet.discard(slot)
        venue.bars.pop(slot, None)
        if kind in ("bar", "bad"):
            venue.bars[slot] = close if kind == "bar" else 99.0
        elif kind == "quiet":
            venue.quiet.add(slot)
        if place % 2:
            yield 12 + place // 2


@given(events=EVENTS)
@settings(max_examples=25)
def test_what_was_known_at_a_time_is_the_same_whenever_it_is_asked(
    events: list[tuple[str, int, float]],
) -> None:
    with TemporaryDirectory() as folder:
        stores, venue, seen = MarketStores(Path(folder)), Venue(), {}
        for now in days_of(venue, events):
            month_appended(venue, stores, end=at(12), now=at(now), overlap=12 * BAR)
            seen[now] = stored(stores, known_by=at(now))
            good = {slot: close for slot, close in venue.bars.items() if close != 99.0}
            assert good.items() <= seen[now].items()  # what the venue says now is what is known now
        for now, known in seen.items():
            assert stored(stores, known_by=at(now)) == known


@given(
    looks=st.lists(
        st.tuples(st.booleans(), st.dictionaries(SLOT, st.sampled_from([9.0, 10.0, 11.0]))), max_size=7
    )
)
@settings(max_examples=25)
def test_venue_that_comes_and_goes_is_believed_before_its_fallback_and_no_past_changes(
    looks: list[tuple[bool, dict[int, float]]],
) -> None:
    own, other = Venue(), Venue(dict.fromkeys(range(12), 10.5), name="other")
    before, seen = dict[int, float](), {}
    with TemporaryDirectory() as folder:
        stores = MarketStores(Path(folder))
        for now, (own.away, own.bars) in enumerate(looks, start=12):
            source = FallbackSource((own, other), partial(at, now))
            month_appended(source, stores, end=at(12), now=at(now), overlap=12 * BAR)
            seen[now] = stored(stores, known_by=at(now))
            assert seen[now] == (other.bars | before if own.away else before | own.bars)
            before = seen[now]
        for now, known in seen.items():
            assert stored(stores, known_by=at(now)) == known


FEATURES = ("log_return_1", "log_return_3", "volume_ratio_5", "return_deviation_5", "close_location")
DAYS, BARS_A_DAY = 5, 48
FATES = st.dictionaries(
    st.integers(0, DAYS * BARS_A_DAY - 1),
    st.tuples(st.sampled_from(["late", "revised", "quiet at first", "never"]), st.integers(1, 4)),
    min_size=5,
    max_size=40,
)


@dataclass
class FickleVenue:
    """Real bars, of which some come days late, change after days, or never come."""

    bars: pl.DataFrame
    fates: dict[int, tuple[str, int]]
    now: datetime = START
    name: str = "venue"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        candles, quiet = [], []
        for slot, row in enumerate(self.bars.rows()):
            if not start <= row[0] < end:
                continue
            fate, days = self.fates.get(slot, ("on time", 0))
            settled = self.now >= START + slot * BAR + days * timedelta(days=1)
            if fate == "never" or (fate == "late" and not settled):
                continue
            if fate == "quiet at first" and not settled:
                quiet.append((symbol, row[0], self.now, self.name, NO_TRADE, 1.0))
            elif fate == "revised" and not settled:
                candles.append((*row[:-1], row[-1] * 2))
            else:
                candles.append(row)
        return Fetched(
            pl.DataFrame(candles, schema=CANDLE_SCHEMA, orient="row"),
            pl.DataFrame(quiet, schema=FACT_SCHEMA, orient="row"),
        )


def look_at_all(venue: FickleVenue, stores: MarketStores) -> None:
    """Take in what the venue says now of all days."""
    end = min(venue.now, START + timedelta(days=DAYS))
    month_appended(venue, stores, end=end, now=venue.now, overlap=timedelta(days=31))


@pytest.fixture(scope="module")
def real_bars() -> pl.DataFrame:
    candles = embedded_candles().filter(pl.col("symbol") == "BTCUSD")
    start = candles["open_time"].search_sorted(START)
    bars = candles.slice(start, DAYS * BARS_A_DAY)
    assert bars["open_time"][-1] == START + (DAYS * BARS_A_DAY - 1) * BAR
    return bars


@given(fates=FATES)
@settings(max_examples=10)
def test_features_of_a_day_are_the_same_that_day_and_a_month_later(
    real_bars: pl.DataFrame, fates: dict[int, tuple[str, int]]
) -> None:
    venue = FickleVenue(real_bars, fates)

    def features(stores: MarketStores, known_by: datetime) -> pl.DataFrame:
        candles = stores.clean_candles.month("BTCUSD", "2018-01")
        facts = stores.clean_facts.month("BTCUSD", "2018-01")
        window = MarketWindow(
            known_candles(candles, facts, interval="30m", known_by=known_by),
            facts.filter(pl.col("known_at") <= known_by),
        )
        return window_features(window, FEATURES, interval="30m", max_missing_bars=3)

    with TemporaryDirectory() as folder:
        stores, that_day = MarketStores(Path(folder)), {}
        for day in (1, 2, 3, 4, 5, 35):
            venue.now = START + timedelta(days=day)
            look_at_all(venue, stores)
            clean(stores)
            that_day[venue.now] = features(stores, venue.now)
        for known_by, then in that_day.items():
            assert features(stores, known_by).equals(then)
        settled = real_bars.filter(
            ~pl.int_range(pl.len()).is_in([slot for slot, (fate, _) in fates.items() if fate == "never"])
        )
        latest = known_candles(
            stores.clean_candles.month("BTCUSD", "2018-01"),
            stores.clean_facts.month("BTCUSD", "2018-01"),
            interval="30m",
            known_by=None,
        )
        assert latest.equals(settled)


# The bar behind a hole closes at the very moment at which others came late, and a quiet slot follows.
@example(fates={190: ("late", 1), 128: ("late", 1), 193: ("quiet at first", 1)})
@given(fates=FATES)
@settings(max_examples=10)
def test_stored_features_of_each_bar_hold_what_was_known_when_it_closed(
    real_bars: pl.DataFrame, fates: dict[int, tuple[str, int]]
) -> None:
    venue = FickleVenue(real_bars, fates)
    with TemporaryDirectory() as folder:
        home = Home(Path(folder), PRESETS["sample"])
        before = pl.DataFrame()
        for day in (1, 2, 3, 4, 5, 35):
            venue.now = START + timedelta(days=day)
            look_at_all(venue, home.stores)
            clean(home.stores)
            features = month_features(home, "BTCUSD", "2018-01", FEATURES)
            # What came late or was revised since changes no row that was there before.
            assert features.head(before.height).equals(before) or before.is_empty()
            before = features
        candles, facts = (
            home.stores.clean_candles.month("BTCUSD", "2018-01"),
            home.stores.clean_facts.month("BTCUSD", "2018-01"),
        )
        found = features_ignore_later_bars(
            before,
            MarketWindow(candles, facts),
            FEATURES,
            interval="30m",
            max_missing_bars=3,
            greatest_age={},
            cuts=[START + timedelta(days=day, hours=7) for day in range(1, DAYS)],
        )
        assert found.holds, found.sentence


def refilled(slots: dict[int, timedelta]) -> pl.DataFrame:
    """Facts about bars that came that long after their close."""
    return pl.DataFrame(
        [
            ("BTCUSD", START + slot * BAR, START + (slot + 1) * BAR + late, "venue", REFILLED, 1.0)
            for slot, late in slots.items()
        ],
        schema=FACT_SCHEMA,
        orient="row",
    )


def test_moments_that_no_bar_tells_apart_are_one() -> None:
    minute = timedelta(minutes=1)
    facts = refilled({1: BAR + minute, 2: 3 * minute, 5: BAR, 6: minute, 9: timedelta(0)})
    # Bars 1 and 2 come while bar 3 is open, 5 at the close of the bar behind it, 6 a minute after its close.
    assert late_moments(facts, interval="30m", until=END) == [
        START + 3 * BAR + 3 * minute,
        START + 7 * BAR,
        START + 7 * BAR + minute,
    ]
    assert late_moments(facts, interval="30m", until=START + 7 * BAR)[-1] == START + 7 * BAR


def test_behind_a_moment_only_what_is_near_is_known_of_slots(real_bars: pl.DataFrame) -> None:
    facts = refilled({20: BAR, 100: BAR})
    other = facts.head(1).with_columns(name=pl.lit("difficulty"))
    first, second, third = knowledge(
        real_bars, pl.concat([facts, other]), interval="30m", until=END, reach=10 * BAR
    )
    assert first.candles.height == real_bars.height - 2
    assert (second.since, third.since) == (START + 22 * BAR, START + 102 * BAR)
    # Bar 100 is not known yet to the second, bar 20 is out of reach of the third.
    assert second.candles["open_time"][0] == START + 12 * BAR
    assert second.candles.height == real_bars.height - 12 - 1
    assert third.candles["open_time"][0] == START + 92 * BAR
    assert third.facts["name"].to_list() == [REFILLED, "difficulty"]


def test_late_moments_of_a_month_and_of_the_one_before_neither_double_nor_lose_a_row(
    real_bars: pl.DataFrame, tmp_path: Path
) -> None:
    home, names = Home(tmp_path, PRESETS["sample"]), ("log_return_1",)
    home.stores.clean_candles.write("BTCUSD", "2018-01", real_bars)
    later = real_bars.with_columns(pl.col("open_time") + timedelta(days=31))
    home.stores.clean_candles.write("BTCUSD", "2018-02", later)
    late = refilled(dict.fromkeys(range(100, 120, 2), BAR))
    home.stores.clean_facts.write("BTCUSD", "2018-01", late)
    home.stores.clean_facts.write(
        "BTCUSD", "2018-02", late.with_columns(pl.col("event_time", "known_at") + timedelta(days=31))
    )
    found = month_features(home, "BTCUSD", "2018-02", names)
    assert found["open_time"].to_list() == later["open_time"].to_list()
    assert found["log_return_1"].null_count() == 1
