"""Quality of raw candles: which rows are accepted, why the others are not, and which bars are absent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import pandera.polars as pa
import polars as pl

from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS, interval_duration

ABSENT_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "from": UTC_MICROSECONDS,
    "to": UTC_MICROSECONDS,
    "bars": pl.UInt32(),
    "kind": pl.String(),
}
OUT_OF_ORDER = "out_of_order"
DUPLICATE = "duplicate_with_other_values"
OFF_THE_GRID = "off_the_grid"
SENTENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "candles_are_sorted": (OUT_OF_ORDER,),
        "candles_are_unique": (DUPLICATE,),
        "candles_are_on_the_grid": (OFF_THE_GRID,),
        "prices_are_consistent": (),  # every other reason
    }
)
_EARLIER_THAN_THE_ROW_BEFORE = (
    (pl.col("open_time") < pl.col("open_time").shift(1)).over("symbol").fill_null(False)
)


def row_faults(interval: str) -> Mapping[str, pl.Expr]:
    """Each rule that a raw row can break, by name, in the order in which a row is blamed."""
    step_us = interval_duration(interval) // timedelta(microseconds=1)
    prices = pl.col("open", "high", "low", "close")
    key = pl.struct("symbol", "open_time")
    return {
        "value_absent": pl.any_horizontal(pl.all().is_null()),
        "not_finite": ~pl.all_horizontal(pl.col("open", "high", "low", "close", "volume").is_finite()),
        "not_positive": ~pl.all_horizontal(prices > 0),
        "negative_volume": pl.col("volume") < 0,
        "high_below_low": pl.col("high") < pl.col("low"),
        "open_or_close_outside_range": (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.col("low") > pl.min_horizontal("open", "close")),
        OFF_THE_GRID: pl.col("open_time").dt.epoch("us") % step_us != 0,
        DUPLICATE: key.is_duplicated(),
    }


@dataclass(frozen=True, slots=True)
class Screened:
    """Raw rows, told apart.

    Parameters
    ----------
    accepted
        Sorted by symbol and time, one row a bar.
    rejected
        The other rows as they came, with ``reason``: the first rule of `row_faults` that they break.
    repeated
        Rows that were exact copies of another one and were dropped.
    reordered
        Rows that came before an earlier bar of their symbol.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    repeated: int
    reordered: int


def screened(candles: pl.DataFrame, *, interval: str) -> Screened:
    """Tell acceptable rows from the rest; nothing is mended and nothing is lost.

    Parameters
    ----------
    candles
        In `CANDLE_SCHEMA`, in any order.
    """
    order = candles.select(_EARLIER_THAN_THE_ROW_BEFORE)
    distinct = candles.unique(maintain_order=True)
    reason = pl.lit(None, pl.String)
    for name, fault in reversed(list(row_faults(interval).items())):
        reason = pl.when(fault).then(pl.lit(name)).otherwise(reason)
    judged = distinct.with_columns(reason=reason)
    return Screened(
        accepted=judged.filter(pl.col("reason").is_null()).drop("reason").sort("symbol", "open_time"),
        rejected=judged.filter(pl.col("reason").is_not_null()),
        repeated=candles.height - distinct.height,
        reordered=int(order.to_series().sum()),
    )


def candle_rules(interval: str) -> pa.DataFrameSchema:
    """Pandera schema of stored candles: their columns, their order, and every rule of `row_faults`."""
    faults = {OUT_OF_ORDER: _EARLIER_THAN_THE_ROW_BEFORE, **row_faults(interval)}
    return pa.DataFrameSchema(
        {name: pa.Column(dtype) for name, dtype in CANDLE_SCHEMA.items()},
        checks=[pa.Check(_holds(fault), name=name) for name, fault in faults.items()],
        strict=True,
    )


def _holds(fault: pl.Expr) -> Callable[[pa.PolarsData], pl.LazyFrame]:
    return lambda data: data.lazyframe.select(~fault)


def broken_rows(candles: pl.DataFrame, *, interval: str) -> pl.DataFrame:
    """Rows that break `candle_rules`, with ``reason``, once for each rule; empty for a clean frame.

    A frame that lacks a column or has one of another type gives a row of nulls with Pandera's own reason.
    """
    try:
        candle_rules(interval).validate(candles, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.select(pl.col("index").cast(pl.UInt32), reason="check")
        rows = cases.join(candles.with_row_index(), on="index", how="left", maintain_order="left")
        return pl.DataFrame(rows.select(*candles.columns, "reason"))
    return candles.clear().with_columns(reason=pl.lit(None, pl.String))


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence about stored candles, and the rows that speak against it.

    Parameters
    ----------
    name
        The sentence, as in `SENTENCES`.
    stops
        Whether what reads the candles may not go on.
    rows
        Candle columns and ``reason``: rejected ones and, should there be any, stored ones that break a rule.
    """

    name: str
    stops: bool
    rows: pl.DataFrame

    @property
    def holds(self) -> bool:
        """Whether no row speaks against the sentence."""
        return self.rows.is_empty()


def verdicts(
    candles: pl.DataFrame, rejected: pl.DataFrame, *, interval: str, max_rejected_share: float
) -> list[Verdict]:
    """Judge stored candles and what was rejected on their way, one verdict for each of `SENTENCES`.

    A stored row that breaks a rule always stops; rejected rows do when their share is above the setting.
    """
    broken = broken_rows(candles, interval=interval)
    too_many = rejected.height > max_rejected_share * (candles.height + rejected.height)
    against = pl.concat([rejected, broken], how="diagonal_relaxed")
    named = [reason for reasons in SENTENCES.values() for reason in reasons]
    found = []
    for name, reasons in SENTENCES.items():
        own = pl.col("reason").is_in(reasons) if reasons else ~pl.col("reason").is_in(named)
        found.append(Verdict(name, too_many or not broken.filter(own).is_empty(), against.filter(own)))
    return found


def absent_bars(
    candles: pl.DataFrame,
    *,
    symbols: Sequence[str],
    interval: str,
    no_trade: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """Runs of slots without a candle, from `start` up to `end`, which is left out.

    Parameters
    ----------
    candles
        Accepted rows of these symbols.
    no_trade
        Slots (``symbol``, ``open_time``) at which the venue answered and nobody traded.
    start
        On the grid of the interval.

    Returns
    -------
    DataFrame
        One row a run: ``symbol``, ``from``, ``to`` (open times, both included), ``bars``, and ``kind``:
        ``no_trade`` or ``missing``.
    """
    step = interval_duration(interval)
    times = pl.datetime_range(start, end, step, closed="left", time_unit="us", eager=True)
    slots = pl.DataFrame({"symbol": symbols}).join(times.alias("open_time").to_frame(), how="cross")
    absent = slots.join(candles, on=["symbol", "open_time"], how="anti").sort("symbol", "open_time")
    if absent.is_empty():
        return pl.DataFrame(schema=ABSENT_SCHEMA)
    known = no_trade.select("symbol", "open_time", kind=pl.lit("no_trade")).unique()
    judged = absent.join(known, on=["symbol", "open_time"], how="left", maintain_order="left").with_columns(
        pl.col("kind").fill_null("missing")
    )
    apart = (pl.col("open_time").diff().over("symbol", "kind") != step).fill_null(True)
    runs = judged.sort("symbol", "kind", "open_time").with_columns(run=apart.cum_sum())
    return (
        runs.group_by("run", maintain_order=True)
        .agg(
            pl.col("symbol").first(),
            pl.col("open_time").first().alias("from"),
            pl.col("open_time").last().alias("to"),
            pl.len().cast(pl.UInt32).alias("bars"),
            pl.col("kind").first(),
        )
        .drop("run")
        .sort("symbol", "from")
    )
