"""The rule of the ten chart patterns: what decides a label, a feature, and maybe an answer.

Source: Lo, Mamaysky and Wang, "Foundations of technical analysis", Journal of Finance 55(4), 2000. A pattern
is an order of the last five extrema, E1 to E5; heights and tolerances are shares of the picture's range.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from edge_bundle.chart import Float64Array
from edge_bundle.detection import KEY_POINTS, NO_BAR, Pattern

Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# Weights of the kernel in whole numbers, which add up to the same in any order.
_KERNEL_UNIT = 4096


class Turn(IntEnum):
    """What a bar is to the smoothed closes."""

    BOTTOM = -1
    NONE = 0
    TOP = 1


@dataclass(frozen=True, slots=True)
class PatternRule:
    """Everything that decides a label.

    Parameters
    ----------
    bandwidth_bars
        Standard deviation of the kernel.
    tolerance, rectangle_tolerance
        How far "equal" heights may lie from their mean, in shares of the window's range.
    nearest_end_bars, farthest_end_bars
        Bars from the last extremum of a pattern to the window's end. Extrema nearer to the end are not
        confirmed yet.
    least_apart_bars
        Between the two tops of a double one, which are further apart.
    """

    bandwidth_bars: float
    tolerance: float
    rectangle_tolerance: float
    nearest_end_bars: int
    farthest_end_bars: int
    least_apart_bars: int

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def neighbours(self) -> tuple["PatternRule", ...]:
        """Rules with a tenth more and less bandwidth, and 15 % more and less tolerance."""
        widths = [replace(self, bandwidth_bars=self.bandwidth_bars * factor) for factor in (0.9, 1.1)]
        tolerances = [
            replace(
                self,
                tolerance=self.tolerance * factor,
                rectangle_tolerance=self.rectangle_tolerance * factor,
            )
            for factor in (0.85, 1.15)
        ]
        return (*widths, *tolerances)


RULE = PatternRule(
    bandwidth_bars=1.5,
    tolerance=0.0625,
    rectangle_tolerance=0.03125,
    nearest_end_bars=3,
    farthest_end_bars=6,
    least_apart_bars=22,
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


def patterns_of_turns(
    heights: Float64Array, turns: Int8Array, rule: PatternRule, *, scale: float
) -> tuple[Int8Array, Int8Array]:
    """Pattern of each window (windows,), and its key points (windows, 5), from closes and their turns.

    Parameters
    ----------
    heights
        (windows, bars) of the closes, in a range of `scale`.
    turns
        (windows, bars) of `Turn`, none in the last unconfirmed bars.
    """
    pattern = np.full(len(turns), Pattern.NONE, dtype=np.int8)
    key_points = np.full((len(turns), KEY_POINTS), NO_BAR, dtype=np.int8)
    last = last_turns(turns)
    rows = np.flatnonzero(last[:, -1] >= turns.shape[1] - 1 - rule.farthest_end_bars)
    # A bottom is a top upside down.
    side = np.take_along_axis(turns[rows], last[rows, -1:], axis=1)  # (rows, 1)
    upright = heights[rows] * side
    five = _five_point_patterns(np.take_along_axis(upright, last[rows], axis=1), rule, scale)
    five[~_alternating(turns[rows], last[rows])] = Pattern.NONE
    start, valley = _double(upright, turns[rows] * side, last[rows, -1], rule, scale)
    doubled = (five == Pattern.NONE) & (start != NO_BAR)
    found = np.where(doubled, Pattern.DOUBLE_TOP, five)
    pattern[rows] = np.where((side[:, 0] == Turn.BOTTOM) & (found != Pattern.NONE), found + 1, found)
    key_points[rows] = np.where((five != Pattern.NONE)[:, None], last[rows], NO_BAR)
    triple = np.column_stack([start, valley, last[rows, -1]])
    key_points[rows[doubled], : triple.shape[1]] = triple[doubled]
    return pattern, key_points


def last_turns(turns: Int8Array) -> Int64Array:
    """(windows, 5) bars of the last five turns, in order of time; `NO_BAR` where there are fewer."""
    later = (turns[:, ::-1] != Turn.NONE).cumsum(axis=1, dtype=np.int8)
    places = [turns.shape[1] - 1 - (later >= count).argmax(axis=1) for count in range(KEY_POINTS, 0, -1)]
    return np.where((later[:, -1] >= KEY_POINTS)[:, None], np.column_stack(places), NO_BAR)


def _alternating(turns: Int8Array, last: Int64Array) -> BoolArray:
    """Whether tops and bottoms take turns; they do not where two turns lead to one close."""
    sides = np.take_along_axis(turns, last, axis=1)
    alternating: BoolArray = (sides[:, 1:] != sides[:, :-1]).all(axis=1)
    return alternating


def _five_point_patterns(extrema: Float64Array, rule: PatternRule, scale: float) -> Int8Array:
    """Patterns of five extrema (rows, 5) that begin and end with a top."""
    e1, e2, e3, e4, e5 = extrema.T
    tops, bottoms = extrema[:, ::2], extrema[:, 1::2]
    level = rule.rectangle_tolerance * scale
    rectangle = _near_mean(tops, level) & _near_mean(bottoms, level)
    rectangle &= tops.min(axis=1) > bottoms.max(axis=1)
    alike = rule.tolerance * scale
    shoulders = _near_mean(extrema[:, [0, 4]], alike) & _near_mean(bottoms, alike)
    return np.select(
        [
            rectangle,
            shoulders & (e3 > e1) & (e3 > e5),
            (e1 > e3) & (e3 > e5) & (e2 < e4),
            (e1 < e3) & (e3 < e5) & (e2 > e4),
        ],
        [
            np.int8(Pattern.RECTANGLE_TOP),
            np.int8(Pattern.HEAD_AND_SHOULDERS),
            np.int8(Pattern.TRIANGLE_TOP),
            np.int8(Pattern.BROADENING_TOP),
        ],
        np.int8(Pattern.NONE),
    )


def _near_mean(heights: Float64Array, tolerance: float) -> BoolArray:
    """Whether all of a row lie so near to their mean; multiplied out, for whole numbers stay whole."""
    count = heights.shape[1]
    away = np.abs(count * heights - heights.sum(axis=1, keepdims=True))
    near: BoolArray = (away <= count * tolerance).all(axis=1)
    return near


def _double(
    heights: Float64Array, turns: Int8Array, end: Int64Array, rule: PatternRule, scale: float
) -> tuple[Int64Array, Int64Array]:
    """Bars of the first top of a double one that ends at `end`, and of the lowest bottom between.

    The first is the highest, of equals the latest, of those that are far enough away, as high as the last
    within the tolerance, and followed by no top above the last. `NO_BAR` where there is none.
    """
    rows, bars = np.arange(len(end)), np.arange(heights.shape[1])
    height = heights[rows, end][:, None]
    tops = (turns == Turn.TOP) & (bars < end[:, None])
    higher = tops & (heights > height)
    barrier = np.where(higher.any(axis=1), bars[-1] - higher[:, ::-1].argmax(axis=1), NO_BAR)[:, None]
    candidate = tops & (bars < (end - rule.least_apart_bars)[:, None]) & (bars >= barrier)
    candidate &= np.abs(heights - height) <= 2 * rule.tolerance * scale
    value = np.where(candidate, heights, -np.inf)[:, ::-1]
    start = np.where(candidate.any(axis=1), bars[-1] - value.argmax(axis=1), NO_BAR)
    between = (turns == Turn.BOTTOM) & (bars > start[:, None]) & (bars < end[:, None])
    valley = np.where(between, heights, np.inf).argmin(axis=1)
    return np.where(between.any(axis=1), start, NO_BAR), valley
