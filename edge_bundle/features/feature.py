"""What a feature is: one polars expression over the bars of a segment, and how much past it needs."""

import math
from dataclasses import dataclass

import polars as pl

# The weight under which a decayed bar no longer counts towards a feature's memory.
NEGLIGIBLE_WEIGHT = 1e-12


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


def exponential_memory(alpha: float) -> int:
    """Bars until the weight (1 − alpha)^k of a value in an exponential mean is negligible."""
    return math.ceil(math.log(NEGLIGIBLE_WEIGHT) / math.log1p(-alpha))


def span_memory(span: int) -> int:
    """Memory of an EMA over `span` bars, whose alpha is 2 / (span + 1)."""
    return exponential_memory(2 / (span + 1))


def wilder_memory(period: int) -> int:
    """Memory of Wilder's smoothing over `period` bars, whose alpha is 1 / period, with its seed window."""
    return exponential_memory(1 / period) + period


def quotient(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Numerator over a denominator that is never negative; 0 where it vanishes, as on a flat series."""
    return pl.when(denominator > NEGLIGIBLE_WEIGHT).then(numerator / denominator).otherwise(0.0)


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
        (pl.col("_return") ** 2).rolling_mean(bars).clip(lower_bound=0.0).sqrt().alias(f"_deviation_{bars}")
        for bars in DEVIATION_SPANS
    ),
)
