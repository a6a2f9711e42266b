"""A small chart problem: walks drawn and labelled, in a training and a validation part."""

from dataclasses import replace
from functools import cache

import numpy as np
from fakes.chart_walks import walk

from cryptoai_assets.lib.charts.dataset import TEST, TRAINING, VALIDATION, ChartSet, packed
from cryptoai_assets.lib.charts.drawings import mirrored
from cryptoai_assets.lib.charts.labels import neighbouring_patterns, picture_labels, raw_labels
from cryptoai_assets.lib.charts.pieces import BarPool
from cryptoai_assets.lib.charts.problem import ChartProblem
from cryptoai_assets.lib.charts.settings import (
    ChartSettings,
    ChartTraining,
    CloseNetSettings,
    PictureCnnSettings,
    VisionTransformerSettings,
)
from cryptoai_assets.lib.charts.windows import Series
from edge_bundle.chart import CHART_60, chart_images
from edge_bundle.chart_rule import RULE
from edge_bundle.detection import Pattern

TRAINING_SETTINGS = ChartTraining(
    epochs=2,
    cooling_epochs=1,
    images=220,
    fresh_share=0.5,
    none_share=0.25,
    batch=32,
    learning_rate=2e-3,
    weight_decay=0.01,
    turn_weight=1.0,
    pointer_weight=0.5,
)
SETTINGS: dict[str, ChartSettings] = {
    "vit": VisionTransformerSettings(16, (3, 3), 64, 64, 3e-3, 2, 1, 32, TRAINING_SETTINGS),
    "cnn": PictureCnnSettings((2, 4), TRAINING_SETTINGS),
    "closes": CloseNetSettings(8, 2, TRAINING_SETTINGS),
}


@cache
def walk_set(seed: int = 3) -> ChartSet:
    """Pictures of walks, a quarter of which hold nothing."""
    candles = walk(2_500, CHART_60.bars, seed)
    candles = np.concatenate([candles, mirrored(candles)])
    labels = picture_labels(candles, CHART_60, RULE)
    none = labels.pattern == Pattern.NONE
    rows = np.sort(np.concatenate([np.flatnonzero(~none), np.flatnonzero(none)[:200]]))
    candles, count = candles[rows], len(rows)
    own = labels.pattern[rows]
    around = neighbouring_patterns(candles, CHART_60, RULE)
    return ChartSet(
        planes=packed(chart_images(candles, CHART_60)),
        pattern=own,
        raw_pattern=raw_labels(candles, CHART_60, RULE).pattern,
        stable=(around == own).all(axis=0),
        near_miss=(own == Pattern.NONE) & (around != Pattern.NONE).any(axis=0),
        drawn=np.zeros(count, dtype=bool),
        key_points=labels.key_points[rows],
        turns=labels.turns[rows],
        symbol=np.full(count, "BTCUSD"),
        interval=np.full(count, "30m"),
        window_end=np.datetime64("2019-01-01", "us") + np.arange(count) * np.timedelta64(30, "m"),
        part=np.array([TRAINING, TRAINING, VALIDATION, TEST])[np.arange(count) % 4],
    )


def chart_problem(kind: str, *, seed: int = 1, epochs: int = 1, fresh_share: float = 0.0) -> ChartProblem:
    """Problem of a small network; windows made for an epoch take longer than all the rest."""
    settings = SETTINGS[kind]
    training = replace(settings.training, epochs=epochs, fresh_share=fresh_share)
    settings = replace(settings, training=training)
    return ChartProblem(settings, CHART_60, RULE, walk_set(), walk_pool(), seed)


@cache
def walk_pool(bars: int = 3_000) -> BarPool:
    """Bars of one walk, to be joined anew."""
    time = np.datetime64("2018-01-01", "us") + np.arange(bars) * np.timedelta64(30, "m")
    series = Series("BTCUSD", "30m", walk(1, bars, 5)[0], time, np.arange(CHART_60.bars - 1, bars))
    return BarPool.of([series], [np.ones(bars, dtype=bool)])
