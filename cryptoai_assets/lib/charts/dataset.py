"""Chart images with their labels, as packed arrays, split by time and by symbol."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from cryptoai_assets.lib.charts.drawings import drawn
from cryptoai_assets.lib.charts.labels import (
    BoolArray,
    Int8Array,
    Int64Array,
    PatternLabels,
    neighbouring_patterns,
    picture_labels,
    raw_labels,
)
from cryptoai_assets.lib.charts.windows import LabelledSeries, TimeArray
from edge_bundle.chart import (
    CANDLE_COLUMNS,
    INK,
    MEAN_INK,
    ChartFormat,
    Float64Array,
    UInt8Array,
    chart_images,
)
from edge_bundle.chart_rule import PatternRule
from edge_bundle.detection import Pattern
from edge_bundle.whole_file import replacing

TRAINING, VALIDATION, TEST, NATURAL = "training", "validation", "test", "natural"
RARE = (
    Pattern.BROADENING_TOP,
    Pattern.BROADENING_BOTTOM,
    Pattern.RECTANGLE_TOP,
    Pattern.RECTANGLE_BOTTOM,
)
# Bars from one window of the natural mix to the next.
NATURAL_STRIDE = 20
BLOCK = 1024


class ChartDatasetError(Exception):
    """A dataset of chart images cannot be made, or not be trained on."""


@dataclass(frozen=True, slots=True)
class ChartSplit:
    """What is never seen in training.

    Parameters
    ----------
    held_out_symbol
        Tested at all times, trained on at none.
    validation_start, test_start
        UTC. A window belongs to a part when all its bars do.
    """

    held_out_symbol: str
    validation_start: datetime
    test_start: datetime

    def part(self, symbol: str, start: TimeArray, end: TimeArray) -> npt.NDArray[np.str_]:
        """Part of windows by their first and last bar; empty for those across a border."""
        validation, test = (
            np.datetime64(moment.replace(tzinfo=None)) for moment in (self.validation_start, self.test_start)
        )
        if symbol == self.held_out_symbol:
            return np.full(len(start), TEST)
        return np.select(
            [end < validation, (start >= validation) & (end < test), start >= test],
            [TRAINING, VALIDATION, TEST],
            "",
        )


@dataclass(frozen=True, slots=True)
class Lessons:
    """Pictures and what the rule says of them; see `ChartSet`."""

    planes: UInt8Array
    pattern: Int8Array
    key_points: Int8Array
    turns: Int8Array

    def __len__(self) -> int:
        return len(self.pattern)

    def __getitem__(self, rows: Int64Array | BoolArray) -> Self:
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Lessons of several batches as those of one."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @classmethod
    def of(cls, candles: Float64Array, labels: PatternLabels, chart: ChartFormat) -> Self:
        """Lessons of labelled windows (rows, bars, 5)."""
        return cls(planes_of(candles, chart), labels.pattern, labels.key_points, labels.turns)


@dataclass(frozen=True, slots=True)
class ChartSet:
    """Images and labels, one row a window.

    Parameters
    ----------
    planes
        (rows, 2, bytes) bits of the ink and of the mean's line, column by column of the picture.
    pattern, raw_pattern
        (rows,) of `Pattern`, by the rule on closes as they are drawn, and as they are.
    stable, near_miss, drawn
        (rows,): whether neighbouring rules find the same; whether only they find a pattern; whether the
        window is a drawing.
    key_points, turns
        As in `cryptoai_assets.lib.charts.labels.PatternLabels`.
    symbol, interval, window_end
        (rows,) of the window's candles; the time is the last bar's opening, UTC.
    part
        (rows,) ``training``, ``validation``, ``test`` (separate events and what is none) or ``natural``.
    """

    planes: UInt8Array
    pattern: Int8Array
    raw_pattern: Int8Array
    stable: BoolArray
    near_miss: BoolArray
    drawn: BoolArray
    key_points: Int8Array
    turns: Int8Array
    symbol: npt.NDArray[np.str_]
    interval: npt.NDArray[np.str_]
    window_end: TimeArray
    part: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.pattern)

    def __getitem__(self, rows: Int64Array | BoolArray) -> Self:
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def images(self, rows: Int64Array, chart: ChartFormat) -> UInt8Array:
        """(rows, height, width) pictures, as the rasterizer drew them."""
        return unpacked(self.planes[rows], chart)

    def lessons(self, rows: Int64Array) -> Lessons:
        """What is taught of some rows."""
        return Lessons(self.planes[rows], self.pattern[rows], self.key_points[rows], self.turns[rows])

    def save(self, path: Path) -> None:
        """Write all arrays into one file, whole or not at all."""
        with replacing(path) as file:
            np.savez_compressed(
                file, allow_pickle=False, **{f.name: getattr(self, f.name) for f in fields(self)}
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            return cls(**{field.name: archive[field.name] for field in fields(cls)})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Rows of several sets, in their order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def packed(images: UInt8Array) -> UInt8Array:
    """(rows, 2, bytes) bits of pictures (rows, height, width)."""
    columns = images.transpose(0, 2, 1).reshape(len(images), images.shape[1] * images.shape[2])
    return np.stack([np.packbits(columns == INK, axis=1), np.packbits(columns == MEAN_INK, axis=1)], axis=1)


def unpacked(planes: UInt8Array, chart: ChartFormat) -> UInt8Array:
    """Pictures (rows, height, width) of what `packed` made of them."""
    bits = np.unpackbits(planes, axis=2)
    columns = bits[:, 0] * np.uint8(INK) + bits[:, 1] * np.uint8(MEAN_INK)
    return columns.reshape(-1, chart.width, chart.height).transpose(0, 2, 1)


@dataclass(frozen=True, slots=True)
class ChartAmounts:
    """How many windows are kept.

    Parameters
    ----------
    patterns
        At most, of each pattern in training.
    none_share
        Of windows without a pattern, in shares of those with one; half of them near misses where there are
        enough.
    drawings
        Tries for each rare pattern; most are found to be that pattern still.
    """

    patterns: int
    none_share: float
    drawings: int


def chart_set(
    series: Sequence[LabelledSeries],
    *,
    chart: ChartFormat,
    rule: PatternRule,
    split: ChartSplit,
    amounts: ChartAmounts,
    seed: int,
) -> ChartSet:
    """Images and labels of chosen windows.

    Training keeps all windows of a pattern, of which an event has about three; tests keep each event once.

    Raises
    ------
    ChartDatasetError
        When there is no window at all.
    """
    if not any(len(one.labels) for one in series):
        raise ChartDatasetError(f"no window of {chart.bars} bars without a hole: give longer series")
    generator = np.random.default_rng(seed)
    pool = _Pool.of(series, split, chart)
    parts = [
        _rows(series, pool, rows, part, chart)
        for part, rows in (
            (TRAINING, _training_rows(pool, amounts, generator)),
            (VALIDATION, _tested_rows(pool, VALIDATION, amounts, generator)),
            (TEST, _tested_rows(pool, TEST, amounts, generator)),
            (NATURAL, np.flatnonzero((pool.part == TEST) & (pool.window % NATURAL_STRIDE == 0))),
        )
    ]
    parts += [_drawings(series, pool, pattern, chart, rule, amounts.drawings, generator) for pattern in RARE]
    return ChartSet.joined(parts)


@dataclass(frozen=True, slots=True)
class _Pool:
    """All windows of all series, one row each."""

    series: Int64Array
    window: Int64Array
    pattern: Int8Array
    near_miss: BoolArray
    first: BoolArray
    part: npt.NDArray[np.str_]

    @classmethod
    def of(cls, series: Sequence[LabelledSeries], split: ChartSplit, chart: ChartFormat) -> Self:
        parts = []
        for place, one in enumerate(series):
            last, time = one.series.last, one.series.open_time
            first = np.zeros(len(last), dtype=bool)
            first[one.events()] = True
            part = split.part(one.series.symbol, time[last + 1 - chart.bars], time[last])
            window = np.arange(len(last))
            parts.append(
                cls(np.full(len(last), place), window, one.labels.pattern, one.near_miss, first, part)
            )
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def held(self, pattern: Pattern, part: str) -> Int64Array:
        """Rows of a pattern in a part."""
        return np.flatnonzero((self.pattern == pattern) & (self.part == part))


PATTERNS = tuple(pattern for pattern in Pattern if pattern is not Pattern.NONE)


def _training_rows(pool: _Pool, amounts: ChartAmounts, generator: np.random.Generator) -> Int64Array:
    held = [pool.held(pattern, TRAINING) for pattern in PATTERNS]
    kept = np.concatenate([_some(rows, amounts.patterns, generator) for rows in held])
    return np.concatenate(
        [kept, _none_rows(pool, TRAINING, round(amounts.none_share * len(kept)), generator)]
    )


def _tested_rows(pool: _Pool, part: str, amounts: ChartAmounts, generator: np.random.Generator) -> Int64Array:
    """Each event once, at its confirmation."""
    held = np.concatenate([pool.held(pattern, part) for pattern in PATTERNS])
    events = held[pool.first[held]]
    return np.concatenate(
        [events, _none_rows(pool, part, round(amounts.none_share * len(events)), generator)]
    )


def _none_rows(pool: _Pool, part: str, count: int, generator: np.random.Generator) -> Int64Array:
    none = (pool.pattern == Pattern.NONE) & (pool.part == part)
    near = _some(np.flatnonzero(none & pool.near_miss), count // 2, generator)
    return np.concatenate([near, _some(np.flatnonzero(none & ~pool.near_miss), count - len(near), generator)])


def _some(rows: Int64Array, count: int, generator: np.random.Generator) -> Int64Array:
    """At most so many of them, drawn by chance, in order."""
    chosen: Int64Array = np.sort(generator.permutation(rows)[:count])
    return chosen


def _rows(
    series: Sequence[LabelledSeries], pool: _Pool, rows: Int64Array, part: str, chart: ChartFormat
) -> ChartSet:
    sets = []
    for place, one in enumerate(series):
        windows = pool.window[rows[pool.series[rows] == place]]
        sets.append(
            ChartSet(
                planes=planes_of(one.series.candles(windows, chart.bars), chart),
                pattern=one.labels.pattern[windows],
                raw_pattern=one.raw_pattern[windows],
                stable=one.stable[windows],
                near_miss=one.near_miss[windows],
                drawn=np.zeros(len(windows), dtype=bool),
                key_points=one.labels.key_points[windows],
                turns=one.labels.turns[windows],
                symbol=np.full(len(windows), one.series.symbol),
                interval=np.full(len(windows), one.series.interval),
                window_end=one.series.open_time[one.series.last[windows]],
                part=np.full(len(windows), part),
            )
        )
    return ChartSet.joined(sets)


def planes_of(candles: Float64Array, chart: ChartFormat) -> UInt8Array:
    """`packed` pictures of windows (rows, bars, 5)."""
    starts = range(0, max(1, len(candles)), BLOCK)
    return np.concatenate([packed(chart_images(candles[start : start + BLOCK], chart)) for start in starts])


def _drawings(
    series: Sequence[LabelledSeries],
    pool: _Pool,
    pattern: Pattern,
    chart: ChartFormat,
    rule: PatternRule,
    tries: int,
    generator: np.random.Generator,
) -> ChartSet:
    """Drawings after training windows of a pattern that the rule still finds it in."""
    held = pool.held(pattern, TRAINING)
    rows = generator.choice(held, tries if len(held) else 0)
    sources = [(series[pool.series[row]].series, pool.window[[row]]) for row in rows]
    none = np.empty((0, chart.bars, len(CANDLE_COLUMNS)))
    windows = [source.candles(window, chart.bars) for source, window in sources]
    candles = drawn(np.concatenate([none, *windows]), generator)
    labels = picture_labels(candles, chart, rule)
    found = np.flatnonzero(labels.pattern == pattern)
    candles = candles[found]
    own = labels.pattern[found]
    return ChartSet(
        planes=planes_of(candles, chart),
        pattern=own,
        raw_pattern=raw_labels(candles, chart, rule).pattern,
        stable=(neighbouring_patterns(candles, chart, rule) == own).all(axis=0),
        near_miss=np.zeros(len(found), dtype=bool),
        drawn=np.ones(len(found), dtype=bool),
        key_points=labels.key_points[found],
        turns=labels.turns[found],
        symbol=np.array([sources[row][0].symbol for row in found], dtype=str),
        interval=np.array([sources[row][0].interval for row in found], dtype=str),
        window_end=np.array(
            [sources[row][0].open_time[sources[row][0].last[sources[row][1][0]]] for row in found],
            dtype="datetime64[us]",
        ),
        part=np.full(len(found), TRAINING),
    )
