"""What a feature is: one polars expression over the bars of a segment, and how much past it needs."""

import math
from dataclasses import dataclass, field

import polars as pl

from edge_bundle.features.steps import NEGLIGIBLE_VOLATILITY, NEGLIGIBLE_WEIGHT

ORDINARY_VOLATILITY = 1e-3


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the catalog.

    Parameters
    ----------
    expression
        Over the grid bars of one segment in time order (``open``, ``high``, ``low``, ``close``, ``volume``,
        ``open_time``; none is ever null), over `edge_bundle.features.steps`, and over the columns that
        `edge_bundle.features.catalog.with_sources` adds; reads the bar itself and earlier ones only.
    warmup
        Bars needed before the first value; the column is null until then.
    revision
        Raised with every change of the values; part of the fingerprint.
    scale
        Typical magnitude; equality of two computations is judged against it.
    columns
        Names of the columns that the expression reads.
    """

    name: str
    expression: pl.Expr
    warmup: int
    unit: str
    meaning: str
    scale: float
    revision: int = 1
    columns: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", frozenset(self.expression.meta.root_names()))


def exponential_memory(alpha: float, weight: float = NEGLIGIBLE_WEIGHT) -> int:
    """Bars until the weight (1 − alpha)^k of a value in an exponential mean is negligible."""
    return math.ceil(math.log(weight) / math.log1p(-alpha))


def span_memory(span: int) -> int:
    """Memory of an EMA over `span` bars, whose alpha is 2 / (span + 1)."""
    return exponential_memory(2 / (span + 1))


def wilder_memory(period: int) -> int:
    """Memory of Wilder's smoothing over `period` bars, whose alpha is 1 / period, with its seed window."""
    return exponential_memory(1 / period) + period


def quiet_memory(alpha: float) -> int:
    """Memory of an exponential mean whose value a quiet stretch fades: old moves must fade further."""
    return exponential_memory(alpha, NEGLIGIBLE_WEIGHT * NEGLIGIBLE_VOLATILITY / ORDINARY_VOLATILITY)
