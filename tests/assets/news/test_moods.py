"""The mood in the store of facts: history as it would have been known, and the rest from when it was made."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from fakes.scored_articles import MOOD_SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.fact_store import FactStore
from cryptoai_assets.lib.news.moods import new_moods
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import as_of_join
from edge_bundle.news.mood import SOURCE, WEIGHING, mood_facts, slots_between

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
COINS = {"BTCUSD": "BTC"}
NAME = "market_news_count_24h"
SCORED = pl.DataFrame(
    [(START + hours * HOUR, f"{hours}", "news", ["BTC"], 0.5, 0) for hours in (0.5, 3.2, 7.9, 8.1)],
    schema=MOOD_SCHEMA,
    orient="row",
)


def ticking(hours: float) -> Callable[[], datetime]:
    """Clock that is a minute on each time that it is read."""
    minutes = count()
    return lambda: START + hours * HOUR + next(minutes) * MINUTE


def told(facts: FactStore, hours: float) -> pl.DataFrame:
    at = START + hours * HOUR
    return new_moods(SCORED.filter(pl.col("known_at") <= at), COINS, facts, clock=ticking(hours))


@pytest.fixture
def facts(tmp_path: Path) -> FactStore:
    return FactStore(tmp_path)


def test_hours_before_the_first_time_are_history_and_known_at_their_slot(facts: FactStore) -> None:
    first = told(facts, 6.5)
    slots = slots_between(START + HOUR / 2, START + 6.5 * HOUR, every=HOUR)
    assert set(first.rows()) == set(mood_facts(SCORED, COINS, slots, weighing=WEIGHING).rows())
    assert first["known_at"].equals(first["event_time"])


def test_hours_since_then_are_known_when_they_were_told_also_those_slept_through(facts: FactStore) -> None:
    told(facts, 6.5)
    later = told(facts, 9.05)
    assert later["event_time"].unique().sort().to_list() == [START + hours * HOUR for hours in (7, 8, 9)]
    assert set(later["known_at"]) == {START + 9.05 * HOUR + MINUTE}
    assert told(facts, 9.5).is_empty()


def test_what_a_killed_run_left_over_is_history_and_what_came_since_is_not(facts: FactStore) -> None:
    facts.went_live(SOURCE, START + 2.5 * HOUR)
    known = told(facts, 4.5).select("event_time", "known_at").unique().sort("event_time")
    made = START + 4.5 * HOUR + MINUTE
    assert known["event_time"].to_list() == [START + hours * HOUR for hours in (1, 2, 3, 4)]
    assert known["known_at"].to_list() == [START + HOUR, START + 2 * HOUR, made, made]


def test_slots_told_before_there_was_a_note_of_it_make_all_later_ones_live(facts: FactStore) -> None:
    held = mood_facts(SCORED, COINS, [START + HOUR], weighing=WEIGHING)
    facts.append(held, fetched_at=START + HOUR)
    assert set(told(facts, 3.5)["known_at"]) == {START + 3.5 * HOUR + MINUTE}


def test_bar_that_closed_before_the_mood_was_made_reads_the_one_before(facts: FactStore) -> None:
    told(facts, 7.5)
    told(facts, 8.2)
    bars = pl.DataFrame(
        {"symbol": ["BTCUSD"] * 2, "open_time": [START + 7.5 * HOUR, START + 8 * HOUR]},
        schema={"symbol": pl.String(), "open_time": UTC_MICROSECONDS},
    )
    known = facts.read([NAME])
    joined = as_of_join(bars, known, name=NAME, interval=HOUR / 2, greatest_age=3 * HOUR)
    assert joined[NAME].to_list() == [2, 3]  # at eight the slot of seven, at half past that of eight


@settings(max_examples=30)
@given(st.lists(st.floats(0, 20), min_size=1, max_size=6))
def test_what_was_known_at_a_time_is_what_the_store_held_then(hours: list[float]) -> None:
    with TemporaryDirectory() as folder:
        facts, held = FactStore(Path(folder)), []
        for at in sorted(hours):
            told(facts, at)
            held.append((START + at * HOUR + MINUTE, facts.read([NAME])))
        for then, known in held:
            assert facts.read([NAME], known_by=then).equals(known)
