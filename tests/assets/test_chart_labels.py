"""The rule of the ten patterns: drawn by hand, a positive and a near miss on each side of every condition."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.charts.drawings import mirrored
from cryptoai_assets.lib.charts.labels import (
    BLOCK,
    Float64Array,
    PatternLabels,
    height_labels,
    neighbouring_patterns,
    picture_labels,
    raw_labels,
)
from edge_bundle.chart import CHART_60
from edge_bundle.chart_rule import RULE, PatternRule, Turn, turning_points
from edge_bundle.detection import NO_BAR, Pattern

SCALE = float(CHART_60.top_level)
BARS = CHART_60.bars
E5 = BARS - 5


def drawn(points: list[tuple[int, float]]) -> Float64Array:
    """Closes on straight lines between (bar, height) points; (bars,)."""
    bars, heights = zip(*points, strict=True)
    return np.interp(np.arange(BARS), bars, heights)


def tops_and_bottoms(*extrema: float, first: float = 40.0, last: float = 40.0) -> Float64Array:
    """Closes with five extrema, eight bars apart, the last of them at `E5`."""
    places = range(E5 - 32, E5 + 1, 8)
    return drawn([(0, first), *zip(places, extrema, strict=True), (BARS - 1, last)])


def label(closes: Float64Array, rule: PatternRule = RULE) -> PatternLabels:
    return height_labels(closes[None], rule, scale=SCALE)


def found(closes: Float64Array, rule: PatternRule = RULE) -> Pattern:
    """What is found, which must be what is found upside down, mirrored."""
    [pattern] = label(closes, rule).pattern
    [upside_down] = label(SCALE - closes, rule).pattern
    assert Pattern(upside_down) is Pattern(pattern).mirrored
    return Pattern(pattern)


# Tolerances in pixels: 4.6875 from the mean of two is 9.375 between them; 2.34375 for rectangles.
@pytest.mark.parametrize(
    ("extrema", "pattern"),
    [
        ((50, 30, 65, 30, 50), Pattern.HEAD_AND_SHOULDERS),
        ((50, 30, 65, 30, 59), Pattern.HEAD_AND_SHOULDERS),  # shoulders 9 apart
        ((50, 30, 65, 30, 60), Pattern.NONE),  # 10 apart
        ((60, 30, 70, 30, 50), Pattern.NONE),  # on the other side
        ((50, 30, 65, 39, 50), Pattern.HEAD_AND_SHOULDERS),  # neckline 9 apart
        ((50, 30, 65, 40, 50), Pattern.NONE),
        ((50, 40, 65, 30, 50), Pattern.NONE),
        ((56, 30, 55, 20, 52), Pattern.NONE),  # the head under the first shoulder
        ((52, 20, 55, 30, 56), Pattern.NONE),  # under the second one
        ((50, 30, 54, 30, 57), Pattern.NONE),  # under the second one alone
        ((57, 30, 54, 30, 50), Pattern.NONE),  # under the first one alone
        ((70, 20, 60, 30, 50), Pattern.TRIANGLE_TOP),
        ((70, 20, 70, 35, 50), Pattern.NONE),  # second top as high as the first
        ((70, 20, 55, 30, 55), Pattern.NONE),  # third as high as the second
        ((70, 30, 60, 30, 50), Pattern.NONE),  # bottoms level
        ((50, 30, 60, 20, 70), Pattern.BROADENING_TOP),
        ((60, 35, 60, 20, 70), Pattern.NONE),  # tops level at first
        ((50, 30, 70, 15, 70), Pattern.NONE),  # level in the end
        ((50, 20, 60, 30, 70), Pattern.NONE),  # bottoms rise
        ((60, 30, 60, 30, 60), Pattern.RECTANGLE_TOP),
        ((60, 30, 63, 30, 60), Pattern.RECTANGLE_TOP),  # 2 from the mean
        ((60, 30, 64, 30, 60), Pattern.HEAD_AND_SHOULDERS),  # 2.67 from the mean: no rectangle
        ((60, 30, 60, 34, 60), Pattern.RECTANGLE_TOP),  # bottoms 2 from the mean
        ((60, 30, 60, 35, 60), Pattern.NONE),  # 2.5
        ((60, 30, 56, 30, 60), Pattern.NONE),  # the middle top too low
    ],
)
def test_five_extrema_make_a_pattern_within_its_conditions_only(
    extrema: tuple[float, ...], pattern: Pattern
) -> None:
    closes = tops_and_bottoms(*extrema, first=10.0, last=10.0)
    # A first top that is level with the last would make a double top of what is none.
    no_doubles = replace(RULE, least_apart_bars=BARS)
    assert found(closes, no_doubles) is pattern


def test_rectangle_needs_its_tops_above_its_bottoms() -> None:
    narrow = tops_and_bottoms(42, 40, 42, 40, 42, first=10.0, last=10.0)
    assert found(narrow) is Pattern.RECTANGLE_TOP
    crossed = tops_and_bottoms(41, 39, 44, 41.5, 43, first=10.0, last=10.0)
    assert found(crossed) is Pattern.HEAD_AND_SHOULDERS


def test_key_points_are_the_five_extrema() -> None:
    labels = label(tops_and_bottoms(50, 30, 65, 30, 50, first=10.0, last=10.0))
    assert labels.key_points[0].tolist() == list(range(E5 - 32, E5 + 1, 8))
    sides = labels.turns[0, labels.key_points[0]]
    assert sides.tolist() == [Turn.TOP, Turn.BOTTOM, Turn.TOP, Turn.BOTTOM, Turn.TOP]


@pytest.mark.parametrize(("to_the_end", "confirmed"), [(2, False), (3, True), (6, True), (7, False)])
def test_last_extremum_lies_three_to_six_bars_before_the_end(to_the_end: int, confirmed: bool) -> None:
    last = BARS - 1 - to_the_end
    closes = drawn(
        [(0, 10), *zip(range(last - 32, last + 1, 8), (50, 30, 65, 30, 50), strict=True), (BARS - 1, 42)]
    )
    assert (found(closes) is Pattern.HEAD_AND_SHOULDERS) is confirmed


def double(
    *, apart: int = 30, first: float = 60.0, second: float = 60.0, between: float = 40.0
) -> Float64Array:
    """Two tops, with a lower one between and a low start."""
    start = E5 - apart
    return drawn(
        [
            (0, 5),
            (start, first),
            (start + 8, 20),
            (start + 14, between),
            (E5 - 6, 26),
            (E5, second),
            (BARS - 1, 40),
        ]
    )


@pytest.mark.parametrize(
    ("closes", "pattern"),
    [
        (double(), Pattern.DOUBLE_TOP),
        (double(apart=23), Pattern.DOUBLE_TOP),
        (double(apart=22), Pattern.NONE),
        (double(second=69), Pattern.DOUBLE_TOP),
        (double(second=70), Pattern.NONE),
        (double(first=69), Pattern.DOUBLE_TOP),
        (double(first=70), Pattern.NONE),
        (double(between=60), Pattern.DOUBLE_TOP),
        (double(between=61), Pattern.HEAD_AND_SHOULDERS),  # a higher top between is a head
    ],
)
def test_double_top_needs_two_high_tops_far_apart(closes: Float64Array, pattern: Pattern) -> None:
    assert found(closes) is pattern


def test_double_top_points_at_its_tops_and_the_valley_between() -> None:
    labels = label(double())
    assert Pattern(labels.pattern[0]) is Pattern.DOUBLE_TOP
    assert labels.key_points[0].tolist() == [E5 - 30, E5 - 22, E5, NO_BAR, NO_BAR]


def test_straight_line_and_standstill_hold_nothing() -> None:
    for closes in (np.linspace(0, SCALE, BARS), np.full(BARS, 30.0)):
        labels = label(closes)
        assert Pattern(labels.pattern[0]) is Pattern.NONE
        assert not labels.turns.any()


def test_flat_top_turns_once() -> None:
    closes = drawn([(0, 10), (20, 60), (30, 60), (BARS - 1, 10)])
    turns = turning_points(np.rint(closes)[None], RULE)
    assert turns.sum() == Turn.TOP
    assert np.abs(turns).sum() == 1


def walks(windows: int, seed: int) -> Float64Array:
    """Candles of random walks: (windows, bars, 5)."""
    random = np.random.default_rng(seed)
    close = 100 + np.cumsum(random.normal(0, 1, (windows, BARS)), axis=1)
    return np.stack([close, close + 0.2, close - 0.2, close, np.ones_like(close)], axis=2)


def test_tops_and_bottoms_of_walks_take_turns_and_lie_beyond_their_neighbours() -> None:
    closes = walks(300, seed=1)[:, :, 3]
    turns = turning_points(closes, RULE)
    assert not turns[:, BARS - RULE.nearest_end_bars :].any()
    alternating = 0
    for row, own in zip(closes, turns, strict=True):
        places = np.flatnonzero(own)
        alternating += (own[places][1:] != own[places][:-1]).all()
        assert all(
            own[place] * row[place] >= (own[place] * row[[place - 1, place + 1]]).min() for place in places
        )
    assert alternating >= 290  # two turns may lead to one close


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_mirrored_walks_have_mirrored_labels(seed: int) -> None:
    candles = walks(200, seed)
    own = picture_labels(candles, CHART_60, RULE)
    other = picture_labels(mirrored(candles), CHART_60, RULE)
    # A close half-way between two pixels falls to another one upside down.
    same = [Pattern(a).mirrored == b for a, b in zip(own.pattern, other.pattern, strict=True)]
    assert np.mean(same) >= 0.95


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_label_of_a_bar_is_the_same_whatever_comes_later(seed: int, later: int) -> None:
    path = walks(1, seed)[0]
    longer = np.concatenate([path, walks(1, seed + 1)[0][:later]])
    alone = picture_labels(path[None], CHART_60, RULE)
    windows = np.stack([longer[start : start + BARS] for start in range(later + 1)])
    among = picture_labels(windows, CHART_60, RULE)
    assert alone.pattern[0] == among.pattern[0]
    np.testing.assert_array_equal(alone.key_points[0], among.key_points[0])


def test_labels_do_not_depend_on_the_batch_that_they_are_made_in() -> None:
    candles = walks(BLOCK + 7, seed=3)
    whole = picture_labels(candles, CHART_60, RULE)
    some = np.arange(0, len(candles), 97)
    apart = picture_labels(candles[some], CHART_60, RULE)
    np.testing.assert_array_equal(whole.pattern[some], apart.pattern)
    np.testing.assert_array_equal(whole.turns[some], apart.turns)


def test_rounding_to_pixels_changes_few_patterns() -> None:
    candles = walks(4000, seed=5)
    raw, seen = raw_labels(candles, CHART_60, RULE).pattern, picture_labels(candles, CHART_60, RULE).pattern
    both = (raw != Pattern.NONE) & (seen != Pattern.NONE)
    assert both.sum() > 200
    assert 0.9 < (raw == seen)[both].mean() < 1.0


def test_neighbouring_rules_find_other_patterns_in_some_windows() -> None:
    candles = walks(2000, seed=6)
    own = picture_labels(candles, CHART_60, RULE).pattern
    around = neighbouring_patterns(candles, CHART_60, RULE)
    stable = (around == own).all(axis=0)[own != Pattern.NONE].mean()
    assert around.shape == (4, 2000)
    assert 0.3 < stable < 0.9


def test_settings_have_a_fingerprint_of_their_own() -> None:
    assert RULE.fingerprint == replace(RULE).fingerprint
    assert len({RULE.fingerprint, *(rule.fingerprint for rule in RULE.neighbours())}) == 5
