"""The candle frame: its columns and order, what is refused, and the grid of bars for the features."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import polars as pl

from edge_bundle.errors import CandlesRefusedError

UTC_MICROSECONDS = pl.Datetime("us", "UTC")
PRICE_COLUMNS = ("open", "high", "low", "close")
CANDLE_SCHEMA: dict[str, pl.DataType] = {
    "open_time": UTC_MICROSECONDS,
    "symbol": pl.String(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}
# A time outside is a slip, such as epoch seconds given for milliseconds.
_PLAUSIBLE = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
TIME_WANTED = "UTC time (text or milliseconds, 2000 to 2200)"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def interval_duration(interval: str) -> timedelta:
    """Length of a bar, from ``"1m"``, ``"30m"``, ``"4h"`` or ``"1d"``.

    Raises
    ------
    CandlesRefusedError
        When the text is not a positive whole number followed by m, h or d.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", interval)
    if match is None:
        raise CandlesRefusedError(f"interval {interval!r} is not understood: write 1m, 30m, 4h or 1d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def candle_frame(raw: pl.DataFrame) -> pl.DataFrame:
    """Cast a frame from the border to `CANDLE_SCHEMA`, sorted by symbol and time; see `cast_candles`."""
    return cast_candles(raw).sort("symbol", "open_time")


def cast_candles(raw: pl.DataFrame) -> pl.DataFrame:
    """Cast a frame from the border to `CANDLE_SCHEMA`, in the order in which it came.

    ``open_time`` may be a datetime (a naive one is taken as UTC), ISO 8601 text or epoch milliseconds;
    ``open_time_ms`` is accepted in its place. Other columns are dropped.

    Raises
    ------
    CandlesRefusedError
        When a column is absent, or a value cannot be read as its type; the first such value is named.
    """
    if "open_time" not in raw.columns and "open_time_ms" in raw.columns:
        raw = raw.rename({"open_time_ms": "open_time"})
    if absent := [name for name in CANDLE_SCHEMA if name not in raw.columns]:
        raise CandlesRefusedError(f"columns absent: {', '.join(absent)}; given: {', '.join(raw.columns)}")
    columns = [_cast(raw, name, _read_time if name == "open_time" else None) for name in CANDLE_SCHEMA]
    return pl.DataFrame(columns)


def _read_time(column: pl.Series) -> pl.Series:
    return column.to_frame().select(utc_time(pl.col(column.name), column.dtype)).to_series()


def utc_time(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Times of a column of some type, see `cast_candles`; null where it tells none from 2000 to 2200.

    Raises
    ------
    CandlesRefusedError
        When no times are told in that type.
    """
    moment = _moment(column, kind)
    return pl.when(moment.is_between(*_PLAUSIBLE)).then(moment)


def _moment(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind == pl.String:
        text = column.str.replace(r"(Z|\+00:?00)$", "").str.replace("T", " ", literal=True)
        return text.str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False
        ).dt.replace_time_zone("UTC")
    if kind.is_integer():
        # Far outside the calendar polars panics instead of refusing.
        milliseconds = column.cast(pl.Int64, strict=False).clip(0, 10**13)
        return milliseconds.cast(pl.Datetime("ms")).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    if isinstance(kind, pl.Datetime):
        moment = column.dt.cast_time_unit("us")
        zoned = kind.time_zone is not None
        return moment.dt.convert_time_zone("UTC") if zoned else moment.dt.replace_time_zone("UTC")
    raise CandlesRefusedError(
        f"open_time is {kind}: give ISO 8601 text in UTC, a datetime, or whole epoch milliseconds"
    )


def _cast(raw: pl.DataFrame, name: str, reader: Callable[[pl.Series], pl.Series] | None) -> pl.Series:
    column = raw[name]
    try:
        cast = reader(column) if reader else column.cast(CANDLE_SCHEMA[name], strict=False)
    except pl.exceptions.PolarsError as error:
        raise CandlesRefusedError(f"column {name} of type {column.dtype} cannot be read: {error}") from error
    unread = cast.is_null()
    if unread.any():
        row = int(unread.arg_max() or 0)
        wanted = TIME_WANTED if reader else CANDLE_SCHEMA[name]
        raise CandlesRefusedError(f"column {name}, row {row}: {shown_value(column, row)} is not a {wanted}")
    return cast


def shown_value(column: pl.Series, row: int) -> str:
    """Value for a message; the number behind a time that no calendar holds."""
    try:
        return repr(column[row])
    except (ValueError, OverflowError):
        return str(column.slice(row, 1).to_physical()[0])


def read_candles_csv(source: IO[bytes] | Path) -> pl.DataFrame:
    """Candle frame from CSV with a header.

    Raises
    ------
    CandlesRefusedError
        When the text is no CSV, or `candle_frame` refuses it.
    """
    try:
        raw = pl.read_csv(source, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise CandlesRefusedError(f"not a CSV file with a header line: {error}") from error
    return candle_frame(raw)


def validated_candles(candles: pl.DataFrame, *, interval: str) -> pl.DataFrame:
    """Return the frame unchanged when each row is one closed bar of `interval`, in order.

    Raises
    ------
    CandlesRefusedError
        When a column or type differs, or a row is out of order, doubled, off the grid, not finite, not
        positive in price, negative in volume, or has a high or low that does not enclose open and close.
    """
    if dict(candles.schema) != CANDLE_SCHEMA:
        raise CandlesRefusedError(f"schema is {dict(candles.schema)}; candle_frame() makes the one wanted")
    same_symbol = pl.col("symbol") == pl.col("symbol").shift(1)
    numbers = [*PRICE_COLUMNS, "volume"]
    rules = {
        "is out of order; sort by symbol and open_time": (pl.col("symbol") < pl.col("symbol").shift(1))
        | (same_symbol & (pl.col("open_time") < pl.col("open_time").shift(1))),
        "is given twice": same_symbol & (pl.col("open_time") == pl.col("open_time").shift(1)),
        f"does not open on the {interval} grid": ~on_grid(interval_duration(interval)),
        "has a value that is not finite": ~pl.all_horizontal(pl.col(numbers).is_finite()),
        "has a price that is not positive": ~pl.all_horizontal(pl.col(PRICE_COLUMNS) > 0),
        "has a negative volume": pl.col("volume") < 0,
        "has a high below its open, close or low": pl.col("high") < pl.max_horizontal("open", "close", "low"),
        "has a low above its open, close or high": pl.col("low") > pl.min_horizontal("open", "close", "high"),
    }
    for verdict in candles.select(rule.alias(name) for name, rule in rules.items()):
        if rows := verdict.sum():
            symbol, moment = candles.select("symbol", "open_time").row(int(verdict.arg_max() or 0))
            where = f"{symbol} at {moment:%Y-%m-%d %H:%M:%S} UTC"
            raise CandlesRefusedError(f"candle {where} {verdict.name} ({rows} such rows)")
    return candles


def newest_bars(candles: pl.DataFrame, bars: int) -> pl.DataFrame:
    """The last `bars` rows of each symbol, in the order in which they came."""
    later = pl.int_range(pl.len(), 0, -1).over("symbol")
    return candles.filter(later <= bars)


def bar_grid(
    candles: pl.DataFrame, *, interval: str, max_missing_bars: int, no_trade: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Bars without holes, cut into segments where too much is unknown.

    A slot without a candle is a *no-trade bar* when `no_trade` says so (the venue answered, nobody traded);
    it is *missing* otherwise. No-trade slots, and runs of at most `max_missing_bars` missing ones, become
    rows with the previous close, volume 0 and ``traded`` false. So is a candle of volume 0 and one price:
    some venues send one of a slot in which nobody traded. Where the price moved somebody did, whose volume is
    not told. A longer run of missing slots starts a new segment; no-trade slots after the newest candle
    become rows too. The length of a run of missing slots is known with the candle that ends it, before which
    none of its rows exists: no row depends on a later one.

    Parameters
    ----------
    candles
        Validated candles, sorted by symbol and open time.
    no_trade
        Evidence with columns ``symbol`` and ``open_time``; rows for slots that hold a candle are ignored.

    Returns
    -------
    DataFrame
        The candle columns, ``traded`` (bool), ``missing_run`` (UInt32: missing slots bridged in a row so far,
        0 elsewhere) and ``segment`` (UInt32, counted per symbol), sorted by symbol and open time.
    """
    grids = [
        _symbol_grid(bars, interval=interval, max_missing_bars=max_missing_bars, no_trade=no_trade)
        for bars in candles.partition_by("symbol", maintain_order=True)
    ]
    return pl.concat(grids) if grids else candles.with_columns(**_GRID_MARKS)


_TRADED = (pl.col("volume") > 0) | (pl.col("high") > pl.col("low"))
_GRID_MARKS = {
    "traded": _TRADED,
    "missing_run": pl.lit(0, pl.UInt32),
    "segment": pl.lit(0, pl.UInt32),
}


def _symbol_grid(
    bars: pl.DataFrame, *, interval: str, max_missing_bars: int, no_trade: pl.DataFrame | None
) -> pl.DataFrame:
    symbol, first = bars["symbol"][0], bars["open_time"][0]
    step = interval_duration(interval)
    quiet = _quiet_slots(no_trade, symbol, since=first, step=step)
    newest = max([bars["open_time"][-1], *quiet.tail(1)])
    if (newest - first) // step + 1 == bars.height:
        return bars.with_columns(**_GRID_MARKS)
    slots = _bridged_slots(
        pl.concat([bars["open_time"], quiet]).unique().sort(), step=step, max_missing_bars=max_missing_bars
    )
    grid = slots.to_frame().join(bars, on="open_time", how="left", maintain_order="left")
    here = pl.col("close").is_not_null()
    grid = grid.with_columns(
        traded=_TRADED.fill_null(False), missing=~here & ~pl.col("open_time").is_in(quiet.implode())
    )
    place_in_run = pl.int_range(1, pl.len() + 1).over(pl.col("missing").rle_id())
    grid = grid.with_columns(
        missing_run=pl.when("missing").then(place_in_run).otherwise(0).cast(pl.UInt32),
        segment=(pl.col("open_time").diff() > step).fill_null(False).cum_sum().cast(pl.UInt32),
    )
    # A segment opens with a candle: a no-trade slot right after a hole would carry a price from before it.
    opened = here.cum_sum().over("segment") > 0
    return (
        grid.filter(opened)
        .with_columns(
            symbol=pl.lit(symbol),
            close=pl.col("close").forward_fill(),
            volume=pl.col("volume").fill_null(0.0),
        )
        .with_columns(pl.col("open", "high", "low").fill_null(pl.col("close")))
        .select(*CANDLE_SCHEMA, "traded", "missing_run", "segment")
    )


def _bridged_slots(known: pl.Series, *, step: timedelta, max_missing_bars: int) -> pl.Series:
    """Known slots, and up to `max_missing_bars` absent ones between two of them; longer holes stay out."""
    step_us = step // timedelta(microseconds=1)
    here = known.to_frame("open_time").select(pl.col("open_time").dt.epoch("us"))
    following = pl.col("open_time").shift(-1)
    near = following - pl.col("open_time") <= (max_missing_bars + 1) * step_us
    end = pl.when(near).then(following).otherwise(pl.col("open_time") + step_us)
    slots = here.select(pl.int_ranges("open_time", end, step_us).explode())
    return slots["open_time"].cast(UTC_MICROSECONDS)


def _quiet_slots(
    no_trade: pl.DataFrame | None, symbol: str, *, since: datetime, step: timedelta
) -> pl.Series:
    if no_trade is None:
        return pl.Series("open_time", dtype=UTC_MICROSECONDS)
    own = (pl.col("symbol") == symbol) & (pl.col("open_time") >= since)
    return no_trade.filter(own & on_grid(step))["open_time"].sort()


def on_grid(bar: timedelta) -> pl.Expr:
    """Whether a bar of that length opens at ``open_time``."""
    return pl.col("open_time").dt.epoch("us") % (bar // timedelta(microseconds=1)) == 0
