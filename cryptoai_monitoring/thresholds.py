"""Drift thresholds that keep a stated false-alarm rate, by block bootstrap on the reference itself."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

# The part of the drawn statistics above the middle that sets a feature's scale.
SPREAD_QUANTILE = 0.9


@dataclass(frozen=True, slots=True)
class Calibration:
    """How thresholds are drawn.

    Parameters
    ----------
    false_alarm_rate
        Chance that anything in an undrifted window is flagged: family-wise, over all features and statistics.
    windows
        Windows that are drawn from the reference.
    block_rows
        Consecutive rows that are drawn together; None draws each window in one piece. A block should outlast
        the memory of the features: volatility that clusters for longer looks like drift.
    """

    false_alarm_rate: float
    windows: int
    seed: int
    block_rows: int | None = None


def drawn_windows(rows: int, window_rows: int, calibration: Calibration) -> list[Int64Array]:
    """Rows of windows that did not drift, each made of blocks of consecutive reference rows.

    Blocks keep the autocorrelation and the volatility clusters that make tests for independent samples cry
    wolf. They wrap around the end of the reference, so that each row is drawn as often as any other.

    Raises
    ------
    ValueError
        When there is no window, or the reference is not at least twice as long as it.
    """
    if window_rows == 0:
        raise ValueError("the window holds no complete row; wait until its features have warmed up")
    if rows < 2 * window_rows:
        raise ValueError(
            f"{rows} reference rows are too few for windows of {window_rows}; twice as many needed"
        )
    block_rows = min(calibration.block_rows or window_rows, window_rows)
    draws = np.random.default_rng(calibration.seed)
    starts = draws.integers(0, rows, size=(calibration.windows, -(-window_rows // block_rows), 1))
    drawn = ((starts + np.arange(block_rows)) % rows).reshape(calibration.windows, -1)
    return list(drawn[:, :window_rows])


def family_wise_thresholds(
    rows: int,
    window_rows: int,
    statistics: Callable[[Int64Array], Float64Array],
    calibration: Calibration,
) -> Float64Array:
    """Threshold of each statistic, such that the stated share of undrifted windows exceeds any of them.

    Each statistic over the drawn windows is scaled by its own median and upper spread, the largest scaled
    one of each window is kept, and its quantile is scaled back.

    Parameters
    ----------
    rows
        Of the reference.
    statistics
        Distances of a drawn window, given by its rows, from the rest of the reference.
    """
    drawn = np.array([statistics(window) for window in drawn_windows(rows, window_rows, calibration)])
    middle = np.median(drawn, axis=0)
    spread = np.maximum(np.quantile(drawn, SPREAD_QUANTILE, axis=0) - middle, 1e-12)
    largest = ((drawn - middle) / spread).reshape(len(drawn), -1).max(axis=1)  # (windows,)
    limit = np.quantile(largest, 1 - calibration.false_alarm_rate, method="higher")
    return np.asarray(middle + limit * spread, dtype=np.float64)
