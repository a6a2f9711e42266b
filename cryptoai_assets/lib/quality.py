"""Quality of raw candles: which rows are accepted, why the others are not, and which bars are absent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

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


def row_faults(interval: str) -> Mapping[str, pl.Expr]:
    """Each rule that a raw row can break, by name, in the order in which a row is blamed."""
    step_us = interval_duration(interval) // timedelta(microseconds=1)
    prices = pl.col("open", "high", "low", "close")
    key = pl.struct("symbol", "open_time")
    return {
        "not_finite": ~pl.all_horizontal(pl.col("open", "high", "low", "close", "volume").is_finite()),
        "not_positive": ~pl.all_horizontal(prices > 0),
        "negative_volume": pl.col("volume") < 0,
        "high_below_low": pl.col("high") < pl.col("low"),
        "open_or_close_outside_range": (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.col("low") > pl.min_horizontal("open", "close")),
        "off_the_grid": pl.col("open_time").dt.epoch("us") % step_us != 0,
        "duplicate_with_other_values": key.is_duplicated(),
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
    order = candles.select(
        (pl.col("open_time") < pl.col("open_time").shift(1)).over("symbol").fill_null(False)
    )
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
    """Pandera schema of accepted candles: their columns, and every rule of `row_faults`."""
    return pa.DataFrameSchema(
        {name: pa.Column(dtype) for name, dtype in CANDLE_SCHEMA.items()},
        checks=[pa.Check(_holds(fault), error=name) for name, fault in row_faults(interval).items()],
        strict=True,
    )


def _holds(fault: pl.Expr) -> Callable[[pa.PolarsData], pl.LazyFrame]:
    return lambda data: data.lazyframe.select(~fault)


def broken_rules(candles: pl.DataFrame, *, interval: str) -> pl.DataFrame:
    """Failure cases of `candle_rules` as text: ``check``, ``failure_case``; empty for a clean frame."""
    try:
        candle_rules(interval).validate(candles, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        return cases.select(pl.col("check", "failure_case").cast(pl.String))
    return pl.DataFrame(schema={"check": pl.String, "failure_case": pl.String})


def absent_bars(candles: pl.DataFrame, *, interval: str, no_trade: pl.DataFrame) -> pl.DataFrame:
    """Runs of slots without a candle, between the first and the last candle of each symbol.

    Parameters
    ----------
    candles
        Accepted rows, sorted.
    no_trade
        Slots (``symbol``, ``open_time``) at which the venue answered and nobody traded.

    Returns
    -------
    DataFrame
        One row a run: ``symbol``, ``from``, ``to`` (open times, both included), ``bars``, and ``kind``:
        ``no_trade`` or ``missing``.
    """
    step = interval_duration(interval)
    spans = candles.group_by("symbol").agg(first=pl.col("open_time").min(), last=pl.col("open_time").max())
    slots = spans.select(
        "symbol", open_time=pl.datetime_ranges("first", "last", interval=step, time_unit="us")
    ).explode("open_time")
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
