"""Windows of candles for charts: of several bar lengths, none across a hole, labelled by the rule."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.lib.charts.labels import (
    BLOCK,
    BoolArray,
    Int8Array,
    Int64Array,
    PatternLabels,
    joined,
    neighbouring_patterns,
    picture_labels,
    raw_labels,
)
from edge_bundle.candles import bar_grid, interval_duration
from edge_bundle.chart import CANDLE_COLUMNS, ChartFormat, Float64Array
from edge_bundle.chart_rule import PatternRule
from edge_bundle.detection import Pattern

MAX_MISSING_BARS = 3
TimeArray = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one symbol and one bar length, with the windows that lie in them.

    Parameters
    ----------
    bars
        (bars, 5) in the order of `edge_bundle.chart.CANDLE_COLUMNS`.
    open_time
        (bars,) UTC.
    last
        (windows,) places of the last bars of all windows without a hole, ascending.
    """

    symbol: str
    interval: str
    bars: Float64Array
    open_time: TimeArray
    last: Int64Array

    def candles(self, windows: Int64Array, bars: int) -> Float64Array:
        """(windows, bars, 5) of some windows, by their place in `last`."""
        chosen: Float64Array = self.bars[self.last[windows][:, None] + np.arange(1 - bars, 1)]
        return chosen


@dataclass(frozen=True, slots=True)
class LabelledSeries:
    """A series, and what the rule finds in each of its windows.

    Parameters
    ----------
    raw_pattern
        What the rule finds in closes that are not rounded to pixels.
    stable
        Whether the neighbouring rules find the same.
    near_miss
        Whether the rule finds nothing where a neighbour does find a pattern.
    """

    series: Series
    labels: PatternLabels
    raw_pattern: Int8Array
    stable: BoolArray
    near_miss: BoolArray

    def events(self) -> Int64Array:
        """Windows that confirm a pattern first: one for each class and last extremum."""
        pattern = self.labels.pattern
        found = np.flatnonzero(pattern != Pattern.NONE)
        end = self.series.last[found] + self.labels.key_points[found].max(axis=1)
        end = end - self.labels.turns.shape[1]
        _, first = np.unique(np.column_stack([pattern[found], end]), axis=0, return_index=True)
        events: Int64Array = np.sort(found[first])
        return events


def series_of(candles: pl.DataFrame, *, interval: str, every: str, bars: int) -> list[Series]:
    """Series of each symbol, of bars of `every`, which is `interval` or whole multiples of it.

    Parameters
    ----------
    candles
        Validated ones of `interval`; short holes are bridged as for the features, a longer bar is complete.
    bars
        Of a window.
    """
    grid = bar_grid(candles, interval=interval, max_missing_bars=MAX_MISSING_BARS)
    step, parts = interval_duration(every), interval_duration(every) // interval_duration(interval)
    longer = (
        grid.group_by("symbol", pl.col("open_time").dt.truncate(every), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            parts=pl.len(),
        )
        .filter(pl.col("parts") == parts)
    )
    frames = longer.partition_by("symbol", maintain_order=True)
    return [_series(frame, every, np.timedelta64(step), bars) for frame in frames]


def _series(frame: pl.DataFrame, interval: str, step: np.timedelta64, bars: int) -> Series:
    time = frame["open_time"].dt.replace_time_zone(None).to_numpy()
    broken = np.concatenate([[True], np.diff(time) != step])
    place = np.arange(len(time))
    start = np.maximum.accumulate(np.where(broken, place, 0))
    values = frame.select(CANDLE_COLUMNS).to_numpy()
    last = np.flatnonzero(place - start >= bars - 1)
    return Series(frame["symbol"][0], interval, np.ascontiguousarray(values), time, last)


def labelled(series: Series, chart: ChartFormat, rule: PatternRule) -> LabelledSeries:
    """Labels of all windows of a series."""
    windows = np.arange(len(series.last))
    blocks = [windows[start : start + BLOCK] for start in range(0, max(1, len(windows)), BLOCK)]
    parts = [_labels(series.candles(block, chart.bars), chart, rule) for block in blocks]
    own, raw, around = zip(*parts, strict=True)
    labels = joined(own)
    neighbours = np.concatenate(around, axis=1)
    return LabelledSeries(
        series,
        labels,
        raw_pattern=np.concatenate(raw),
        stable=(neighbours == labels.pattern).all(axis=0),
        near_miss=(labels.pattern == Pattern.NONE) & (neighbours != Pattern.NONE).any(axis=0),
    )


def _labels(
    candles: Float64Array, chart: ChartFormat, rule: PatternRule
) -> tuple[PatternLabels, Int8Array, Int8Array]:
    own = picture_labels(candles, chart, rule)
    raw = raw_labels(candles, chart, rule).pattern
    return own, raw, neighbouring_patterns(candles, chart, rule)
