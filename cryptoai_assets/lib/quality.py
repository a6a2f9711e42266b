"""Quality of raw candles: which rows are accepted, why the others are not, and which bars are absent."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from statistics import median
from types import MappingProxyType

import pandera.polars as pa
import polars as pl

from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS, interval_duration, on_grid

ABSENT_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "from": UTC_MICROSECONDS,
    "to": UTC_MICROSECONDS,
    "bars": pl.UInt32(),
    "kind": pl.String(),
}
OUT_OF_ORDER = "out_of_order"
EXACT_COPY = "exact_copy"
DUPLICATE = "duplicate_with_other_values"
OFF_THE_GRID = "off_the_grid"
SWAPPED = "base_and_quote_volume_swapped"
FAR_OFF = "price_far_from_bars_before"
QUOTE_VOLUME = "quote_volume"
SENTENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "candles_are_sorted": (OUT_OF_ORDER,),
        "candles_are_unique": (DUPLICATE,),
        "candles_are_on_the_grid": (OFF_THE_GRID,),
        "bars_are_plausible": (FAR_OFF, SWAPPED),
        "prices_are_consistent": (),  # every other reason
    }
)
# Without a swapped volume, after which the last one is forgotten.
_CALM_BARS = 20
_EARLIER_THAN_THE_ROW_BEFORE = (
    (pl.col("open_time") < pl.col("open_time").shift(1)).over("symbol").fill_null(False)
)


def row_faults(interval: str) -> Mapping[str, pl.Expr]:
    """Each rule that a raw row can break, by name, in the order in which a row is blamed."""
    prices = pl.col("open", "high", "low", "close")
    key = pl.struct("symbol", "open_time")
    return {
        "value_absent": pl.any_horizontal(pl.exclude(QUOTE_VOLUME).is_null()),
        "not_finite": ~pl.all_horizontal(pl.col("open", "high", "low", "close", "volume").is_finite()),
        "not_positive": ~pl.all_horizontal(prices > 0),
        "negative_volume": pl.col("volume") < 0,
        "high_below_low": pl.col("high") < pl.col("low"),
        "open_or_close_outside_range": (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.col("low") > pl.min_horizontal("open", "close")),
        OFF_THE_GRID: ~on_grid(interval_duration(interval)),
        DUPLICATE: key.is_duplicated(),
    }


@dataclass(frozen=True, slots=True)
class Plausibility:
    """How far a bar may lie from the bars before it; what it is compared with never includes a later bar.

    Parameters
    ----------
    bars
        Good bars before that a bar is compared with; one that has fewer is not judged.
    typical_moves
        Greatest distance of any of its prices from the median close of those bars, in typical one-bar
        moves: the median absolute log return of those bars, scaled by the root of the time that they span.
    least_move
        Least typical move, as a log return: in a dead market the next trade is no fault.
    volume_factor
        Greatest multiple of the largest volume of those bars. A larger one at a price above this factor is
        what quote volume in the place of base volume looks like; at a lower price the two cannot be told.
    second_venue_move
        Greatest log distance between the closes of two venues. A price far from the bars before it that
        the second venue saw too is a crash and no fault.
    """

    bars: int
    typical_moves: float
    least_move: float
    volume_factor: float
    second_venue_move: float


@dataclass(frozen=True, slots=True)
class Screened:
    """Raw rows, told apart.

    Parameters
    ----------
    accepted
        Sorted by symbol and time, one row a bar.
    rejected
        The other rows as they came, with ``reason``: the first rule of `row_faults` that they break, then
        the first of the rules that look at the bars before.
    repeated
        Rows that were exact copies of another one and were dropped.
    reordered
        Rows that came before an earlier bar of their symbol.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    repeated: int
    reordered: int

    @property
    def counts(self) -> dict[str, int]:
        """Rows by what was found: rejected ones by reason, exact copies, and rows that were out of order."""
        reasons = self.rejected["reason"].value_counts().sort("reason").rows()
        return {**dict(reasons), EXACT_COPY: self.repeated, OUT_OF_ORDER: self.reordered}


def screened(
    candles: pl.DataFrame,
    *,
    interval: str,
    plausibility: Plausibility | None = None,
    before: pl.DataFrame | None = None,
    second_venue: pl.DataFrame | None = None,
) -> Screened:
    """Tell acceptable rows from the rest; nothing is mended and nothing is lost.

    Of two versions of a bar of which one breaks a rule of its own, the other is accepted; where both could
    be true, neither is.

    Parameters
    ----------
    candles
        In `CANDLE_SCHEMA`, in any order. A column ``quote_volume`` more says what was turned over in the
        quote currency, and shows rows in which the two volumes are swapped, which are then not guessed by the
        bars before; it is not handed on.
    plausibility
        None judges no bar by the bars before it.
    before
        Good candles right before these, with which the first ones are compared.
    second_venue
        Candles of the same symbols from elsewhere.
    """
    order = candles.select(_EARLIER_THAN_THE_ROW_BEFORE)
    distinct = candles.unique(maintain_order=True)
    judged = distinct.with_columns(reason=_first_fault(_own_faults(distinct, interval)))
    judged = judged.with_columns(
        reason=pl.when(pl.col("reason").is_null())
        .then(_first_fault({DUPLICATE: pl.len().over("symbol", "open_time", "reason") > 1}))
        .otherwise("reason")
    )
    good = judged.filter(pl.col("reason").is_null()).drop("reason").sort("symbol", "open_time")
    rejected = judged.filter(pl.col("reason").is_not_null())
    if plausibility is not None and not good.is_empty():
        reasons = _implausible(good, plausibility, interval=interval, before=before, second=second_venue)
        rejected = pl.concat([rejected, good.with_columns(reason=reasons).filter(reasons.is_not_null())])
        good = good.filter(reasons.is_null())
    return Screened(
        accepted=good.drop(QUOTE_VOLUME, strict=False),
        rejected=rejected.drop(QUOTE_VOLUME, strict=False),
        repeated=candles.height - distinct.height,
        reordered=int(order.to_series().sum()),
    )


def _first_fault(faults: Mapping[str, pl.Expr]) -> pl.Expr:
    reason = pl.lit(None, pl.String)
    for name, fault in reversed(list(faults.items())):
        reason = pl.when(fault).then(pl.lit(name)).otherwise(reason)
    return reason


def _own_faults(candles: pl.DataFrame, interval: str) -> dict[str, pl.Expr]:
    """Rules that a row breaks whatever the other rows are."""
    faults = {name: fault for name, fault in row_faults(interval).items() if name != DUPLICATE}
    if QUOTE_VOLUME not in candles.columns:
        return faults
    # Their ratio is the price; where it is nearer to one over the price, each stands in the other's place.
    ratio, price = (pl.col(QUOTE_VOLUME) / pl.col("volume")).log(), pl.col("close").log()
    turned = (pl.col("volume") > 0) & (pl.col(QUOTE_VOLUME) > 0)
    return {**faults, SWAPPED: turned & ((ratio + price).abs() < (ratio - price).abs())}


def _implausible(
    good: pl.DataFrame,
    rule: Plausibility,
    *,
    interval: str,
    before: pl.DataFrame | None,
    second: pl.DataFrame | None,
) -> pl.Series:
    """Reason for which a bar is not believed, in the order of `good`; null where it is."""
    earlier = good.clear() if before is None else before.select(*CANDLE_SCHEMA)
    bars = pl.concat([earlier.with_columns(asked=False), good.with_columns(asked=True)], how="diagonal")
    bars = bars.sort("symbol", "open_time", maintain_order=True)
    if second is not None:
        seen = second.select("symbol", "open_time", seen="close")
        bars = bars.join(seen, on=["symbol", "open_time"], how="left", maintain_order="left")
    else:
        bars = bars.with_columns(seen=pl.lit(None, pl.Float64))
    apart = (pl.col("close") / pl.col("seen")).log().abs() > rule.second_venue_move
    swapped = pl.concat(
        _swapped(own["volume"], own["close"], rule)
        for own in bars.partition_by("symbol", maintain_order=True)
    )
    if QUOTE_VOLUME in bars.columns:  # it has told already that the volume is in its place
        swapped = swapped & bars.select((pl.col(QUOTE_VOLUME) > 0).fill_null(False).not_()).to_series()
    judged = bars.with_columns(swapped=swapped, far=_far_off(rule, interval) & apart.fill_null(True))
    reason = _first_fault({SWAPPED: pl.col("swapped"), FAR_OFF: pl.col("far")})
    return judged.with_columns(reason=reason).filter("asked")["reason"]


def _far_off(rule: Plausibility, interval: str) -> pl.Expr:
    """Whether a price is far from the closes before it; false for the first bars."""
    close = pl.col("close").log()
    middle = close.shift(1).rolling_median(rule.bars).over("symbol")
    typical = close.diff().abs().shift(1).rolling_median(rule.bars - 1).over("symbol")
    span = (pl.col("open_time") - pl.col("open_time").shift(rule.bars).over("symbol")) / (
        rule.bars * interval_duration(interval)
    )
    allowed = rule.typical_moves * pl.max_horizontal(typical, pl.lit(rule.least_move)) * span.sqrt()
    farthest = pl.max_horizontal(
        (pl.col(name).log() - middle).abs() for name in ("open", "high", "low", "close")
    )
    return (farthest > allowed).fill_null(False)


def _swapped(volume: pl.Series, close: pl.Series, rule: Plausibility) -> pl.Series:
    """Whether a volume looks like quote volume beside the good volumes before it; 0 is no volume to look at.

    After one that does, until `_CALM_BARS` in a row do not, the nearer explanation is taken: a volume nearer
    to price times the usual one than to the usual one is swapped. One that is too large for quote volume too
    is that of a market that wakes up.
    """
    traded = volume > 0
    volumes, prices = volume.filter(traded), close.filter(traded)
    largest = volumes.shift(1).rolling_max(rule.bars)
    suspicious = (volumes > rule.volume_factor * largest) & (prices > rule.volume_factor)
    looks_swapped = pl.zeros(volume.len(), dtype=pl.Boolean, eager=True)
    if not suspicious.any():
        return looks_swapped
    found: list[bool] = []
    good: deque[float] = deque(maxlen=rule.bars)
    calm = _CALM_BARS
    for own, price in zip(volumes, prices, strict=True):
        most = max(good, default=0.0)
        usual = most * rule.volume_factor if calm >= _CALM_BARS else median(good) * sqrt(price)
        comparable = len(good) == rule.bars and price > rule.volume_factor
        found.append(comparable and usual < own <= most * price * rule.volume_factor)
        calm = 0 if found[-1] else calm + 1
        if not found[-1]:
            good.append(own)
    return looks_swapped.scatter(traded.arg_true().filter(pl.Series(found, dtype=pl.Boolean)), True)


def deduplicated(trades: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Trades without their exact copies, in their order, and how many copies there were.

    Every column counts, so that trades that carry an id are told apart by it. Without one, two trades of
    one millisecond, side, price and amount cannot be told from a trade that was delivered twice.
    """
    distinct = trades.unique(maintain_order=True)
    return distinct, trades.height - distinct.height


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
