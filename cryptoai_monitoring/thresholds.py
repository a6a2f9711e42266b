"""Drift thresholds that keep a stated false-alarm rate, by block bootstrap on the reference itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import t

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BooleanArray = npt.NDArray[np.bool_]

# The part of the drawn statistics above the middle that sets a feature's scale.
SPREAD_QUANTILE = 0.9
DAYS_A_MONTH = 365.25 / 12
# Of a reference, each judged by the others.
PARTS = 5


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
    return drawn_blocks(
        rows, window_rows, block_rows=block_rows, draws=calibration.windows, seed=calibration.seed
    )


def drawn_blocks(rows: int, length: int, *, block_rows: int, draws: int, seed: int) -> list[Int64Array]:
    """Rows of series of a length, each made of blocks of consecutive rows that wrap around the end."""
    random = np.random.default_rng(seed)
    starts = random.integers(0, rows, size=(draws, -(-length // block_rows), 1))
    drawn = ((starts + np.arange(block_rows)) % rows).reshape(draws, -1)
    return list(drawn[:, :length])


def family_wise_thresholds(
    rows: int,
    window_rows: int,
    statistics: Callable[[Int64Array], Float64Array],
    calibration: Calibration,
) -> Float64Array:
    """Threshold of each statistic, such that the stated share of undrifted windows exceeds any of them.

    Each statistic over the drawn windows is standardized, the largest of each window is kept, and what one
    window more stays under with the stated chance is scaled back.

    Parameters
    ----------
    rows
        Of the reference.
    statistics
        Distances of a drawn window, given by its rows, from the rest of the reference; about normal.
    """
    drawn = np.array([statistics(window) for window in drawn_windows(rows, window_rows, calibration)])
    middle, deviation = drawn.mean(axis=0), np.maximum(drawn.std(axis=0), 1e-12)
    largest = ((drawn - middle) / deviation).reshape(len(drawn), -1).max(axis=1)  # (windows,)
    beyond = prediction_limit(calibration.false_alarm_rate, seen=rows // window_rows)
    return np.asarray(middle + (largest.mean() + beyond * largest.std()) * deviation, dtype=np.float64)


def prediction_limit(rate: float, *, seen: int) -> float:
    """Deviations above the mean of independent normal values that one more exceeds with the stated chance.

    It is Student's limit of prediction. The few windows of a reference hold no quantile as rare as a false
    alarm should be, however many overlapping ones are drawn from it.
    """
    return float(t.ppf(1 - rate, seen - 1) * (1 + 1 / seen) ** 0.5)


@dataclass(frozen=True, slots=True)
class AlarmRate:
    """How often a watch may alarm that looks many times a day, and how its thresholds are drawn.

    Parameters
    ----------
    a_month
        Days with any false alarm, over all columns, symbols, windows and statistics together.
    block_days
        Consecutive days of the reference that are drawn together.
    draws
        References that are drawn.
    """

    a_month: float
    block_days: int
    draws: int
    seed: int

    @property
    def a_day(self) -> float:
        """Chance of a false alarm on any day."""
        return self.a_month / DAYS_A_MONTH

    def part(self, share: float) -> "AlarmRate":
        """The same with a share of the false alarms."""
        return replace(self, a_month=share * self.a_month)


@dataclass(frozen=True, slots=True)
class Scale:
    """What is usual of each statistic, (statistics,), and how far beyond it an alarm begins.

    Parameters
    ----------
    spread
        From the middle to the upper tenth.
    limit
        In spreads above the middle, the same for all.
    """

    middle: Float64Array
    spread: Float64Array
    limit: float

    def excess(self, path: Float64Array) -> Float64Array:
        """(looks, statistics): 0 in the middle, an alarm above 1; null stays null."""
        return np.asarray((path - self.middle) / (self.spread * self.limit), dtype=np.float64)


def alarm_scale(path: Float64Array, days: Int64Array, rate: AlarmRate) -> Scale:
    """Scale on which the stated share of the reference's days has any statistic above 1.

    Each part of the reference is judged by what is usual in the other parts, as later days will be: what is
    usual in a part itself would let it seem calmer than it is. The largest statistic of each day counts once,
    and the limit is the mean of the quantile over references that are drawn from blocks of days.

    Parameters
    ----------
    path
        (looks, statistics) along the reference in time order; NaN where a statistic is not known.
    days
        (looks,) number of each look's day, ascending.

    Raises
    ------
    ValueError
        When the reference has fewer than twice `PARTS` days.
    """
    distinct = np.unique(days)
    if len(distinct) < 2 * PARTS:
        raise ValueError(f"{len(distinct)} days of reference are too few for thresholds; {2 * PARTS} needed")
    largest = np.full(len(distinct), -np.inf)
    for part in np.array_split(distinct, PARTS):
        inside = (days >= part[0]) & (days <= part[-1])
        middle, spread = _usual(path[~inside])
        judged = np.nan_to_num((path[inside] - middle) / spread, nan=-np.inf).max(axis=1)
        np.maximum.at(largest, np.searchsorted(distinct, days[inside]), judged)
    days_drawn = drawn_blocks(
        len(largest), len(largest), block_rows=rate.block_days, draws=rate.draws, seed=rate.seed
    )
    limits = [np.quantile(largest[drawn], 1 - rate.a_day, method="higher") for drawn in days_drawn]
    middle, spread = _usual(path)
    return Scale(middle, spread, float(np.mean(limits)))


def _usual(path: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Middle of each statistic, and from it to the upper tenth; one that was never known alarms never."""
    never = np.isnan(path).all(axis=0)
    middle, upper = np.nanquantile(np.where(never, 0.0, path), [0.5, SPREAD_QUANTILE], axis=0)
    spread = np.where(never, np.inf, np.maximum(upper - middle, 1e-12))
    return np.asarray(middle, dtype=np.float64), np.asarray(spread, dtype=np.float64)
