"""Candlestick features: the parts of a candle against the usual range, and patterns that need no gap.

A market that never closes opens where it closed, so the textbook's gaps never come. Where a textbook wants a
gap, these patterns want penetration: a low under the bar before it, say. Long and small are sizes of the body
in units of the mean true range of the 14 bars before.
"""

from functools import cache

import polars as pl

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import EQUAL, LONG, SMALL, TINY, flag, step

# Bars before a pattern: the 14 of the usual range, one for its first true range, one that it ends before.
USUAL_BARS = 15
LONGEST_RUN = 10
_PATTERN_UNITS = ("0 or 1", "-1, 0 or 1")


def features() -> list[Feature]:
    """Members of the family."""
    return [*_parts(), *_one_bar(), *_two_bars(), *_three_bars()]


@cache
def patterns() -> tuple[Feature, ...]:
    """Members of the family that are patterns."""
    return tuple(member for member in features() if member.unit in _PATTERN_UNITS)


def _parts() -> list[Feature]:
    return [
        *(
            Feature(
                f"{name}_size",
                step(f"{name}_size"),
                USUAL_BARS,
                "usual ranges",
                f"{meaning}, in mean true ranges of the 14 bars before; 0 where they had none.",
                1.0,
            )
            for name, meaning in (
                ("body", "Close minus open"),
                ("upper", "Upper shadow"),
                ("lower", "Lower shadow"),
            )
        ),
        Feature(
            "direction_run",
            step("side") * (step("bar") - step("run_start") + 1).clip(upper_bound=LONGEST_RUN),
            LONGEST_RUN,
            "bars",
            f"Bars in a row that closed higher, or lower with a minus; at most {LONGEST_RUN}.",
            1.0,
        ),
    ]


def _pattern(name: str, seen: pl.Expr, meaning: str, *, bars: int, side: pl.Expr | None = None) -> Feature:
    """1 where a pattern of so many bars ends, 0 elsewhere; with a side, that of the side."""
    value = flag(seen)
    return Feature(
        name,
        value if side is None else value * side,
        USUAL_BARS + bars,
        "0 or 1" if side is None else "-1, 0 or 1",
        meaning,
        1.0,
    )


def _one_bar() -> list[Feature]:
    body, upper, lower = step("body_size"), step("upper_size"), step("lower_size")
    return [
        _pattern(
            "doji",
            (body.abs() < TINY) & (upper + lower > SMALL),
            "Opened and closed at one price after trading apart from it.",
            bars=0,
        ),
        _pattern(
            "marubozu",
            (body.abs() > LONG) & step("tiny_upper") & step("tiny_lower"),
            "A long body without shadows; its sign is the direction.",
            bars=0,
            side=body.sign(),
        ),
        _pattern(
            "hammer",
            step("fell") & step("small") & (lower > LONG) & step("tiny_upper"),
            "After a fall, a small body above a shadow twice as long.",
            bars=0,
        ),
        _pattern(
            "shooting_star",
            step("rose") & step("small") & (upper > LONG) & step("tiny_lower"),
            "After a rise, a small body under a shadow twice as long.",
            bars=0,
        ),
    ]


def _two_bars() -> list[Feature]:
    before = step("body_size").shift(1)
    open_, close, high, low = (pl.col(name) for name in ("open", "close", "high", "low"))
    open_1, close_1, middle = step("open_1"), step("close_before"), step("middle").shift(1)
    inside = (step("body_top") <= step("body_top").shift(1)) & (
        step("body_bottom") >= step("body_bottom").shift(1)
    )
    equal = EQUAL * step("usual_range")
    return [
        _pattern(
            "bullish_engulfing",
            (before < 0) & step("rise") & (open_ <= close_1) & (close > open_1),
            "A rising body around the falling one before it.",
            bars=1,
        ),
        _pattern(
            "bearish_engulfing",
            (before > 0) & step("fall") & (open_ >= close_1) & (close < open_1),
            "A falling body around the rising one before it.",
            bars=1,
        ),
        _pattern(
            "harami",
            (before.abs() > LONG) & step("small") & inside,
            "A small body inside the long one before it; its sign is against that one's.",
            bars=1,
            side=-before.sign(),
        ),
        _pattern(
            "piercing_line",
            step("long_fall_1")
            & step("lower_low")
            & step("opens_below")
            & (close > middle)
            & (close <= open_1),
            "After a long fall, a lower low, and a close above the middle of that fall.",
            bars=1,
        ),
        _pattern(
            "dark_cloud_cover",
            step("long_rise_1")
            & step("higher_high")
            & step("opens_above")
            & (close < middle)
            & (close >= open_1),
            "After a long rise, a higher high, and a close under the middle of that rise.",
            bars=1,
        ),
        _pattern(
            "tweezer_top",
            step("rose_1") & step("rise_1") & step("fall") & ((high - high.shift(1)).abs() < equal),
            "After a rise, a rising and a falling bar with one high.",
            bars=1,
        ),
        _pattern(
            "tweezer_bottom",
            step("fell_1") & step("fall_1") & step("rise") & ((low - low.shift(1)).abs() < equal),
            "After a fall, a falling and a rising bar with one low.",
            bars=1,
        ),
    ]


def _three_bars() -> list[Feature]:
    close, middle = pl.col("close"), step("middle").shift(2)
    return [
        _pattern(
            "morning_star",
            step("long_fall_2") & step("small_1") & step("lower_low_1") & step("rise") & (close > middle),
            "A long fall, a small body with a lower low, and a rise above the middle of the fall.",
            bars=2,
        ),
        _pattern(
            "evening_star",
            step("long_rise_2") & step("small_1") & step("higher_high_1") & step("fall") & (close < middle),
            "A long rise, a small body with a higher high, and a fall under the middle of the rise.",
            bars=2,
        ),
        _pattern(
            "three_white_soldiers",
            step("rise_2") & step("rise_on_1") & step("rise_on"),
            "Three rising bodies; the latter two open within the one before and close near their high.",
            bars=2,
        ),
        _pattern(
            "three_black_crows",
            step("fall_2") & step("fall_on_1") & step("fall_on"),
            "Three falling bodies; the latter two open within the one before and close near their low.",
            bars=2,
        ),
    ]
