"""What a chart network is trained on, and what it should say; it knows nothing of gradients."""

from dataclasses import dataclass

import numpy as np

from cryptoai_assets.lib.charts.dataset import (
    TRAINING,
    VALIDATION,
    ChartDatasetError,
    ChartSet,
    Lessons,
    unpacked,
)
from cryptoai_assets.lib.charts.labels import BoolArray, Int64Array
from cryptoai_assets.lib.charts.pieces import BarPool, TurnLessons, fresh_lessons
from cryptoai_assets.lib.charts.settings import ChartSettings
from edge_bundle.chart import ChartFormat, UInt8Array
from edge_bundle.chart_rule import PatternRule, last_turns
from edge_bundle.detection import KEY_POINTS, NO_BAR, Pattern


@dataclass(frozen=True, slots=True)
class ChartBatch:
    """Pictures and what should be said of them.

    Parameters
    ----------
    images
        (rows, height, width).
    pattern
        (rows,) of `Pattern`.
    pointers
        (rows, `POINTER_COUNT`) bars, `NO_BAR` where nothing is to be pointed at.
    turns
        (rows, bars): 0 bottom, 1 none, 2 top.
    """

    images: UInt8Array
    pattern: Int64Array
    pointers: Int64Array
    turns: Int64Array


@dataclass(frozen=True, slots=True)
class ChartProblem:
    """Everything that decides what a training becomes.

    Parameters
    ----------
    pool
        Bars that the fresh windows of each epoch are pieced together from.
    """

    settings: ChartSettings
    chart: ChartFormat
    rule: PatternRule
    data: ChartSet
    pool: BarPool
    seed: int

    def epoch(self, number: int) -> Lessons:
        """What an epoch reads, in its order: rows of the training windows, and windows made for it alone.

        Raises
        ------
        ChartDatasetError
            When a pattern has no training window.
        """
        training = self.settings.training
        generator = np.random.default_rng([self.seed, number])
        fresh = round(training.fresh_share * training.images)
        known = self.data.lessons(self._turn(training.images - fresh, generator))
        parts = [known]
        if fresh:
            parts.append(
                fresh_lessons(
                    self.pool,
                    self.chart,
                    self.rule,
                    fresh,
                    none_share=training.none_share,
                    generator=generator,
                )
            )
        lessons = Lessons.joined(parts)
        return lessons[generator.permutation(len(lessons))]

    def turn_lessons(self, windows: int) -> TurnLessons:
        """Windows by which turns alone are taught."""
        generator = np.random.default_rng([self.seed, 0])
        return TurnLessons(self.pool, self.chart, self.rule, windows, generator)

    def validation(self) -> Lessons:
        """Real windows that choose the epoch."""
        return self.data.lessons(np.flatnonzero(self.data.part == VALIDATION))

    def flipped(self, epoch: int, rows: int) -> BoolArray:
        """Which rows of an epoch are shown upside down."""
        return np.random.default_rng([self.seed, epoch, 1]).random(rows) < 0.5

    def _turn(self, images: int, generator: np.random.Generator) -> Int64Array:
        """Training rows: equally many of each pattern, by chance, some twice."""
        pattern = np.where(self.data.part == TRAINING, self.data.pattern, -1)
        patterns = [one for one in Pattern if one is not Pattern.NONE]
        none = round(self.settings.training.none_share * images)
        counts: dict[Pattern, int] = dict.fromkeys(patterns, (images - none) // len(patterns))
        counts[Pattern.NONE] = none
        if absent := [one.name.lower() for one in counts if not (pattern == one).any()]:
            raise ChartDatasetError(f"no training window of {', '.join(absent)}: give longer series")
        rows = [_cycled(np.flatnonzero(pattern == one), count, generator) for one, count in counts.items()]
        return np.concatenate(rows)


def chart_batch(lessons: Lessons, chart: ChartFormat, flipped: BoolArray) -> ChartBatch:
    """Pictures and targets; a flip swaps tops with bottoms, in the picture and in what is said of it."""
    images = unpacked(lessons.planes, chart)
    turns, pattern = lessons.turns.astype(np.int64), lessons.pattern.astype(np.int64)
    images[flipped, : chart.price_rows] = images[flipped, : chart.price_rows][:, ::-1]
    turns[flipped] *= -1
    pattern[flipped] = _MIRRORED[pattern[flipped]]
    doubles = lessons.key_points.astype(np.int64)
    doubles[lessons.key_points[:, KEY_POINTS - 1] != NO_BAR] = NO_BAR
    pointers = np.column_stack([last_turns(lessons.turns), doubles[:, :2]])
    return ChartBatch(images, pattern, pointers, turns + 1)


_MIRRORED = np.array([pattern.mirrored for pattern in Pattern])


def _cycled(rows: Int64Array, count: int, generator: np.random.Generator) -> Int64Array:
    """So many of some rows: all of them as often as they go into it, the rest by chance."""
    often, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, often), generator.permutation(rows)[:rest]])
