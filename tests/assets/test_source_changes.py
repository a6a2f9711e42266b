"""Changes of source: a symbol or a series that another source gives is named at once, a mended bar is not."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cryptoai_assets.lib.market_data import REFILLED
from cryptoai_assets.lib.source_changes import TOLD_FOR, bars_by_source, foreign_shares, replaced_sources
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import FACT_SCHEMA

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BARS = 3 * 24 * 12
STEP = 5 * MINUTE


def candles(*symbols: str) -> pl.DataFrame:
    times = [START + bar * STEP for bar in range(BARS)]
    frames = [pl.DataFrame({"symbol": symbol, "open_time": times}) for symbol in symbols]
    return pl.concat(frames).cast({"open_time": UTC_MICROSECONDS})


def marks(
    symbol: str, bars: range, *, source: str, name: str = FROM_FALLBACK, later: int = 0
) -> pl.DataFrame:
    rows = [
        {
            "symbol": symbol,
            "event_time": START + bar * STEP,
            "known_at": START + (bar + 1 + later) * STEP,
            "source": source,
            "name": name,
            "value": 1.0,
        }
        for bar in bars
    ]
    return pl.DataFrame(rows, schema=FACT_SCHEMA)


def found(facts: pl.DataFrame) -> list[tuple[str, str, int]]:
    bars = bars_by_source(candles("BTCUSDT", "ETHUSDT"), facts, source="Venue")
    return foreign_shares(bars, source="Venue").select("symbol", "source", "hours").rows()


def test_bars_of_the_venue_and_single_mended_ones_are_no_change() -> None:
    assert found(pl.DataFrame(schema=FACT_SCHEMA)) == []
    mended = [marks("BTCUSDT", range(BARS - 5, BARS), source="Other", name=REFILLED)]
    mended.append(marks("ETHUSDT", range(BARS - 12, BARS), source="Venue", name=REFILLED))
    assert found(pl.concat(mended)) == []


def test_symbol_whose_newest_bars_another_source_gives_is_named_within_the_hour() -> None:
    assert found(marks("ETHUSDT", range(BARS - 7, BARS), source="Other")) == [("ETHUSDT", "Other", 1)]
    replaced = marks("ETHUSDT", range(BARS - 40, BARS), source="Other")
    assert found(replaced) == [("ETHUSDT", "Other", 1), ("ETHUSDT", "Other", 24)]


def test_bars_that_the_venue_gave_after_all_count_as_its_own() -> None:
    replaced = marks("ETHUSDT", range(BARS - 40, BARS), source="Other")
    healed = marks("ETHUSDT", range(BARS - 40, BARS), source="Venue", name=REFILLED, later=5)
    assert found(pl.concat([healed, replaced])) == []


def series(sources: list[str], *, name: str = "fear_and_greed", symbol: str | None = None) -> pl.DataFrame:
    rows = [
        {
            "symbol": symbol,
            "event_time": START + day * DAY,
            "known_at": START + (day + 1) * DAY,
            "source": source,
            "name": name,
            "value": float(day),
        }
        for day, source in enumerate(sources)
    ]
    return pl.DataFrame(rows, schema=FACT_SCHEMA)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["A"] * 9, []),
        (["A"] * 8 + ["B"], [("A", "B")]),
        (["A"] * 7 + ["B", "A"], [("B", "A")]),
        (["A", "B"] + ["B"] * 7, []),
    ],
    ids=["one source", "another", "back", "long ago"],
)
def test_series_whose_source_was_replaced_is_named_for_a_week(
    sources: list[str], expected: list[tuple[str, str]]
) -> None:
    facts = pl.concat([series(sources), series(["C"] * 9, name="hash_rate", symbol="BTCUSDT")])
    now = START + 9 * DAY
    replaced = replaced_sources(facts.sort("value"), now=now)
    assert replaced.select("before", "source").rows() == expected
    assert replaced_sources(facts, now=now + TOLD_FOR).is_empty()
