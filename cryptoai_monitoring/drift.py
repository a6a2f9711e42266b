"""Fast drift statistics: how far a window of features lies from the reference, and if that is too far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from cryptoai_monitoring.thresholds import Calibration, Float64Array, Int64Array, family_wise_thresholds

# Cells that hold an equal part of the reference each: the resolution of the Kolmogorov-Smirnov distance.
CELLS = 200
# Neighbouring cells that make one of the ten bins of the population stability index.
CELLS_A_BIN = 20
FLOOR = 1e-4
# Under these nothing counts as a change, however still the reference is.
SMALLEST_PSI = 0.1
SMALLEST_KS = 0.05
# And none is told from nothing at all.
LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class ReferenceCells:
    """A reference, counted in cells of its own quantiles.

    Parameters
    ----------
    edges
        (cells − 1, features), the inner ones; a value on an edge belongs to the cell below.
    counts
        (cells, features), of the reference.
    """

    edges: Float64Array
    counts: Int64Array

    @classmethod
    def of(cls, reference: Float64Array) -> Self:
        """Cut a reference (rows, features), without NaN."""
        edges = np.quantile(reference, np.linspace(0, 1, CELLS + 1)[1:-1], axis=0)
        cells = cls(edges, np.zeros((CELLS, reference.shape[1]), dtype=np.int64))
        return cls(edges, cells.counted(cells.located(reference)))

    def located(self, values: Float64Array) -> Int64Array:
        """Cell of each value (rows, features)."""
        columns = zip(self.edges.T, values.T, strict=True)
        return np.stack([np.searchsorted(edges, column, side="left") for edges, column in columns], axis=1)

    def counted(self, located: Int64Array) -> Int64Array:
        """Rows in each cell, (cells, features)."""
        features = located.shape[1]
        flat = (located + np.arange(features) * CELLS).ravel()
        return np.bincount(flat, minlength=CELLS * features).reshape(features, CELLS).T

    def statistics_of_part(self, located: Int64Array) -> Float64Array:
        """Statistics of a part of the reference against the rest of it.

        The rest alone is compared with, as a new window is with a reference that does not hold it.
        """
        part = self.counted(located)
        return statistics(self.counts - part, part)


def statistics(reference: Int64Array, window: Int64Array) -> Float64Array:
    """(2, features): population stability index and Kolmogorov-Smirnov distance of counts in cells."""
    return np.stack([stability_index(reference, window), kolmogorov_smirnov(reference, window)])


def stability_index(reference: Int64Array, window: Int64Array) -> Float64Array:
    """Population stability index of each feature over ten bins; an empty one counts as `FLOOR`."""

    def shares(counts: Int64Array) -> Float64Array:
        bins = counts.reshape(CELLS // CELLS_A_BIN, CELLS_A_BIN, -1).sum(axis=1)
        return np.asarray(np.maximum(bins / bins.sum(axis=0), FLOOR), dtype=np.float64)

    expected, found = shares(reference), shares(window)
    return np.asarray(((found - expected) * np.log(found / expected)).sum(axis=0), dtype=np.float64)


def kolmogorov_smirnov(reference: Int64Array, window: Int64Array) -> Float64Array:
    """Largest distance between the distribution functions of each feature, read at the cells' edges."""
    below = [np.cumsum(counts, axis=0) / counts.sum(axis=0) for counts in (reference, window)]
    return np.asarray(np.abs(below[0] - below[1]).max(axis=0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class WindowWatch:
    """A reference by which windows of one length are judged.

    Parameters
    ----------
    thresholds
        (2, features), of `statistics`.
    """

    cells: ReferenceCells
    thresholds: Float64Array

    @classmethod
    def of(cls, known: Float64Array, window_rows: int, calibration: Calibration) -> Self:
        """Learn from a reference (rows, features), without NaN."""
        cells = ReferenceCells.of(known)
        located = cells.located(known)

        def logarithms(rows: Int64Array) -> Float64Array:
            """Of the statistics, which are skewed without."""
            return np.asarray(np.log(np.maximum(cells.statistics_of_part(located[rows]), LEAST)))

        calibrated = np.exp(family_wise_thresholds(len(known), window_rows, logarithms, calibration))
        return cls(cells, np.maximum(calibrated, [[SMALLEST_PSI], [SMALLEST_KS]]))

    def found(self, window: Float64Array) -> Float64Array:
        """Statistics of a window (rows, features), (2, features)."""
        return statistics(self.cells.counts, self.cells.counted(self.cells.located(window)))

    def excess(self, window: Float64Array) -> Float64Array:
        """(features,), the larger of the two statistics over their thresholds; above 1 drifted."""
        return np.asarray((self.found(window) / self.thresholds).max(axis=0), dtype=np.float64)


def drift_table(
    reference: pl.DataFrame, window: pl.DataFrame, features: Sequence[str], calibration: Calibration
) -> pl.DataFrame:
    """Judge every feature of a window against the reference.

    Parameters
    ----------
    reference, window
        Columns `features`, rows in time order; rows with a null are left out.

    Returns
    -------
    DataFrame
        ``feature``, ``psi``, ``threshold`` (of psi), ``ks``, ``ks_threshold``, ``excess`` (the larger of the
        two statistics over their thresholds), ``reference_mean``, ``window_mean``, ``reference_deviation``,
        ``drifted`` (excess above 1); the largest excess first.

    Raises
    ------
    ValueError
        When the reference is too short for the window, or the window holds no complete row.
    """
    known, current = _matrix(reference, features), _matrix(window, features)
    judge = WindowWatch.of(known, len(current), calibration)
    found, thresholds = judge.found(current), judge.thresholds
    excess = judge.excess(current)
    return pl.DataFrame(
        {
            "feature": list(features),
            "psi": found[0],
            "threshold": thresholds[0],
            "ks": found[1],
            "ks_threshold": thresholds[1],
            "excess": excess,
            "reference_mean": known.mean(axis=0),
            "window_mean": current.mean(axis=0),
            "reference_deviation": known.std(axis=0),
            "drifted": excess > 1,
        }
    ).sort("excess", descending=True)


def _matrix(frame: pl.DataFrame, features: Sequence[str]) -> Float64Array:
    return np.asarray(frame.select(features).drop_nulls().to_numpy(), dtype=np.float64)
