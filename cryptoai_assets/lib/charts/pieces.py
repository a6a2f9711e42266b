"""Windows that nobody traded: pieces of real bars, joined anew, so that no training sees one twice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cryptoai_assets.lib.charts.dataset import Lessons
from cryptoai_assets.lib.charts.drawings import drawn
from cryptoai_assets.lib.charts.labels import BoolArray, Int64Array, neighbouring_patterns, picture_labels
from cryptoai_assets.lib.charts.windows import Series
from edge_bundle.chart import CLOSE, HIGH, LOW, OPEN, VOLUME, ChartFormat, Float64Array, price_levels
from edge_bundle.chart_rule import PatternRule, turning_points
from edge_bundle.detection import Pattern
from edge_bundle.windows import Float32Array

# Bars of a piece; the longest is a real window's.
PIECE_BARS = (5, 8, 12, 20, 30, 60)
# Of the logarithm of a piece's pace: the standard deviation.
PACE = 0.35
# Of the windows: how many are drawn by another hand too, and pieces that run backwards.
DRAWN_SHARE, BACKWARD_SHARE = 0.5, 0.5
# Windows made at a time, and how often at most: the rarest pattern is half a percent of them.
ROUND, MOST_ROUNDS = 4096, 40
# Windows without a pattern in which near misses are looked for, in shares of those wanted.
LOOKED_AT = 4
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class BarPool:
    """Bars to be joined anew, each as it stands to the close before it.

    Parameters
    ----------
    moves
        (bars, 4) logarithms of open, high, low, close over the close before; high and low reach to that close
        too, so that a bar may run backwards.
    volume
        (bars,) in shares of the series' mean.
    run
        (bars,) bars without a hole that end with this one; 0 for a bar that has none before it.
    """

    moves: Float64Array
    volume: Float64Array
    run: Int64Array

    @classmethod
    def of(cls, series: Sequence[Series], allowed: Sequence[BoolArray]) -> Self:
        """Pool of the allowed bars of some series; each mask is (bars,)."""
        parts = [_pool_part(one, mask) for one, mask in zip(series, allowed, strict=True)]
        moves, volume, run = zip(*parts, strict=True)
        return cls(np.concatenate(moves), np.concatenate(volume), np.concatenate(run))

    def windows(self, count: int, bars: int, generator: np.random.Generator) -> Float64Array:
        """(count, bars, 5) candles, of pieces of one length, which is drawn by chance."""
        piece = int(generator.choice([length for length in PIECE_BARS if (self.run >= length).any()]))
        pieces = -(-bars // piece) + 1
        ends = generator.choice(np.flatnonzero(self.run >= piece), (count, pieces))
        backward = generator.random((count, pieces)) < BACKWARD_SHARE
        pace = np.exp(generator.normal(0.0, PACE, (count, pieces))) / self._deviation(ends, piece)
        # Seams may lie anywhere.
        cut = generator.integers(0, piece, count)[:, None] + np.arange(bars)
        rows, own, step = np.arange(count)[:, None], cut // piece, cut % piece
        backward = backward[rows, own]
        places = ends[rows, own] - np.where(backward, step, piece - 1 - step)
        moves = _turned(self.moves[places], backward[:, :, None]) * pace[rows, own][:, :, None]
        candles = _candles(moves, self.volume[places])
        again = generator.random(count) < DRAWN_SHARE
        candles[again] = drawn(candles[again], generator)
        return candles

    def _deviation(self, ends: Int64Array, piece: int) -> Float64Array:
        """Root of the mean square of the closes' moves in pieces by their last bars."""
        squares = np.concatenate([[0.0], (self.moves[:, CLOSE] ** 2).cumsum()])
        mean = (squares[ends + 1] - squares[ends + 1 - piece]) / piece
        deviation: Float64Array = np.sqrt(np.maximum(mean, _LEAST_VARIANCE))
        return deviation


def _pool_part(series: Series, allowed: BoolArray) -> tuple[Float64Array, Float64Array, Int64Array]:
    logs = np.log(series.bars[:, : CLOSE + 1])
    moves = np.zeros_like(logs)
    moves[1:] = logs[1:] - logs[:-1, [CLOSE]]
    moves[:, HIGH], moves[:, LOW] = np.maximum(moves[:, HIGH], 0.0), np.minimum(moves[:, LOW], 0.0)
    step = np.diff(series.open_time)
    joined = np.concatenate([[False], (step == step.min()) & allowed[1:] & allowed[:-1]])
    place = np.arange(len(joined))
    run = place - np.maximum.accumulate(np.where(joined, 0, place))
    volume = series.bars[:, VOLUME]
    return moves, volume / max(volume.mean(), _LEAST_VARIANCE), run


def _turned(moves: Float64Array, backward: BoolArray) -> Float64Array:
    """Bars some of which run backwards: such a one begins where it ended, and ends where it began."""
    close = moves[..., [CLOSE]]
    moves = np.where(backward, moves - close, moves)
    moves[..., [OPEN]] = np.where(backward, 0.0, moves[..., [OPEN]])
    moves[..., [CLOSE]] = np.where(backward, -close, close)
    return moves


def _candles(moves: Float64Array, volume: Float64Array) -> Float64Array:
    """(windows, bars, 5) from what each bar is to the close before it."""
    close = moves[:, :, CLOSE].cumsum(axis=1)
    before = close - moves[:, :, CLOSE]
    return np.concatenate([moves + before[:, :, None], volume[:, :, None]], axis=2)


def fresh_lessons(
    pool: BarPool,
    chart: ChartFormat,
    rule: PatternRule,
    images: int,
    *,
    none_share: float,
    generator: np.random.Generator,
) -> Lessons:
    """At most so many lessons that nobody had before, as many of each pattern and its mirror image.

    Of those without a pattern near misses come first.
    """
    pairs = len(Pattern) // 2
    wanted = np.array([round(none_share * images)] + [round((1 - none_share) * images) // pairs] * pairs)
    parts: list[Lessons] = []
    while wanted.any() and len(parts) < MOST_ROUNDS:
        candles = pool.windows(ROUND, chart.bars, generator)
        labels = picture_labels(candles, chart, rule)
        pair = (labels.pattern.astype(np.int64) + 1) // 2
        kept = [np.flatnonzero(pair == own)[: wanted[own]] for own in range(1, pairs + 1)]
        if wanted[0]:
            kept.append(_nothing(candles, np.flatnonzero(pair == 0), int(wanted[0]), chart, rule))
        rows = np.concatenate(kept)
        wanted -= np.bincount(pair[rows], minlength=len(wanted))
        parts.append(Lessons.of(candles[rows], labels[rows], chart))
    return Lessons.joined(parts)


@dataclass(frozen=True, slots=True)
class TurnLessons:
    """Closes of windows that nobody traded, and their turns, whatever pattern they hold."""

    pool: BarPool
    chart: ChartFormat
    rule: PatternRule
    windows: int
    generator: np.random.Generator

    def batches(self, size: int) -> Iterator[tuple[Float32Array, Int64Array]]:
        """Levels of the closes (size, bars), half of them upside down, and turns: 0 bottom, 1 none, 2 top."""
        for _ in range(0, self.windows, ROUND):
            candles = self.pool.windows(ROUND, self.chart.bars, self.generator)
            levels = price_levels(candles, self.chart)[:, :, CLOSE]
            over = self.generator.random(ROUND) < 0.5
            levels[over] = self.chart.top_level - levels[over]
            turns = turning_points(levels.astype(np.float64), self.rule)
            for start in range(0, ROUND, size):
                own = slice(start, start + size)
                yield levels[own].astype(np.float32), turns[own].astype(np.int64) + 1


def _nothing(
    candles: Float64Array, rows: Int64Array, most: int, chart: ChartFormat, rule: PatternRule
) -> Int64Array:
    """At most so many of the rows without a pattern, half of them near misses."""
    asked = rows[: most * LOOKED_AT]
    near = (neighbouring_patterns(candles[asked], chart, rule) != Pattern.NONE).any(axis=0)
    misses = asked[near][: -(-most // 2)]
    return np.concatenate([misses, asked[~near][: min(len(misses), most - len(misses))]])
