"""What a feature is: one polars expression over the bars of a segment, and how much past it needs."""

import math
from dataclasses import dataclass

import polars as pl

# The weight under which a decayed bar no longer counts towards a feature's memory.
NEGLIGIBLE_WEIGHT = 1e-12
# A volatility under a thousandth of a basis point is none: what rounding leaves in a running mean of squares
# after the moves have left its window is of this order, and depends on how long the window has been running.
NEGLIGIBLE_VOLATILITY = 1e-7
ORDINARY_VOLATILITY = 1e-3


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the catalog.

    Parameters
    ----------
    expression
        Over the grid bars of one segment in time order (``open``, ``high``, ``low``, ``close``, ``volume``,
        ``open_time``; none is ever null) and `SHARED_STEPS`; reads the bar itself and earlier ones only.
    warmup
        Bars needed before the first value; the column is null until then.
    revision
        Raised with every change of the values; part of the fingerprint.
    scale
        Typical magnitude; equality of two computations is judged against it.
    """

    name: str
    expression: pl.Expr
    warmup: int
    unit: str
    meaning: str
    scale: float
    revision: int = 1


def exponential_memory(alpha: float, weight: float = NEGLIGIBLE_WEIGHT) -> int:
    """Bars until the weight (1 − alpha)^k of a value in an exponential mean is negligible."""
    return math.ceil(math.log(weight) / math.log1p(-alpha))


def span_memory(span: int) -> int:
    """Memory of an EMA over `span` bars, whose alpha is 2 / (span + 1)."""
    return exponential_memory(2 / (span + 1))


def wilder_memory(period: int) -> int:
    """Memory of Wilder's smoothing over `period` bars, whose alpha is 1 / period, with its seed window."""
    return exponential_memory(1 / period) + period


def balance_memory(period: int) -> int:
    """Memory of a `balance`: a quiet stretch fades what it divides by, so old moves must fade further."""
    fading = NEGLIGIBLE_VOLATILITY / ORDINARY_VOLATILITY
    return exponential_memory(1 / period, NEGLIGIBLE_WEIGHT * fading)


def quotient(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Numerator over a denominator that is never negative; 0 where it vanishes, as on a flat series."""
    return pl.when(denominator > NEGLIGIBLE_WEIGHT).then(numerator / denominator).otherwise(0.0)


def root(mean_square: pl.Expr) -> pl.Expr:
    """Root of a running mean of squared returns; exactly 0 where it is negligible, as on a flat series."""
    volatility = mean_square.clip(lower_bound=0.0).sqrt()
    return pl.when(volatility > NEGLIGIBLE_VOLATILITY).then(volatility).otherwise(0.0)


def wilder_mean(values: pl.Expr, period: int) -> pl.Expr:
    """Wilder's smoothing over `period` bars."""
    return values.ewm_mean(alpha=1 / period, adjust=False)


def balance(signed: pl.Expr, whole: pl.Expr, period: int) -> pl.Expr:
    """Share, −1 to 1, that signed moves have of whole ones, each in price and smoothed by Wilder.

    It is 0 where prices stood still: both means fade alike there, and their ratio would never forget.
    """
    close = pl.col("close")
    whole_mean = wilder_mean(whole, period)
    moved = whole_mean / close > NEGLIGIBLE_VOLATILITY
    return pl.when(moved).then(wilder_mean(signed, period) / whole_mean).otherwise(0.0)


def log_return(bars: int) -> pl.Expr:
    """Log return of the close over `bars` bars."""
    return (pl.col("close") / pl.col("close").shift(bars)).log()


DEVIATION_SPANS = (5, 15, 60, 240)


def return_deviation(bars: int) -> pl.Expr:
    """Root mean square of the one-bar log return over one of `DEVIATION_SPANS`.

    The mean of so short a return is noise, and is not taken off.
    """
    if bars not in DEVIATION_SPANS:
        raise ValueError(f"a deviation over {bars} bars is not shared; add it to DEVIATION_SPANS")
    return pl.col(f"_deviation_{bars}")


def one_bar_return() -> pl.Expr:
    """Log return of the close over one bar."""
    return pl.col("_return")


# What many features are made of, computed once: each step reads the bars and the steps before it.
SHARED_STEPS: tuple[tuple[pl.Expr, ...], ...] = (
    (log_return(1).alias("_return"),),
    tuple(
        root((pl.col("_return") ** 2).rolling_mean(bars)).alias(f"_deviation_{bars}")
        for bars in DEVIATION_SPANS
    ),
)
