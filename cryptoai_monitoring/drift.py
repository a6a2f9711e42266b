"""Fast drift statistics: how far a window of features lies from the reference, and if that is too far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from cryptoai_monitoring.thresholds import Calibration, Float64Array, family_wise_thresholds

BINS = 10
FLOOR = 1e-4
# Under this a population stability index counts as no change, however still the reference is.
SMALLEST_DRIFT = 0.1


@dataclass(frozen=True, slots=True)
class ReferenceBins:
    """Bins of each feature that hold a tenth of the reference each.

    Parameters
    ----------
    edges
        (bins − 1, features), the inner ones.
    shares
        (bins, features), of the reference.
    """

    edges: Float64Array
    shares: Float64Array

    @classmethod
    def of(cls, reference: Float64Array) -> Self:
        """Cut a reference (rows, features), without NaN."""
        edges = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
        return cls(edges, _shares(reference, edges))

    def stability_index(self, window: Float64Array) -> Float64Array:
        """Population stability index of each feature of a window (rows, features)."""
        found = _shares(window, self.edges)
        return np.asarray(((found - self.shares) * np.log(found / self.shares)).sum(axis=0), dtype=np.float64)


def _shares(values: Float64Array, edges: Float64Array) -> Float64Array:
    """(bins, features) shares, none below `FLOOR`, so that an empty bin has a finite logarithm."""
    below = np.stack([(values <= edge).mean(axis=0) for edge in edges])
    ends = np.zeros((1, values.shape[1])), np.ones((1, values.shape[1]))
    return np.maximum(np.diff(np.concatenate([ends[0], below, ends[1]]), axis=0), FLOOR)


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
        ``feature``, ``psi``, ``threshold``, ``excess`` (psi over threshold), ``reference_mean``,
        ``window_mean``, ``reference_deviation``, ``drifted``; the largest excess first.

    Raises
    ------
    ValueError
        When the reference is too short for the window.
    """
    known = _matrix(reference, features)
    current = _matrix(window, features)
    bins = ReferenceBins.of(known)
    calibrated = family_wise_thresholds(known, len(current), bins.stability_index, calibration)
    thresholds = np.maximum(calibrated, SMALLEST_DRIFT)
    psi = bins.stability_index(current)
    return pl.DataFrame(
        {
            "feature": list(features),
            "psi": psi,
            "threshold": thresholds,
            "excess": psi / thresholds,
            "reference_mean": known.mean(axis=0),
            "window_mean": current.mean(axis=0),
            "reference_deviation": known.std(axis=0),
            "drifted": psi > thresholds,
        }
    ).sort("excess", descending=True)


def _matrix(frame: pl.DataFrame, features: Sequence[str]) -> Float64Array:
    return np.asarray(frame.select(features).drop_nulls().to_numpy(), dtype=np.float64)
