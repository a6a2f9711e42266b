"""Fact frames: what is refused, and that a bar never reads a fact before it is known."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.errors import FactsRefusedError
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, as_of_join, empty_facts, no_trade_slots, validated_facts

START = datetime(2019, 3, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAME = "active_addresses"
FOREVER = timedelta(days=3650)


def facts(*rows: tuple[str | None, datetime, datetime, float | None], name: str = NAME) -> pl.DataFrame:
    """Rows of symbol, event time, time from which it is known, and value."""
    return pl.DataFrame(
        [(symbol, event, known, "chain", name, value) for symbol, event, known, value in rows],
        schema=FACT_SCHEMA,
        orient="row",
    )


def bars(*hours: int, symbol: str = "BTCUSD") -> pl.DataFrame:
    return pl.DataFrame(
        {"open_time": [START + hour * HOUR for hour in hours], "symbol": [symbol] * len(hours)},
        schema={"open_time": FACT_SCHEMA["event_time"], "symbol": pl.String},
    )


def joined(asked: pl.DataFrame, known: pl.DataFrame, greatest_age: timedelta = FOREVER) -> list[float | None]:
    frame = as_of_join(asked, known, name=NAME, interval=HOUR, greatest_age=greatest_age)
    assert frame.columns == [*asked.columns, NAME]
    assert frame.drop(NAME).equals(asked)
    return frame[NAME].to_list()


# --- refusals


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (empty_facts().drop("known_at"), "schema is"),
        (empty_facts().with_columns(pl.col("value").cast(pl.Float32)), "schema is"),
        (
            facts((None, START, START, 1.0)).with_columns(known_at=pl.lit(None, FACT_SCHEMA["known_at"])),
            "known_at",
        ),
        (
            facts((None, START, START, 1.0)).with_columns(name=pl.lit(None, pl.String)),
            "column name is null in 1",
        ),
        (facts((None, START + HOUR, START, 1.0)), f"{NAME} is known at .* before its event .*1 such rows"),
    ],
)
def test_fact_that_breaks_the_contract_is_refused_by_name(frame: pl.DataFrame, named: str) -> None:
    with pytest.raises(FactsRefusedError, match=named):
        validated_facts(frame)


def test_facts_of_the_whole_market_and_without_a_value_are_facts() -> None:
    frame = facts((None, START, START, 1.0), ("BTCUSD", START, START + HOUR, None))
    assert validated_facts(frame) is frame
    assert validated_facts(empty_facts()).is_empty()


def test_slots_without_a_trade_are_read_from_facts_of_that_name() -> None:
    quiet = facts(("BTCUSD", START, START + HOUR, 1.0), name=NO_TRADE)
    other = facts(("BTCUSD", START + HOUR, START + HOUR, 1.0))
    assert no_trade_slots(pl.concat([quiet, other])).rows() == [("BTCUSD", START)]


# --- the join


def test_fact_joins_the_bar_that_closes_when_it_becomes_known_and_none_before() -> None:
    published = facts(("BTCUSD", START, START + 3 * HOUR, 7.0))
    assert joined(bars(0, 1, 2, 3), published) == [None, None, 7.0, 7.0]


def test_daily_fact_published_at_the_end_of_its_day_joins_the_last_bar_of_that_day() -> None:
    day = facts((None, START, START + 24 * HOUR, 7.0))
    assert joined(bars(22, 23, 24), day) == [None, 7.0, 7.0]


def test_late_revision_of_an_old_event_never_hides_a_newer_event() -> None:
    told = facts(
        ("BTCUSD", START, START, 1.0),
        ("BTCUSD", START + 2 * HOUR, START + 2 * HOUR, 2.0),
        ("BTCUSD", START, START + 4 * HOUR, 1.5),
    )
    assert joined(bars(0, 1, 3, 9), told) == [1.0, 2.0, 2.0, 2.0]


def test_revision_of_the_newest_event_counts_from_when_it_is_known() -> None:
    told = facts(("BTCUSD", START, START, 1.0), ("BTCUSD", START, START + 4 * HOUR, 1.5))
    assert joined(bars(0, 2, 3), told) == [1.0, 1.0, 1.5]


def test_event_older_than_the_greatest_age_is_no_value_though_it_was_revised_since() -> None:
    told = facts(("BTCUSD", START, START, 1.0), ("BTCUSD", START, START + 4 * HOUR, 1.5))
    assert joined(bars(0, 1, 2, 4), told, greatest_age=2 * HOUR) == [1.0, 1.0, None, None]


def test_fact_of_a_symbol_joins_its_bars_only_and_one_of_the_market_joins_all() -> None:
    asked = pl.concat([bars(0, 3), bars(0, 3, symbol="ETHUSD")])
    told = facts(("ETHUSD", START, START, 1.0), (None, START + 2 * HOUR, START + 2 * HOUR, 2.0))
    assert joined(asked, told) == [None, 2.0, 1.0, 2.0]


def test_facts_of_another_name_or_none_at_all_leave_a_null() -> None:
    assert joined(bars(0), facts(("BTCUSD", START, START, 1.0), name="other")) == [None]
    assert joined(bars(0), empty_facts()) == [None]
    assert joined(bars(), empty_facts()) == []


@pytest.mark.parametrize(
    "clock_change", [datetime(2019, 3, 31, tzinfo=UTC), datetime(2019, 10, 27, tzinfo=UTC)]
)
def test_night_of_a_clock_change_is_a_night_like_any_other(clock_change: datetime) -> None:
    plain = datetime(2019, 6, 10, tzinfo=UTC)

    def night(midnight: datetime) -> list[float | None]:
        moved = bars(*range(26)).with_columns(pl.col("open_time") + (midnight - START))
        known = facts(*((None, midnight + h * HOUR, midnight + (h + 2) * HOUR, float(h)) for h in range(24)))
        return joined(moved, known, greatest_age=3 * HOUR)

    assert night(clock_change) == night(plain)


# --- properties, against a plain loop

SYMBOLS = ("BTCUSD", "ETHUSD")
FACTS = st.lists(
    st.tuples(
        st.sampled_from((*SYMBOLS, None)), st.integers(0, 12), st.integers(0, 12), st.integers(0, 99)
    ).map(lambda row: (row[0], START + row[1] * HOUR, START + (row[1] + row[2]) * HOUR, float(row[3]))),
    max_size=12,
    # One version of an event is known at one time, so that the newest is never a matter of taste.
    unique_by=lambda row: (row[1], row[2]),
)


def looked_up(row: dict[str, Any], known: pl.DataFrame, greatest_age: timedelta) -> float | None:
    read_at = row["open_time"] + HOUR
    candidates = [
        (fact["event_time"], fact["known_at"], fact["value"])
        for fact in known.iter_rows(named=True)
        if fact["symbol"] in (None, row["symbol"]) and fact["known_at"] <= read_at
    ]
    if not candidates:
        return None
    event, _, value = max(candidates)
    return float(value) if read_at - event <= greatest_age else None


@given(rows=FACTS, age=st.integers(0, 26))
def test_join_is_what_a_plain_search_finds(rows: list[Any], age: int) -> None:
    asked = pl.concat([bars(*range(26)), bars(*range(26), symbol="ETHUSD")])
    known = facts(*rows)
    wanted = [looked_up(row, known, age * HOUR) for row in asked.iter_rows(named=True)]
    assert joined(asked, known, age * HOUR) == wanted


@given(rows=FACTS, cut=st.integers(0, 26))
def test_what_becomes_known_later_changes_no_earlier_bar(rows: list[Any], cut: int) -> None:
    asked = bars(*range(26))
    known = facts(*rows)
    known_by_then = known.filter(pl.col("known_at") <= START + cut * HOUR)
    assert joined(asked, known_by_then)[:cut] == joined(asked, known)[:cut]
