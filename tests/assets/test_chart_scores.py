"""Scores of recognition on answers that are counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.chart_problem import walk_set

from cryptoai_assets.lib.charts.dataset import ChartSet
from cryptoai_assets.lib.charts.scores import (
    OTHERWISE,
    ceiling,
    class_table,
    confusion,
    drawn_weeks,
    lost_intervals,
    macro_f1,
    natural_interval,
    pattern_intervals,
    pattern_scores,
    recall_intervals,
)
from edge_bundle.detection import Pattern
from edge_bundle.detector import ChartReading

HS, IHS, NONE = Pattern.HEAD_AND_SHOULDERS, Pattern.INVERSE_HEAD_AND_SHOULDERS, Pattern.NONE


def reading(said: np.ndarray, key_points: np.ndarray) -> ChartReading:
    probabilities = np.full((len(said), len(Pattern)), 0.01, dtype=np.float32)
    probabilities[np.arange(len(said)), said] = 0.9
    return ChartReading(probabilities, key_points.astype(np.int64))


@pytest.fixture
def data() -> ChartSet:
    return walk_set()


def test_who_says_what_the_rule_says_has_all_marks(data: ChartSet) -> None:
    scores = pattern_scores(data, reading(data.pattern, data.key_points))
    assert (scores.balanced_ten, scores.macro_f1, scores.near_points, scores.all_near) == (1, 1, 1, 1)
    assert scores.windows == (data.pattern != NONE).sum()


def test_balanced_accuracy_counts_each_pattern_once_and_chooses_among_the_ten(data: ChartSet) -> None:
    said = data.pattern.copy()
    said[data.pattern == HS] = IHS
    wrong = pattern_scores(data, reading(said, data.key_points))
    assert wrong.balanced_ten == pytest.approx(0.9)
    # "none" is not among the ten: the likeliest of the others is counted.
    silent = reading(said, data.key_points)
    silent.probabilities[:, NONE] = 0.99
    assert pattern_scores(data, silent).balanced_ten == pytest.approx(0.9)


def test_macro_f1_by_hand() -> None:
    pattern, said = np.array([1, 1, 2, 2, 0, 0]), np.array([1, 2, 2, 2, 0, 1])
    # F1: head and shoulders 2/4, inverse 4/5, none 2/3; the other eight neither occur nor are said
    assert macro_f1(pattern, said, none_as_one=False) == pytest.approx(np.mean([1 / 2, 4 / 5, 2 / 3]))
    # Two windows of none weigh together as much as the mean of ten patterns, 0.4: each weighs 0.2.
    expected = np.mean([2 / (2 + 1.2), 4 / 5, 2 * 0.2 / (0.4 + 0.2)])
    assert macro_f1(pattern, said, none_as_one=True) == pytest.approx(expected)


def test_key_points_are_near_within_two_bars(data: ChartSet) -> None:
    held = data[data.pattern == HS]
    for shift, near in ((2, 1.0), (3, 0.0)):
        scores = pattern_scores(held, reading(held.pattern, held.key_points + shift))
        assert (scores.near_points, scores.all_near) == (near, near)
    one_off = held.key_points.copy()
    one_off[:, 2] += 5
    scores = pattern_scores(held, reading(held.pattern, one_off))
    assert (scores.near_points, scores.all_near) == (pytest.approx(0.8), 0.0)


def test_point_that_is_not_said_is_missed(data: ChartSet) -> None:
    held = data[data.pattern == Pattern.DOUBLE_TOP]
    nothing = np.full_like(held.key_points, -1)
    scores = pattern_scores(held, reading(np.full(len(held), NONE), nothing))
    assert (scores.near_points, scores.all_near) == (0.0, 0.0)


def test_class_table_and_confusion_agree(data: ChartSet) -> None:
    random = np.random.default_rng(1)
    said = np.where(random.random(len(data)) < 0.7, data.pattern, random.integers(0, 11, len(data)))
    answer = reading(said, data.key_points)
    table, counts = class_table(data, answer), confusion(data, answer)
    assert counts.sum() == len(data)
    np.testing.assert_array_equal(table["windows"], counts.sum(axis=1))
    np.testing.assert_allclose(table["recall"], np.diag(counts) / counts.sum(axis=1))
    np.testing.assert_allclose(table["precision"], np.diag(counts) / counts.sum(axis=0))
    assert macro_f1(data.pattern, answer.pattern, none_as_one=False) == pytest.approx(table["f1"].mean())


@pytest.fixture
def unsure(data: ChartSet) -> ChartReading:
    """Who is wrong about a third of the windows, and lays three points in ten of the others elsewhere."""
    random = np.random.default_rng(2)
    said = np.where(random.random(len(data)) < 0.7, data.pattern, random.integers(0, 11, len(data)))
    shift = 5 * (random.random(data.key_points.shape) < 0.3)
    return reading(said, data.key_points + shift)


def test_every_score_lies_in_its_interval(data: ChartSet, unsure: ChartReading) -> None:
    scores = pattern_scores(data, unsure)
    for name, found in pattern_intervals(data, unsure).items():
        assert found.value == pytest.approx(getattr(scores, name)), name
        assert found.lower < found.value < found.upper, name
    natural = natural_interval(data, unsure)
    assert natural.value == pytest.approx(macro_f1(data.pattern, unsure.pattern, none_as_one=False))
    recalls = {found.name: found for found in recall_intervals(data, unsure)}
    for row in class_table(data, unsure).iter_rows(named=True):
        found = recalls[row["pattern"]]
        assert found.value == pytest.approx(row["recall"])
        assert found.lower < found.value < found.upper


def test_interval_is_that_of_scores_over_weeks_drawn_anew(data: ChartSet, unsure: ChartReading) -> None:
    draw = drawn_weeks(data.window_end)
    days = draw.slot
    assert (np.bincount(days) == 48).mean() > 0.9  # of half hours
    drawn = []
    for starts in draw.starts:
        chosen = ((starts[:, None] + np.arange(draw.block)) % draw.slots).ravel()
        rows = np.concatenate([np.flatnonzero(days == day) for day in chosen])
        drawn.append(
            pattern_scores(data[rows], ChartReading(unsure.probabilities[rows], unsure.key_points[rows]))
        )
    for name, found in pattern_intervals(data, unsure).items():
        lower, upper = draw.ends(np.array([getattr(own, name) for own in drawn]))
        assert (found.lower, found.upper) == (pytest.approx(lower), pytest.approx(upper))


def test_windows_that_are_alike_add_nothing_to_what_is_known(data: ChartSet, unsure: ChartReading) -> None:
    """Four windows at each time, as of four symbols that move together."""
    rows = np.tile(np.arange(len(data)), 4)
    same = ChartReading(unsure.probabilities[rows], unsure.key_points[rows])
    once, fourfold = pattern_intervals(data, unsure), pattern_intervals(data[rows], same)
    for name, found in once.items():
        assert (fourfold[name].lower, fourfold[name].upper) == pytest.approx((found.lower, found.upper))


def test_what_is_lost_is_the_difference_of_the_scores(data: ChartSet, unsure: ChartReading) -> None:
    plain = reading(data.pattern, data.key_points)
    lost = lost_intervals(data, plain, unsure)
    scores = pattern_scores(data, unsure)
    for name in ("balanced_ten", "macro_f1", "near_points", "all_near"):
        assert lost[name].value == pytest.approx(1 - getattr(scores, name))
        assert 0 < lost[name].lower < lost[name].value < lost[name].upper
    assert lost[OTHERWISE].value == pytest.approx((unsure.pattern != data.pattern).mean())
    nothing = lost_intervals(data, unsure, unsure)
    assert all((own.value, own.lower, own.upper) == (0, 0, 0) for own in nothing.values())


def test_ceiling_is_below_one_where_pixels_change_the_rule(data: ChartSet) -> None:
    found = ceiling(data)
    balanced, f1 = found["balanced_ten"], found["macro_f1"]
    assert 0.8 < balanced.lower < balanced.value < balanced.upper < 1.0
    assert 0.5 < f1.value < balanced.value
    assert f1.value == pytest.approx(macro_f1(data.raw_pattern, data.pattern, none_as_one=True))
    same = ceiling(replace(data, raw_pattern=data.pattern))
    assert (same["balanced_ten"].value, same["macro_f1"].value) == (1.0, 1.0)
