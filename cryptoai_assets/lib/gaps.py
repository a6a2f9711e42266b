"""The table of gaps: which bars the venue has not given, without an explanation, and what came of looking.

These are the absent ones, and those in whose place stands what a fallback gave.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from cryptoai_assets.lib.market_data import MarketStores, stand_ins
from cryptoai_assets.lib.quality import absent_bars
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK
from cryptoai_assets.lib.store import MonthlyStore, Place
from edge_bundle.candles import UTC_MICROSECONDS, interval_duration
from edge_bundle.facts import no_trade_slots

OPEN = "open"
REFILLED = "refilled"
FROM_ANOTHER_VENUE = "from_another_venue"
NOT_TO_BE_HAD = "not_to_be_had"
NOT_DELIVERED, REJECTED, NO_TRADE = "not_delivered", "rejected", "no_trade"
GAP_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "venue": pl.String(),
    "from": UTC_MICROSECONDS,
    "to": UTC_MICROSECONDS,
    "cause": pl.String(),
    "tries": pl.UInt32(),
    "state": pl.String(),
    "known_at": UTC_MICROSECONDS,
}
_SLOT = ["symbol", "open_time"]


@dataclass(frozen=True, slots=True)
class GapTable:
    """Gaps of one market under one folder, on disk or on S3; rows are added and never changed.

    A row speaks about the slots from ``from`` to ``to`` (open times of one month, both included): why they
    are absent (``cause``: `NOT_DELIVERED`, `REJECTED`, ``from_fallback`` where another source's bar stands,
    or `NO_TRADE` for what a second look explained), how often they were asked for (``tries``), and what came
    of it (``state``). Of the rows about a slot the one known last counts.
    """

    root: Place

    @property
    def _files(self) -> MonthlyStore:
        return MonthlyStore(self.root, "from", GAP_SCHEMA)

    def path(self, symbol: str, month: str) -> Place:
        """File of one symbol and one month (``YYYY-MM``)."""
        return self._files.path(symbol, month)

    def files(self, symbols: Collection[str]) -> dict[str, Place]:
        """Files of these symbols by a name that is the same on every machine."""
        return self._files.files(symbols)

    def history(self, symbols: Collection[str], month: str | None = None) -> pl.DataFrame:
        """Every row about these symbols, in the order in which it became known within a month."""
        if month is None:
            return self._files.read(symbols)
        return pl.concat(self._files.month_or_empty(symbol, month) for symbol in sorted(symbols))

    def current(self, symbols: Collection[str], *, interval: str, month: str | None = None) -> pl.DataFrame:
        """What is known now: each slot in one row, sorted by symbol and time; of one month, or of all."""
        slots = slots_of(self.history(symbols, month), interval=interval)
        return runs_of(slots.unique([*_SLOT, "venue"], keep="last", maintain_order=True), interval=interval)

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows; a row does not reach beyond its month."""
        for (symbol, month), own in rows.group_by(
            "symbol", pl.col("from").dt.strftime("%Y-%m").alias("month"), maintain_order=True
        ):
            held = self._files.month_or_empty(str(symbol), str(month))
            self._files.write(str(symbol), str(month), pl.concat([held, own.select(held.columns)]))


def find_gaps(
    table: GapTable,
    stores: MarketStores,
    *,
    symbol: str,
    month: str,
    interval: str,
    venue: str,
    start: datetime,
    end: datetime,
    now: datetime,
) -> pl.DataFrame:
    """Record the bars of a clean month that the venue did not give, without an explanation; return them.

    What a row speaks about already is left out.

    Parameters
    ----------
    start, end
        Part of the month in which bars are due; the end is left out.
    """
    known = table.current([symbol], interval=interval, month=month).filter(pl.col("venue") == venue)
    explained = pl.concat(
        [
            no_trade_slots(stores.clean_facts.month(symbol, month)),
            slots_of(known, interval=interval).select(_SLOT),
        ]
    )
    standing_in = stand_ins(stores.clean_facts.month(symbol, month))
    absent = absent_bars(
        stores.clean_candles.month(symbol, month).join(standing_in, on=_SLOT, how="anti"),
        symbols=[symbol],
        interval=interval,
        no_trade=explained,
        start=start,
        end=end,
    ).filter(pl.col("kind") == "missing")
    rejected = stores.quarantine.month(symbol, month).select(*_SLOT, rejected=True).unique()
    slots = slots_of(absent, interval=interval)
    for more in (rejected, standing_in.with_columns(standing_in=True)):
        slots = slots.join(more, on=_SLOT, how="left", maintain_order="left")
    found = runs_of(
        slots.select(
            *_SLOT,
            venue=pl.lit(venue),
            cause=pl.when("rejected")
            .then(pl.lit(REJECTED))
            .when("standing_in")
            .then(pl.lit(FROM_FALLBACK))
            .otherwise(pl.lit(NOT_DELIVERED)),
            tries=pl.lit(0, pl.UInt32),
            state=pl.lit(OPEN),
            known_at=pl.lit(now, UTC_MICROSECONDS),
        ),
        interval=interval,
    )
    table.append(found)
    return found


def slots_of(runs: pl.DataFrame, *, interval: str) -> pl.DataFrame:
    """One row a slot, ``open_time`` in the place of ``from`` and ``to``, in the order of the runs."""
    spans = pl.datetime_ranges("from", "to", interval_duration(interval), time_unit="us", time_zone="UTC")
    slots = runs.with_columns(open_time=spans).explode("open_time")
    return slots.select("symbol", "open_time", pl.exclude("symbol", "open_time", "from", "to"))


def runs_of(slots: pl.DataFrame, *, interval: str) -> pl.DataFrame:
    """Rows of the table for slots that follow each other and agree in everything else, sorted by time."""
    what: Sequence[str] = [name for name in GAP_SCHEMA if name not in ("from", "to")]
    step = interval_duration(interval)
    ordered = slots.sort(*what, "open_time")
    apart = (pl.col("open_time").diff().over(what) != step).fill_null(True)
    runs = ordered.with_columns(run=apart.cum_sum()).group_by("run", maintain_order=True)
    return (
        runs.agg(
            *(pl.col(name).first() for name in what),
            pl.col("open_time").min().alias("from"),
            pl.col("open_time").max().alias("to"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in GAP_SCHEMA.items())
        .sort("symbol", "from", "venue")
    )
