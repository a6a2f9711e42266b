"""Market data on their way into the store: fetched, then screened, a month at a time."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.quality import Screened, screened
from cryptoai_assets.lib.sources.candle_source import CandleSource, Fetched
from cryptoai_assets.lib.store import MonthlyStore
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import FACT_SCHEMA, validated_facts

REJECTED_SCHEMA: dict[str, pl.DataType] = {**CANDLE_SCHEMA, "reason": pl.String()}


@dataclass(frozen=True, slots=True)
class MarketStores:
    """Where a market's candles and facts lie, under one folder."""

    folder: Path

    @property
    def raw_candles(self) -> MonthlyStore:
        """As the source gave them."""
        return MonthlyStore(self.folder / "raw_candles", "open_time", CANDLE_SCHEMA)

    @property
    def raw_facts(self) -> MonthlyStore:
        """What the source said about slots that hold no candle."""
        return MonthlyStore(self.folder / "raw_facts", "event_time", FACT_SCHEMA)

    @property
    def clean_candles(self) -> MonthlyStore:
        """Rows that passed every rule."""
        return MonthlyStore(self.folder / "clean_candles", "open_time", CANDLE_SCHEMA)

    @property
    def clean_facts(self) -> MonthlyStore:
        """Facts that no candle contradicts; `edge_bundle.facts.no_trade_slots` reads the no-trade slots."""
        return MonthlyStore(self.folder / "clean_facts", "event_time", FACT_SCHEMA)

    @property
    def quarantine(self) -> MonthlyStore:
        """Rejected rows as they came, with their reason."""
        return MonthlyStore(self.folder / "quarantine", "open_time", REJECTED_SCHEMA)


def ingested(
    source: CandleSource, stores: MarketStores, *, symbol: str, month: str, start: datetime, end: datetime
) -> Fetched:
    """Fetch one symbol's part of a month and replace what the store holds of it; candles are written last."""
    fetched = source.fetch(symbol, start, end)
    stores.raw_facts.write(symbol, month, validated_facts(fetched.facts))
    stores.raw_candles.write(symbol, month, fetched.candles)
    return fetched


def cleaned(stores: MarketStores, *, symbol: str, month: str, interval: str) -> Screened:
    """Screen one stored month; rejected rows go to the quarantine, accepted ones are written last.

    A no-trade fact about a slot for which the source gave a row, acceptable or not, is dropped.
    """
    raw = stores.raw_candles.month(symbol, month)
    told = screened(raw, interval=interval)
    facts = stores.raw_facts.month(symbol, month)
    stores.quarantine.write(symbol, month, told.rejected)
    stores.clean_facts.write(
        symbol, month, facts.join(raw, left_on="event_time", right_on="open_time", how="anti")
    )
    stores.clean_candles.write(symbol, month, told.accepted)
    return told
