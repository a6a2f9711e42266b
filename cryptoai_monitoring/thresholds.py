"""Drift thresholds that keep a stated false-alarm rate, by block bootstrap on the reference itself."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How thresholds are drawn.

    Parameters
    ----------
    false_alarm_rate
        Chance that any feature of an undrifted window is flagged: family-wise, over all features together.
    windows
        Windows of the reference that are drawn.
    """

    false_alarm_rate: float
    windows: int
    seed: int


def drawn_windows(rows: int, window_rows: int, calibration: Calibration) -> list[slice]:
    """Stretches of consecutive reference rows, as long as the window that is judged.

    A stretch keeps the autocorrelation and the volatility clusters that make independent-sample tests
    cry wolf.

    Raises
    ------
    ValueError
        When the reference is not at least twice as long as the window.
    """
    if rows < 2 * window_rows:
        raise ValueError(
            f"{rows} reference rows are too few for windows of {window_rows}; twice as many needed"
        )
    draws = np.random.default_rng(calibration.seed)
    starts = draws.integers(0, rows - window_rows + 1, size=calibration.windows)
    return [slice(int(start), int(start) + window_rows) for start in starts]


def family_wise_thresholds(
    reference: Float64Array,
    window_rows: int,
    statistic: Callable[[Float64Array], Float64Array],
    calibration: Calibration,
) -> Float64Array:
    """Threshold of each feature, such that the stated share of undrifted windows flags any of them.

    Each feature's statistics over the drawn windows are scaled by their own median and upper spread, the
    largest scaled one of each window is kept, and its quantile is scaled back.

    Parameters
    ----------
    reference
        (rows, features), in time order.
    statistic
        Distance of a window (rows, features) from the reference, (features,).
    """
    windows = drawn_windows(len(reference), window_rows, calibration)
    statistics = np.array([statistic(reference[window]) for window in windows])  # (windows, features)
    middle = np.median(statistics, axis=0)
    spread = np.maximum(np.quantile(statistics, 0.9, axis=0) - middle, 1e-12)
    largest = ((statistics - middle) / spread).max(axis=1)
    limit = float(np.quantile(largest, 1 - calibration.false_alarm_rate))
    return np.asarray(middle + limit * spread, dtype=np.float64)
