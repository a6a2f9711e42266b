"""A plan: in which passes over the bars some features are computed, worked out once for all tails."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from edge_bundle.errors import BundleRefusedError
from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import columns_read, planned_steps

# One core is done with these before the others are told what they have to do.
SHORT_TAIL_BARS = 8_192
_AS_WRITTEN = pl.QueryOptFlags.none()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What computes some features.

    Parameters
    ----------
    warmups
        Of the features, in bars.
    reads
        Columns that the grid must have.
    rounds
        Of steps: each reads the bars and the rounds before it.
    values
        The features themselves, by their names.
    """

    warmups: tuple[int, ...]
    reads: frozenset[str]
    rounds: tuple[tuple[pl.Expr, ...], ...]
    values: tuple[pl.Expr, ...]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Self:
        """Plan features."""
        columns: frozenset[str] = frozenset().union(*(feature.columns for feature in features))
        return cls(
            tuple(feature.warmup for feature in features),
            columns_read(columns),
            planned_steps(columns),
            tuple(feature.expression.alias(feature.name) for feature in features),
        )

    def newest_rows(self, segment: pl.DataFrame, *, bars: int) -> pl.DataFrame:
        """Features of the last bars of one segment, from the shortest tail that has the memory of all.

        Raises
        ------
        BundleRefusedError
            When the grid lacks a column that a feature reads.
        """
        tail = segment.tail(bars + max(self.warmups, default=0))
        if absent := sorted(self.reads.difference(segment.columns)):
            raise BundleRefusedError(f"the grid lacks {', '.join(absent)}: with_sources() adds them")
        query, short = tail.lazy(), tail.height <= SHORT_TAIL_BARS
        for steps in self.rounds:
            query = query.with_columns_seq(steps) if short else query.with_columns(steps)
        query = query.select_seq(self.values) if short else query.select(self.values)
        # In one query, but as written: to look for a better one takes longer than to compute a tail.
        values = query.tail(bars).collect(optimizations=_AS_WRITTEN, engine="in-memory")
        unwarmed = [warmup - (tail.height - bars) for warmup in self.warmups]
        return values if max(unwarmed, default=0) <= 0 else _blanked(values, unwarmed)


def _blanked(values: pl.DataFrame, unwarmed: Sequence[int]) -> pl.DataFrame:
    """Null in the first rows of each column, where its warm-up is not full."""
    blank = pl.repeat(None, values.height, dtype=pl.Float64, eager=True)
    return pl.DataFrame(
        [
            blank.slice(0, rows).alias(column.name).append(column.slice(rows)) if rows > 0 else column
            for column, rows in zip(values, unwarmed, strict=True)
        ]
    )
