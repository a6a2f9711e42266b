"""Splits by time: purged walk-forward folds for a procedure, and the final stretch for a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise


class SplitError(Exception):
    """The series is too short for the split that was asked for."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One step of the walk; all symbols are split at the same times.

    Parameters
    ----------
    train_end
        Rows with an earlier open time are trained on: their labels end before `test_start`.
    test_start, test_end
        Rows with ``test_start <= open_time < test_end`` are scored.
    """

    index: int
    train_end: datetime
    test_start: datetime
    test_end: datetime


def walk_forward(
    times: Sequence[datetime],
    *,
    bar: timedelta,
    folds: int,
    test_share: float,
    horizon_bars: int,
    embargo_bars: int,
) -> list[Fold]:
    """Expanding folds over the last `test_share` of the series, in equal parts.

    A training row's label reads `horizon_bars` bars ahead: rows whose label would reach the first test bar
    are purged, and `embargo_bars` more are left out.

    Parameters
    ----------
    times
        Distinct open times of the whole market, ascending.

    Raises
    ------
    SplitError
        When a fold would hold no bar to train or to score on.
    """
    first = int(len(times) * (1 - test_share))
    starts = [first + round((len(times) - first) * k / folds) for k in range(folds + 1)]
    gap = (horizon_bars + embargo_bars) * bar
    result = []
    for index, (start, end) in enumerate(pairwise(starts)):
        if start >= end or start == 0 or times[start] - gap <= times[0]:
            raise SplitError(
                f"{len(times)} bars are too few for {folds} folds over the last {test_share:.0%}"
            )
        test_end = times[end] if end < len(times) else times[-1] + bar
        result.append(Fold(index, times[start] - gap, times[start], test_end))
    return result


def final_stretch(
    times: Sequence[datetime], *, bar: timedelta, share: float, minimum_bars: int, horizon_bars: int
) -> Fold:
    """The last `share` of the series, at least `minimum_bars`, which only a finished version is scored on.

    Raises
    ------
    SplitError
        When less than half of the series would be left to train on.
    """
    bars = max(round(len(times) * share), minimum_bars)
    if bars * 2 > len(times):
        raise SplitError(
            f"{len(times)} bars are too few for a final stretch of {bars}; at least {2 * bars} needed"
        )
    start = times[-bars]
    return Fold(0, start - horizon_bars * bar, start, times[-1] + bar)
