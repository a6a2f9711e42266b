"""What a chart network is trained on, and what it should say; it knows nothing of gradients."""

from dataclasses import dataclass

import numpy as np

from cryptoai_assets.lib.charts.dataset import TRAINING, VALIDATION, ChartDatasetError, ChartSet
from cryptoai_assets.lib.charts.labels import BoolArray, Int64Array, last_turns
from cryptoai_assets.lib.charts.settings import ChartSettings
from edge_bundle.chart import ChartFormat, UInt8Array, closing_levels
from edge_bundle.detection import KEY_POINTS, Pattern
from edge_bundle.detector import NO_BAR
from edge_bundle.windows import Float32Array


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
    heights
        (rows, bars) levels of the closes, from 0 to 1.
    """

    images: UInt8Array
    pattern: Int64Array
    pointers: Int64Array
    turns: Int64Array
    heights: Float32Array


@dataclass(frozen=True, slots=True)
class ChartProblem:
    """Everything that decides what a training becomes."""

    settings: ChartSettings
    chart: ChartFormat
    data: ChartSet
    seed: int

    def turn(self, epoch: int) -> Int64Array:
        """Training rows that an epoch reads: equally many of each pattern, by chance, some twice.

        Raises
        ------
        ChartDatasetError
            When a pattern has no training window.
        """
        training = self.settings.training
        generator = np.random.default_rng([self.seed, epoch])
        pattern = np.where(self.data.part == TRAINING, self.data.pattern, -1)
        patterns = [one for one in Pattern if one is not Pattern.NONE]
        none = round(training.none_share * training.images)
        each = (training.images - none) // len(patterns)
        counts: dict[Pattern, int] = {Pattern.NONE: none, **dict.fromkeys(patterns, each)}
        if absent := [one.name.lower() for one in counts if not (pattern == one).any()]:
            raise ChartDatasetError(f"no training window of {', '.join(absent)}: give longer series")
        rows = [_cycled(np.flatnonzero(pattern == one), count, generator) for one, count in counts.items()]
        order: Int64Array = generator.permutation(np.concatenate(rows))
        return order

    def validation(self) -> Int64Array:
        """Rows that choose the epoch."""
        return np.flatnonzero(self.data.part == VALIDATION)

    def flipped(self, epoch: int, rows: int) -> BoolArray:
        """Which rows of an epoch are shown upside down."""
        return np.random.default_rng([self.seed, epoch, 1]).random(rows) < 0.5

    def batch(self, rows: Int64Array, flipped: BoolArray) -> ChartBatch:
        """Pictures and targets; a flip swaps tops with bottoms, in the picture and in what is said of it."""
        data, chart = self.data, self.chart
        images = data.images(rows, chart)
        turns, pattern = data.turns[rows].astype(np.int64), data.pattern[rows].astype(np.int64)
        images[flipped, : chart.price_rows] = images[flipped, : chart.price_rows][:, ::-1]
        turns[flipped] *= -1
        pattern[flipped] = _MIRRORED[pattern[flipped]]
        doubles = data.key_points[rows, :KEY_POINTS].astype(np.int64)
        doubles[(data.key_points[rows, KEY_POINTS - 1] != NO_BAR)] = NO_BAR
        heights = closing_levels(images, chart) / np.float32(chart.top_level)
        pointers = np.column_stack([last_turns(data.turns[rows]), doubles[:, :2]])
        return ChartBatch(images, pattern, pointers, turns + 1, heights.astype(np.float32))


_MIRRORED = np.array([pattern.mirrored for pattern in Pattern])


def _cycled(rows: Int64Array, count: int, generator: np.random.Generator) -> Int64Array:
    """So many of some rows: all of them as often as they go into it, the rest by chance."""
    often, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, often), generator.permutation(rows)[:rest]])
