"""Windows of candles with the candlestick patterns that they end with, as the features of those names see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
import polars as pl

from cryptoai_assets.lib.charts.labels import BoolArray, Int64Array
from cryptoai_assets.lib.charts.pieces import BarPool
from edge_bundle.candle_reader import WINDOW_BARS
from edge_bundle.candles import bar_grid
from edge_bundle.chart import CANDLE_COLUMNS, CLOSE, HIGH, LOW, Float64Array
from edge_bundle.features import candlesticks
from edge_bundle.features.catalog import computed_features
from edge_bundle.windows import Float32Array

# Bars of a made series that hang together, before the next one goes on from there.
STRETCH_BARS = 64
# Ticks of a made series, whose bars move by about one: equal prices are common in a real one.
TICK_DIGITS = 2
_EPOCH, _BAR = datetime(2000, 1, 1, tzinfo=UTC), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CandleExamples:
    """Windows, and which patterns each ends with.

    Parameters
    ----------
    windows
        (rows, `WINDOW_BARS`, 5) in the order of `CANDLE_COLUMNS`.
    present
        (rows, patterns).
    """

    windows: Float32Array
    present: BoolArray

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, rows: Int64Array | BoolArray) -> Self:
        return type(self)(self.windows[rows], self.present[rows])

    @classmethod
    def none(cls) -> Self:
        """No window."""
        windows = np.empty((0, WINDOW_BARS, len(CANDLE_COLUMNS)), dtype=np.float32)
        return cls(windows, np.empty((0, len(candlesticks.patterns())), dtype=bool))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Windows of several sets, in their order."""
        return cls(
            np.concatenate([part.windows for part in parts]), np.concatenate([part.present for part in parts])
        )


def examples_of(bars: Float64Array) -> CandleExamples:
    """All windows of bars (bars, 5) without a hole, with what the features say of the last bar of each."""
    times = pl.datetime_range(_EPOCH, _EPOCH + (len(bars) - 1) * _BAR, _BAR, time_unit="us", eager=True)
    candles = pl.DataFrame(bars, CANDLE_COLUMNS).with_columns(open_time=times, symbol=pl.lit("-"))
    grid = bar_grid(candles, interval="1h", max_missing_bars=0)
    members = candlesticks.patterns()
    seen = computed_features(grid, members).select(member.name for member in members).to_numpy() != 0
    last = np.arange(WINDOW_BARS - 1, len(bars))
    windows = bars[last[:, None] + np.arange(1 - WINDOW_BARS, 1)]
    return CandleExamples(windows.astype(np.float32), seen[last])


def made_bars(pool: BarPool, bars: int, generator: np.random.Generator) -> Float64Array:
    """(bars, 5) of a series that nobody traded, pieced from a pool; a bar is about 100 ticks long."""
    stretches = pool.windows(-(-bars // STRETCH_BARS), STRETCH_BARS, generator)
    ends = stretches[:, -1, CLOSE].cumsum()
    stretches[1:, :, : CLOSE + 1] += ends[:-1, None, None]
    series = stretches.reshape(-1, len(CANDLE_COLUMNS))[:bars]
    prices = series[:, : CLOSE + 1]
    prices -= 2 * prices.min() - prices.max() - 1000.0
    prices[:] = prices.round(TICK_DIGITS)
    return series


def noisy(bars: Float64Array, size: float, generator: np.random.Generator) -> Float64Array:
    """Same bars with each price moved by noise of `size` mean ranges; high and low stay the ends."""
    moved = bars.copy()
    usual = float((bars[:, HIGH] - bars[:, LOW]).mean())
    prices = moved[:, : CLOSE + 1]
    prices += generator.normal(0.0, size * usual, prices.shape)
    moved[:, HIGH], moved[:, LOW] = prices.max(axis=1), prices.min(axis=1)
    return moved
