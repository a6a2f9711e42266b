"""The ten chart patterns, found by a rule that was fixed before anything was trained on it.

Source: Lo, Mamaysky and Wang, "Foundations of technical analysis", Journal of Finance 55(4), 2000. Closes are
smoothed by kernel regression, whose turning points lead to the extrema; a pattern is an order of the last
five, E1 to E5. Here the window is a picture: heights and tolerances are shares of its range instead of
prices. All heights are whole pixels and all weights whole numbers, so that the picture decides the label to
the last bit; `raw` heights are the same rule's, unrounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from edge_bundle.chart import CLOSE, ChartFormat, Float64Array, price_heights, price_levels
from edge_bundle.chart_rule import PatternRule, Turn, patterns_of_turns

Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
PatternArray = npt.NDArray[np.integer]
BLOCK = 4096
# Weights of the kernel in whole numbers, which add up to the same in any order.
_KERNEL_UNIT = 4096
_KERNEL_REACH = 4.0


RULE = PatternRule(
    bandwidth_bars=1.5,
    tolerance=0.0625,
    rectangle_tolerance=0.03125,
    nearest_end_bars=3,
    farthest_end_bars=6,
    least_apart_bars=22,
)


@dataclass(frozen=True, slots=True)
class PatternLabels:
    """What the rule finds in a batch of windows.

    Parameters
    ----------
    pattern
        (windows,) of `Pattern`.
    key_points
        (windows, 5) bars of E1 to E5, counted from the window's first; `NO_BAR` where there is none. A double
        top or bottom has three: its two ends and what lies between.
    turns
        (windows, bars) of `Turn`, each at the close that it leads to.
    """

    pattern: Int8Array
    key_points: Int8Array
    turns: Int8Array

    def __len__(self) -> int:
        return len(self.pattern)

    def __getitem__(self, rows: Int64Array | BoolArray) -> Self:
        return type(self)(self.pattern[rows], self.key_points[rows], self.turns[rows])


def picture_labels(candles: Float64Array, chart: ChartFormat, rule: PatternRule) -> PatternLabels:
    """Labels from closes rounded to the picture's pixels; candles (windows, bars, 5)."""
    levels = price_levels(candles, chart)[:, :, CLOSE].astype(np.float64)
    return height_labels(levels, rule, scale=chart.top_level)


def raw_labels(candles: Float64Array, chart: ChartFormat, rule: PatternRule) -> PatternLabels:
    """Labels from closes as they are; candles (windows, bars, 5)."""
    return height_labels(price_heights(candles, chart)[:, :, CLOSE], rule, scale=chart.top_level)


def neighbouring_patterns(candles: Float64Array, chart: ChartFormat, rule: PatternRule) -> Int8Array:
    """(rules, windows) of `Pattern`, by each of the rule's neighbours; candles (windows, bars, 5)."""
    levels = price_levels(candles, chart)[:, :, CLOSE].astype(np.float64)
    found = [height_labels(levels, other, scale=chart.top_level).pattern for other in rule.neighbours()]
    return np.stack(found)


def height_labels(heights: Float64Array, rule: PatternRule, *, scale: float) -> PatternLabels:
    """Labels of closes (windows, bars) by their heights in a range of `scale`."""
    blocks = [heights[start : start + BLOCK] for start in range(0, len(heights), BLOCK)] or [heights]
    return joined([_block_labels(block, rule, scale) for block in blocks])


def joined(parts: Sequence[PatternLabels]) -> PatternLabels:
    """Labels of several batches as those of one."""
    return PatternLabels(
        np.concatenate([part.pattern for part in parts]),
        np.concatenate([part.key_points for part in parts]),
        np.concatenate([part.turns for part in parts]),
    )


def turning_points(heights: Float64Array, rule: PatternRule) -> Int8Array:
    """(windows, bars) of `Turn`: tops and bottoms take turns, and none is in the last unconfirmed bars.

    The smoothed closes turn where they stop rising or falling; the extremum is the close beyond the others
    among the turn's bar and its two neighbours, the turn's own where it is one.
    """
    bars = heights.shape[1]
    unconfirmed = bars - rule.nearest_end_bars
    weights, totals = _kernel(bars, rule.bandwidth_bars)
    sums = heights @ weights
    # m[t + 1] - m[t], multiplied out: whole numbers stay whole
    slope = _last_sign(np.sign(sums[:, 1:] * totals[:-1] - sums[:, :-1] * totals[1:]).astype(np.int8))
    row, bar = np.nonzero(slope[:, 1:unconfirmed] * slope[:, : unconfirmed - 1] < 0)
    bar += 1
    side = slope[row, bar - 1]
    near = np.stack([heights[row, bar + step] for step in _NEAREST_FIRST], axis=1) * side[:, None]
    place = bar + np.array(_NEAREST_FIRST)[near.argmax(axis=1)]
    turns = np.zeros(heights.shape, dtype=np.int8)
    turns[row, place] = side
    turns[:, unconfirmed:] = Turn.NONE
    return turns


_NEAREST_FIRST = (0, -1, 1)


def _kernel(bars: int, bandwidth: float) -> tuple[Float64Array, Float64Array]:
    """Weights (bars, bars) of each bar in each bar's mean, and their sums: Nadaraya and Watson's."""
    apart = np.abs(np.arange(bars)[:, None] - np.arange(bars))
    weights = np.rint(_KERNEL_UNIT * np.exp(-0.5 * (apart / bandwidth) ** 2))
    return weights, weights.sum(axis=0)


def _last_sign(slope: Int8Array) -> Int8Array:
    """Signs where flat stretches go on with the sign before them."""
    flat = np.flatnonzero((slope == 0).any(axis=1))
    steps = np.arange(slope.shape[1])
    rows = slope[flat]
    known = np.maximum.accumulate(np.where(rows != 0, steps, 0), axis=1)
    slope[flat] = np.take_along_axis(rows, known, axis=1)
    return slope


def _block_labels(heights: Float64Array, rule: PatternRule, scale: float) -> PatternLabels:
    turns = turning_points(heights, rule)
    pattern, key_points = patterns_of_turns(heights, turns, rule, scale=scale)
    return PatternLabels(pattern, key_points, turns)
