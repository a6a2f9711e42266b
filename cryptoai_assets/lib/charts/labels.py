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

from edge_bundle.chart import CLOSE, ChartFormat, Float64Array, close_levels, price_heights
from edge_bundle.chart_rule import PatternRule, patterns_of_turns, turning_points

Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
PatternArray = npt.NDArray[np.integer]
BLOCK = 4096


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
    levels = close_levels(candles, chart).astype(np.float64)
    return height_labels(levels, rule, scale=chart.top_level)


def raw_labels(candles: Float64Array, chart: ChartFormat, rule: PatternRule) -> PatternLabels:
    """Labels from closes as they are; candles (windows, bars, 5)."""
    return height_labels(price_heights(candles, chart)[:, :, CLOSE], rule, scale=chart.top_level)


def neighbouring_patterns(candles: Float64Array, chart: ChartFormat, rule: PatternRule) -> Int8Array:
    """(rules, windows) of `Pattern`, by each of the rule's neighbours; candles (windows, bars, 5)."""
    levels = close_levels(candles, chart).astype(np.float64)
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


def _block_labels(heights: Float64Array, rule: PatternRule, scale: float) -> PatternLabels:
    turns = turning_points(heights, rule)
    pattern, key_points = patterns_of_turns(heights, turns, rule, scale=scale)
    return PatternLabels(pattern, key_points, turns)
