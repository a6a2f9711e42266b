"""Market data on their way into the store, from a source that gives good and bad rows."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptoai_assets.lib.market_data import MarketStores, cleaned, ingested
from cryptoai_assets.lib.sources.candle_source import Fetched
from cryptoai_assets.lib.store import StoreError
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.errors import FactsRefusedError
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, no_trade_slots

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
