"""Facts of one source, taken into the store, and what is told of them: how many, how old, how they run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from cryptoai_assets.lib.fact_store import FactStore
from cryptoai_assets.lib.sources.fact_source import FactSource
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import FACT_SCHEMA
from edge_bundle.features import outside

# Before the history: features read 30 events back, of which a monthly series has few a year.
LEAD = timedelta(days=1_100)
SUMMARY_SCHEMA: dict[str, pl.DataType] = {
    "name": pl.String(),
    "symbol": pl.String(),
    "events": pl.UInt32(),
    "versions": pl.UInt32(),
    "first_event": UTC_MICROSECONDS,
    "newest_event": UTC_MICROSECONDS,
    "newest_known_at": UTC_MICROSECONDS,
    "newest_value": pl.Float64(),
}
LACKING_SCHEMA: dict[str, pl.DataType] = {
    "fact": pl.String(),
    "rows": pl.UInt32(),
    "share": pl.Float64(),
    "first": UTC_MICROSECONDS,
    "last": UTC_MICROSECONDS,
    "newest": pl.Boolean(),
}


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of asking a source.

    Parameters
    ----------
    missing
        What must be set before it can be asked; None when it was asked.
    added
        New facts, and new versions of held ones.
    stored
        Every fact of the source that the store holds, as in `FactStore.read`.
    """

    missing: str | None
    added: pl.DataFrame
    stored: pl.DataFrame


def collected(source: FactSource, facts: FactStore, *, start: datetime, now: datetime) -> Collected:
    """Ask a source for all events since `start`, and keep what is new.

    All of it is asked for each time, so that what was revised in silence is found. A source that is not
    configured is not asked.

    Raises
    ------
    SourceError
        When it does not answer, or with what is not understood; the store is as it was.
    """
    if source.missing is not None:
        nothing = pl.DataFrame(schema=FACT_SCHEMA)
        return Collected(source.missing, nothing, nothing)
    found = source.fetch(start, now)
    added = facts.append(found, fetched_at=now)
    facts.went_live(source.name, now)
    return Collected(None, added, facts.read(found["name"].unique(), source=source.name))


def fact_summary(facts: pl.DataFrame) -> pl.DataFrame:
    """One row a series, in `SUMMARY_SCHEMA`: its events, and the newest of them in its newest version."""
    newest = facts.sort("event_time", "known_at", maintain_order=True).group_by("name", "symbol")
    told = newest.agg(
        events=pl.col("event_time").n_unique(),
        versions=pl.len(),
        first_event=pl.col("event_time").min(),
        newest_event=pl.col("event_time").max(),
        newest_known_at=pl.col("known_at").last(),
        newest_value=pl.col("value").last(),
    )
    return pl.DataFrame(told.sort("name", "symbol"), schema=SUMMARY_SCHEMA)


def stale_series(
    summary: pl.DataFrame, greatest_age: Mapping[str, timedelta], *, now: datetime
) -> pl.DataFrame:
    """Series whose newest event no longer counts: ``name``, ``symbol``, ``newest_event``, ``age``.

    A series that no feature may read never is.
    """
    ages = {name: age for name, age in greatest_age.items() if name in set(summary["name"])}
    limit = pl.col("name").replace_strict(ages, default=None, return_dtype=pl.Duration("us"))
    aged = summary.with_columns(age=pl.lit(now, UTC_MICROSECONDS) - pl.col("newest_event"))
    return aged.filter(pl.col("age") > limit).select("name", "symbol", "newest_event", "age")


def absent_facts(names: tuple[str, ...], summary: pl.DataFrame, symbols: tuple[str, ...]) -> list[str]:
    """Facts that a market's features may read and not every symbol has: what is asked for is not offered."""
    held = {name: set(rows["symbol"]) for (name,), rows in summary.group_by("name")}
    return [
        name
        for name in names
        if None not in held.get(name, set()) and not set(symbols) <= held.get(name, set())
    ]


def rows_without_facts(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Facts that are absent or too old where everything else that a row needs is there.

    Parameters
    ----------
    rows
        ``open_time``, ``symbol``, ``traded`` and the features `names`; a null is a value that is not known.

    Returns
    -------
    DataFrame
        In `LACKING_SCHEMA`, one row a fact that any row lacks: how many do, of those that are complete but
        for outside facts, from which bar to which, and whether the newest one of a symbol is among them.
    """
    reading: dict[str, list[str]] = {}
    for name in names:
        if name.startswith(outside.PREFIX):
            reading.setdefault(outside.fact_read(name), []).append(name)
    own = [name for name in names if not name.startswith(outside.PREFIX)]
    warm = rows.filter(pl.all_horizontal("traded", pl.col(own).is_not_null()))
    is_newest = pl.col("open_time") == pl.col("open_time").max().over("symbol")
    counted = [
        warm.select("open_time", lacks=pl.any_horizontal(pl.col(columns).is_null()), is_newest=is_newest)
        .filter("lacks")
        .select(
            fact=pl.lit(fact),
            rows=pl.len(),
            share=pl.len() / warm.height,
            first=pl.col("open_time").min(),
            last=pl.col("open_time").max(),
            newest=pl.col("is_newest").any(),
        )
        for fact, columns in reading.items()
    ]
    return pl.concat([pl.DataFrame(schema=LACKING_SCHEMA), *counted]).filter(pl.col("rows") > 0)
