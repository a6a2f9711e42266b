"""Fact frames, which carry everything that is not a candle, and the one as-of join that reads them."""

from datetime import timedelta
from functools import cache

import polars as pl

from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.errors import FactsRefusedError

FACT_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "event_time": UTC_MICROSECONDS,
    "known_at": UTC_MICROSECONDS,
    "source": pl.String(),
    "name": pl.String(),
    "value": pl.Float64(),
}
NO_TRADE = "no_trade"


@cache
def empty_facts() -> pl.DataFrame:
    """Fact frame without a row."""
    return pl.DataFrame(schema=FACT_SCHEMA)


def validated_facts(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the frame unchanged when it keeps the fact contract. A null symbol means the whole market.

    Raises
    ------
    FactsRefusedError
        When a column or type differs, a time or a name is null, or a fact is known before it happened.
    """
    if dict(facts.schema) != FACT_SCHEMA:
        raise FactsRefusedError(f"schema is {dict(facts.schema)}, {FACT_SCHEMA} needed")
    if facts.is_empty():
        return facts
    required = [name for name in FACT_SCHEMA if name not in ("symbol", "value")]
    for name in required:
        if count := facts[name].null_count():
            raise FactsRefusedError(f"column {name} is null in {count} rows")
    early = facts.filter(facts["known_at"] < facts["event_time"])
    if early.height:
        fact = early.row(0, named=True)
        raise FactsRefusedError(
            f"fact {fact['name']} is known at {fact['known_at']}, before its event at {fact['event_time']} "
            f"({early.height} such rows)"
        )
    return facts


def no_trade_slots(facts: pl.DataFrame) -> pl.DataFrame:
    """Slots at which the venue answered and nobody traded: columns ``symbol`` and ``open_time``."""
    return facts.filter(pl.col("name") == NO_TRADE).select("symbol", open_time="event_time")


def as_of_join(
    bars: pl.DataFrame, facts: pl.DataFrame, *, name: str, interval: timedelta, greatest_age: timedelta
) -> pl.DataFrame:
    """Add the column `name`: the fact's value as it was known when each bar closed.

    A bar opened at t is read at t + interval. Of the facts known by then the one with the latest event
    counts, in its latest known version; it is null when that event is older than `greatest_age`. Facts of
    a symbol join its bars only; facts without a symbol join every bar.

    Parameters
    ----------
    bars
        Sorted by symbol and open time.
    """
    named = facts.filter(pl.col("name") == name).sort("known_at", "event_time", maintain_order=True)
    # A late revision of an old event never hides a newer event that is known already.
    newest = named.filter(pl.col("event_time") >= pl.col("event_time").cum_max().over("symbol"))
    versions = newest.select(
        "symbol", "known_at", pl.col("event_time").alias("_event"), pl.col("value").alias(name)
    )
    asked = bars.with_row_index("_row").with_columns(_read_at=pl.col("open_time") + interval)
    parts = []
    for symbol, rows in asked.sort("_read_at").group_by("symbol", maintain_order=True):
        own = versions.filter(pl.col("symbol").eq_missing(pl.lit(symbol[0])) | pl.col("symbol").is_null())
        own = own.sort("known_at", "_event", maintain_order=True).filter(
            pl.col("_event") >= pl.col("_event").cum_max()
        )
        parts.append(
            rows.join_asof(own.drop("symbol"), left_on="_read_at", right_on="known_at", strategy="backward")
        )
    if not parts:
        return bars.with_columns(pl.lit(None, pl.Float64).alias(name))
    fresh = pl.col("_read_at") - pl.col("_event") <= greatest_age
    joined = pl.concat(parts).with_columns(pl.when(fresh).then(pl.col(name)).alias(name)).sort("_row")
    return joined.select(*bars.columns, name)
