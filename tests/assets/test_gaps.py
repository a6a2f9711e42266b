"""The table of gaps: what is recorded, what is not recorded twice, and which row about a slot counts."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from fakes.s3_server import s3_bucket
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.gaps import GAP_SCHEMA, GapTable, find_gaps, runs_of, slots_of
from cryptoai_assets.lib.market_data import MarketStores, cleaned
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK
from cryptoai_assets.lib.store import StoreError
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE

START = datetime(2018, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
DUE = 10  # bars


def at(slot: int) -> datetime:
    return START + slot * BAR


def store_month(stores: MarketStores, bars: list[int], quiet: list[int], bad: tuple[int, ...] = ()) -> None:
    candles = [(at(slot), "BTCUSD", 10.0, 12.0, 8.0, 99.0 if slot in bad else 11.0, 1.0) for slot in bars]
    facts = [("BTCUSD", at(slot), at(slot + 1), "venue", NO_TRADE, 1.0) for slot in quiet]
    stores.raw_candles.write("BTCUSD", "2018-01", pl.DataFrame(candles, schema=CANDLE_SCHEMA, orient="row"))
    stores.raw_facts.write("BTCUSD", "2018-01", pl.DataFrame(facts, schema=FACT_SCHEMA, orient="row"))
    cleaned(stores, symbol="BTCUSD", month="2018-01", interval="30m")


def found(table: GapTable, stores: MarketStores, *, due: int = DUE, venue: str = "Bitfinex") -> pl.DataFrame:
    return find_gaps(
        table,
        stores,
        symbol="BTCUSD",
        month="2018-01",
        interval="30m",
        venue=venue,
        start=START,
        end=at(due),
        now=at(due),
    )


def told(rows: pl.DataFrame) -> list[tuple[int, int, str, int, str]]:
    return [
        ((first - START) // BAR, (last - START) // BAR, *rest)
        for first, last, *rest in rows.select("from", "to", "cause", "tries", "state").rows()
    ]


@pytest.fixture
def stores(tmp_path: Path) -> MarketStores:
    return MarketStores(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> GapTable:
    return GapTable(tmp_path / "gaps")


def row(first: int, last: int, state: str, known: int, tries: int = 0) -> pl.DataFrame:
    values = ("BTCUSD", "Bitfinex", at(first), at(last), "not_delivered", tries, state, at(known))
    return pl.DataFrame([values], schema=GAP_SCHEMA, orient="row")


def test_absent_bars_are_gaps_unless_nobody_traded(stores: MarketStores, table: GapTable) -> None:
    store_month(stores, bars=[0, 1, 5, 6, 8], quiet=[3, 9], bad=(6,))
    rows = found(table, stores)
    assert told(rows) == [
        (2, 2, "not_delivered", 0, "open"),
        (4, 4, "not_delivered", 0, "open"),
        (6, 6, "rejected", 0, "open"),
        (7, 7, "not_delivered", 0, "open"),
    ]
    assert rows.select("symbol", "venue", "known_at").unique().rows() == [("BTCUSD", "Bitfinex", at(DUE))]
    assert table.history(["BTCUSD"]).equals(rows)
    assert dict(rows.schema) == GAP_SCHEMA


def test_bar_that_a_fallback_gave_is_a_gap_of_the_venue_until_it_gives_it(
    stores: MarketStores, table: GapTable
) -> None:
    store_month(stores, bars=[0, 1, 2, 3, 5, 6, 7, 8, 9], quiet=[], bad=(6,))
    marks = [
        ("BTCUSD", at(slot), at(20 + (value == 0)), "other", FROM_FALLBACK, value)
        for slot, value in ((1, 1.0), (2, 2.0), (3, 1.0), (3, 0.0), (6, 1.0))
    ]
    stores.clean_facts.write("BTCUSD", "2018-01", pl.DataFrame(marks, schema=FACT_SCHEMA, orient="row"))
    assert told(found(table, stores)) == [
        (1, 2, "from_fallback", 0, "open"),
        (4, 4, "not_delivered", 0, "open"),
        (6, 6, "rejected", 0, "open"),
    ]
    assert found(table, stores).is_empty()


def test_gap_is_recorded_once_and_grows_by_what_is_new(stores: MarketStores, table: GapTable) -> None:
    store_month(stores, bars=[0], quiet=[])
    assert told(found(table, stores, due=3)) == [(1, 2, "not_delivered", 0, "open")]
    assert found(table, stores, due=3).is_empty()
    assert told(found(table, stores, due=5)) == [(3, 4, "not_delivered", 0, "open")]
    assert told(found(table, stores, due=5, venue="Kraken")) == [(1, 4, "not_delivered", 0, "open")]


def test_bar_that_is_not_to_be_had_is_no_new_gap(stores: MarketStores, table: GapTable) -> None:
    store_month(stores, bars=[0, 3], quiet=[])
    table.append(row(1, 2, "not_to_be_had", known=4, tries=3))
    assert found(table, stores, due=4).is_empty()


def test_newest_row_about_a_slot_counts_and_the_history_stays(table: GapTable) -> None:
    table.append(row(1, 5, "open", known=6))
    table.append(row(2, 3, "refilled", known=7, tries=1))
    table.append(row(5, 5, "not_to_be_had", known=8, tries=2))
    assert told(table.current(["BTCUSD"], interval="30m")) == [
        (1, 1, "not_delivered", 0, "open"),
        (2, 3, "not_delivered", 1, "refilled"),
        (4, 4, "not_delivered", 0, "open"),
        (5, 5, "not_delivered", 2, "not_to_be_had"),
    ]
    assert told(table.history(["BTCUSD"])) == [
        (1, 5, "not_delivered", 0, "open"),
        (2, 3, "not_delivered", 1, "refilled"),
        (5, 5, "not_delivered", 2, "not_to_be_had"),
    ]
    assert table.current(["ETHUSD"], interval="30m").is_empty()


def test_table_on_s3_is_the_table_on_disk(stores: MarketStores, table: GapTable) -> None:
    store_month(stores, bars=[0, 3, 4, 9], quiet=[])
    with s3_bucket() as bucket:
        there = GapTable(bucket / "gaps")
        assert found(there, stores).equals(found(table, stores))
        assert there.current(["BTCUSD"], interval="30m").equals(table.current(["BTCUSD"], interval="30m"))
        assert there.history(["BTCUSD"]).height == 2


def test_table_of_another_schema_version_is_refused_by_name(table: GapTable) -> None:
    table.append(row(1, 2, "open", known=3))
    path = Path(str(table.root), "BTCUSD", "2018-01.parquet")
    row(1, 2, "open", known=3).write_parquet(path, metadata={"cryptoai.schema_version": "8"})
    with pytest.raises(StoreError, match="schema version 8; this code reads 1"):
        table.current(["BTCUSD"], interval="30m")


@given(
    slots=st.dictionaries(
        st.integers(0, 20), st.tuples(st.sampled_from(["open", "refilled"]), st.integers(0, 2)), max_size=15
    )
)
def test_runs_hold_each_slot_once_and_are_as_long_as_can_be(slots: dict[int, tuple[str, int]]) -> None:
    frame = pl.concat(
        [row(0, 0, "open", known=0).clear()]
        + [row(slot, slot, state, known=30, tries=tries) for slot, (state, tries) in slots.items()]
    )
    single = slots_of(frame, interval="30m")
    runs = runs_of(single, interval="30m")
    again = slots_of(runs, interval="30m").sort("open_time")
    assert again.equals(single.sort("open_time"))
    edges = [(first, last, state, tries) for first, last, _, tries, state in told(runs)]
    assert all(before[1] + 1 < after[0] or before[2:] != after[2:] for before, after in pairwise(edges))
