"""Chart-pattern features: what the rule of Lo, Mamaysky and Wang finds, on the bar that confirms it.

They are made from closes rounded to the pixels of a chart of sixty bars, as the labels of the chart network
are, and read a column that `edge_bundle.features.sources.with_sources` adds: a window a bar is dear.
"""

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from edge_bundle.chart import CANDLE_COLUMNS, CHART_60, Float64Array, close_levels
from edge_bundle.chart_rule import RULE, Int8Array, Int64Array, patterns_of_turns, turning_points
from edge_bundle.detection import Pattern
from edge_bundle.features.feature import Feature

CONFIRMED = "_confirmed_pattern"
# Windows that find one pattern by one last extremum follow each other: the first of them confirms it.
_AGAIN = RULE.farthest_end_bars - RULE.nearest_end_bars
WARMUP = CHART_60.bars - 1 + _AGAIN
RECENT_BARS = 20
# Windows that are looked at together.
_BLOCK = 4096


def features() -> list[Feature]:
    """Members of the family."""
    confirmed = pl.col(CONFIRMED)
    tops = [pattern for pattern in Pattern if pattern.starts_at_top]
    sides = {top: _side(confirmed, [top]) for top in tops}
    return [
        *(
            Feature(
                f"chart_{_SHAPES[top]}",
                side,
                WARMUP,
                "-1, 0 or 1",
                f"A {_SHAPES[top].replace('_', ' ')} is confirmed by this bar: 1 a bottom, -1 a top.",
                1.0,
            )
            for top, side in sides.items()
        ),
        Feature(
            f"chart_side_{RECENT_BARS}",
            _side(confirmed, tops).rolling_sum(RECENT_BARS),
            WARMUP + RECENT_BARS - 1,
            "patterns",
            f"Bottoms less tops of any shape that were confirmed in {RECENT_BARS} bars.",
            1.0,
        ),
    ]


_SHAPES = {
    Pattern.HEAD_AND_SHOULDERS: "head_and_shoulders",
    Pattern.BROADENING_TOP: "broadening",
    Pattern.TRIANGLE_TOP: "triangle",
    Pattern.RECTANGLE_TOP: "rectangle",
    Pattern.DOUBLE_TOP: "double",
}


def _side(confirmed: pl.Expr, tops: list[Pattern]) -> pl.Expr:
    """Textbook's side: tops are sold, bottoms are bought."""
    bottoms = [top.mirrored for top in tops]
    bought = pl.when(confirmed.is_in([float(one) for one in bottoms])).then(1.0).otherwise(0.0)
    return bought - pl.when(confirmed.is_in([float(one) for one in tops])).then(1.0).otherwise(0.0)


def confirmed_patterns(segment: pl.DataFrame) -> pl.Series:
    """Pattern that each bar of one segment confirms, as a number of `Pattern`; 0 where it confirms none.

    Of bars with too few before them nothing is known, and 0 is said: a feature is null there.
    """
    bars = segment.select(CANDLE_COLUMNS).to_numpy()
    confirmed = np.zeros(len(bars))
    if len(bars) >= CHART_60.bars:
        pattern, end = _read(bars)
        again = np.zeros(len(pattern), dtype=np.bool_)
        for back in range(1, _AGAIN + 1):
            again[back:] |= (pattern[back:] == pattern[:-back]) & (end[back:] == end[:-back])
        confirmed[CHART_60.bars - 1 :] = np.where(again, Pattern.NONE, pattern)
    return pl.Series(CONFIRMED, confirmed)


def _read(bars: Float64Array) -> tuple[Int8Array, Int64Array]:
    """Pattern of the window that ends with each bar, and the bar of its last extremum."""
    windows = sliding_window_view(bars, CHART_60.bars, axis=0).transpose(0, 2, 1)
    found = []
    for start in range(0, len(windows), _BLOCK):
        levels = close_levels(windows[start : start + _BLOCK], CHART_60).astype(np.float64)
        found.append(patterns_of_turns(levels, turning_points(levels, RULE), RULE, scale=CHART_60.top_level))
    patterns, points = zip(*found, strict=True)
    last = np.concatenate(points).max(axis=1)
    return np.concatenate(patterns), np.arange(len(windows)) + last
