"""Windows pieced together anew: of allowed bars alone, still candles, labelled by the rule, balanced."""

import numpy as np
import pytest
from fakes.chart_plan import PLAN, plan_candles
from fakes.chart_problem import walk_pool
from fakes.chart_walks import walk

from cryptoai_assets.lib.charts.dataset import unpacked
from cryptoai_assets.lib.charts.labels import height_labels, neighbouring_patterns
from cryptoai_assets.lib.charts.pieces import PIECE_BARS, BarPool, TurnLessons, fresh_lessons
from cryptoai_assets.lib.charts.plan import bar_pool
from cryptoai_assets.lib.charts.windows import Series
from edge_bundle.chart import CHART_60, CLOSE, HIGH, LOW, OPEN, closing_levels
from edge_bundle.chart_rule import RULE
from edge_bundle.detection import Pattern


def series(bars: int, seed: int) -> Series:
    time = np.datetime64("2018-01-01", "us") + np.arange(bars) * np.timedelta64(30, "m")
    return Series("BTCUSD", "30m", walk(1, bars, seed)[0], time, np.arange(59, bars))


def test_pieces_hold_no_bar_that_is_not_allowed() -> None:
    one = series(400, 1)
    one.bars[200:] *= 1000.0  # a jump that no allowed bar has
    one.bars[200:, CLOSE] *= np.exp(np.linspace(0, 50, 200))
    one.bars[:, HIGH] = one.bars[:, :4].max(axis=1)
    allowed = np.arange(400) < 200
    pool = BarPool.of([one], [allowed])
    assert (pool.run[200:] == 0).all()
    assert pool.run[199] == 199
    usable = pool.run > 0
    assert np.abs(pool.moves[usable]).max() < 0.2


def test_no_piece_reaches_across_a_hole() -> None:
    one = series(300, 2)
    one.open_time[150:] += np.timedelta64(5, "h")
    pool = BarPool.of([one], [np.ones(300, dtype=bool)])
    assert pool.run[149:152].tolist() == [149, 0, 1]


def test_pool_of_a_plan_is_of_its_training_alone() -> None:
    candles = plan_candles()
    own = candles.filter(symbol="BTCUSD").head(3_000)
    other = bar_pool(own, PLAN)
    pool = bar_pool(candles, PLAN)
    assert (pool.run > 0).sum() == (other.run > 0).sum() == 2_999


@pytest.mark.parametrize("seed", range(len(PIECE_BARS)))
def test_windows_are_candles_and_no_two_are_alike(seed: int) -> None:
    windows = walk_pool().windows(300, CHART_60.bars, np.random.default_rng(seed))
    ends = windows[:, :, [OPEN, CLOSE]]
    assert (windows[:, :, HIGH] >= ends.max(axis=2) - 1e-9).all()
    assert (windows[:, :, LOW] <= ends.min(axis=2) + 1e-9).all()
    assert len(np.unique(windows[:, :, CLOSE].round(6), axis=0)) == 300
    assert len(np.unique(np.diff(windows[:, :, CLOSE], axis=1).std(axis=1).round(6))) > 250


def test_lessons_are_what_the_rule_says_of_the_picture_and_balanced() -> None:
    lessons = fresh_lessons(
        walk_pool(), CHART_60, RULE, 400, none_share=0.25, generator=np.random.default_rng(3)
    )
    levels = closing_levels(unpacked(lessons.planes, CHART_60), CHART_60).astype(np.float64)
    found = height_labels(levels, RULE, scale=CHART_60.top_level)
    np.testing.assert_array_equal(found.pattern, lessons.pattern)
    np.testing.assert_array_equal(found.turns, lessons.turns)
    counts = np.bincount((lessons.pattern.astype(int) + 1) // 2)
    assert counts.tolist() == [100, 60, 60, 60, 60, 60]
    none = levels[lessons.pattern == Pattern.NONE]
    candles = np.repeat(none[:, :, None], 5, axis=2)
    candles[:, 0, HIGH], candles[:, 0, LOW] = CHART_60.top_level, 0
    near = (neighbouring_patterns(candles, CHART_60, RULE) != Pattern.NONE).any(axis=0)
    assert near.sum() == 50


def test_turn_lessons_are_those_of_the_rule_upside_down_too() -> None:
    lessons = TurnLessons(walk_pool(), CHART_60, RULE, 100, np.random.default_rng(4))
    [levels, turns] = next(iter(lessons.batches(64)))
    found = height_labels(levels.astype(np.float64), RULE, scale=CHART_60.top_level)
    np.testing.assert_array_equal(found.turns + 1, turns)
