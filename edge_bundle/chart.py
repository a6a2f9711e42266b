"""From candles to chart images: the one rasterizer, for training, serving and the device.

Source: Jiang, Kelly and Xiu, "(Re-)Imag(in)ing price trends", Journal of Finance 78(6), 2023. Three pixels a
bar: a tick at the open, a line from low to high, a tick at the close; the volume in the bottom fifth. Two
things differ, so that a picture is decided by its own bars and can be read back: the moving average is that
of the bars in the window, and it is drawn in grey, under the bars.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from edge_bundle.errors import ChartRefusedError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
CANDLE_COLUMNS = ("open", "high", "low", "close", "volume")
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
_PRICES = slice(OPEN, CLOSE + 1)
COLUMNS_A_BAR = 3
INK, MEAN_INK = 255, 127
# Images drawn at a time: what is in between fits into a core's cache.
BLOCK = 32


@dataclass(frozen=True, slots=True)
class ChartFormat:
    """Sizes of a chart image, in pixels.

    Parameters
    ----------
    volume_rows
        At the bottom, under one empty row.
    mean_bars
        Of the moving average of closes; fewer at the start of the window.
    """

    bars: int
    height: int
    volume_rows: int
    mean_bars: int

    @property
    def width(self) -> int:
        """Columns of the image."""
        return COLUMNS_A_BAR * self.bars

    @property
    def price_rows(self) -> int:
        """Rows of the prices; the window's lowest low lies in the last, its highest high in the first."""
        return self.height - self.volume_rows - 1

    @property
    def top_level(self) -> int:
        """Level of the highest high; the lowest low has level 0."""
        return self.price_rows - 1


CHART_5 = ChartFormat(bars=5, height=32, volume_rows=6, mean_bars=5)
CHART_20 = ChartFormat(bars=20, height=64, volume_rows=12, mean_bars=20)
CHART_60 = ChartFormat(bars=60, height=96, volume_rows=19, mean_bars=20)


def chart_images(candles: Float64Array, chart: ChartFormat, *, paper: UInt8Array | None = None) -> UInt8Array:
    """Images of a batch of windows.

    Parameters
    ----------
    candles
        (batch, bars, 5) in the order of `CANDLE_COLUMNS`. Nothing else is read: the scale is the window's.
    paper
        Images of an earlier call with as many windows, to be drawn over: new memory costs more than drawing.

    Returns
    -------
    array
        (batch, height, width): 0 paper, `INK`, `MEAN_INK`. Columns of pixels lie together in memory, so that
        ``images.transpose(0, 2, 1)`` is contiguous.

    Raises
    ------
    ChartRefusedError
        When the shape is not the format's, or a value is not finite.
    """
    _refuse_unfitting(candles, chart)
    shape = (len(candles), chart.bars, COLUMNS_A_BAR, chart.height)
    if paper is None:
        pixels = np.zeros(shape, dtype=np.uint8)
    else:
        pixels = paper.transpose(0, 2, 1).reshape(shape)
        pixels.fill(0)
    for start in range(0, len(candles), BLOCK):
        _draw(candles[start : start + BLOCK], chart, pixels[start : start + BLOCK])
    return pixels.reshape(-1, chart.width, chart.height).transpose(0, 2, 1)


def _draw(candles: Float64Array, chart: ChartFormat, pixels: UInt8Array) -> None:
    """Draw on paper (batch, bars, columns a bar, height)."""
    levels = _rounded(_heights(candles, chart, _PRICES))
    flat = pixels.reshape(-1)
    # first pixel of each bar's first column: (batch, bars)
    start = np.arange(0, flat.size, COLUMNS_A_BAR * chart.height).reshape(len(candles), chart.bars)
    bottom = start + chart.top_level
    flat[bottom - levels[:, :, OPEN]] = INK
    flat[bottom + (COLUMNS_A_BAR - 1) * chart.height - levels[:, :, CLOSE]] = INK
    pixels[:, :, 1, : chart.price_rows] = _bar_columns(chart)[levels[:, :, LOW], levels[:, :, HIGH]]
    pixels[:, :, 1, chart.price_rows + 1 :] = _volume_columns(chart)[_volume_heights(candles, chart)]
    columns = np.arange(0, flat.size, chart.height).reshape(len(candles), chart.width)
    cells = columns + (chart.top_level - _mean_levels(levels[:, :, CLOSE], chart))
    flat[cells] = np.maximum(flat[cells], MEAN_INK)


def price_levels(candles: Float64Array, chart: ChartFormat) -> Int64Array:
    """Levels of open, high, low and close, in pixels from the bottom: (batch, bars, 4).

    A window of one single price lies in the middle.

    Raises
    ------
    ChartRefusedError
        As `chart_images`.
    """
    return _rounded(price_heights(candles, chart))


def close_levels(candles: Float64Array, chart: ChartFormat) -> Int64Array:
    """Same as `price_levels`, of the closes alone: (batch, bars).

    Raises
    ------
    ChartRefusedError
        As `chart_images`.
    """
    _refuse_unfitting(candles, chart)
    return _rounded(_heights(candles, chart, slice(CLOSE, CLOSE + 1))[:, :, 0])


def price_heights(candles: Float64Array, chart: ChartFormat) -> Float64Array:
    """Same as `price_levels`, before they are rounded to pixels.

    Raises
    ------
    ChartRefusedError
        As `chart_images`.
    """
    _refuse_unfitting(candles, chart)
    return _heights(candles, chart, _PRICES)


def _refuse_unfitting(candles: Float64Array, chart: ChartFormat) -> None:
    if candles.ndim != 3 or candles.shape[1:] != (chart.bars, len(CANDLE_COLUMNS)):
        raise ChartRefusedError(
            f"candles have the shape {candles.shape}; this chart reads (batch, {chart.bars}, 5): "
            f"{chart.bars} bars of {', '.join(CANDLE_COLUMNS)}"
        )
    if not np.isfinite(candles).all():
        raise ChartRefusedError("a candle holds a value that is not finite: a chart needs every bar")


def _heights(candles: Float64Array, chart: ChartFormat, columns: slice) -> Float64Array:
    lowest = candles[:, :, LOW].min(axis=1)[:, None, None]
    spread = candles[:, :, HIGH].max(axis=1)[:, None, None] - lowest
    flat = spread == 0
    above = candles[:, :, columns] - lowest
    heights: Float64Array = (above + flat * 0.5) * (chart.top_level / (spread + flat))
    return heights


def _rounded(heights: Float64Array) -> Int64Array:
    """Nearest whole numbers, halves upwards."""
    return (heights + 0.5).astype(np.int64)


def _volume_heights(candles: Float64Array, chart: ChartFormat) -> Int64Array:
    """(batch, bars) rows of volume; the most of the window fills the area, none leaves it empty."""
    volume = candles[:, :, VOLUME]
    most = volume.max(axis=1, keepdims=True)
    return _rounded(volume * (chart.volume_rows / (most + (most == 0))))


def _mean_levels(closes: Int64Array, chart: ChartFormat) -> Int64Array:
    """(batch, width) level of the moving average in each column, straight from one bar's middle to the next.

    It is that of the closes as they are drawn.
    """
    total = closes.cumsum(axis=1)
    total[:, chart.mean_bars :] -= total[:, : -chart.mean_bars].copy()
    mean = total / _bars_averaged(chart)
    columns = np.empty((*mean.shape, COLUMNS_A_BAR))
    columns[:, :, 1] = mean
    step = np.diff(mean, axis=1) / COLUMNS_A_BAR
    columns[:, :-1, 2] = mean[:, :-1] + step
    columns[:, 1:, 0] = mean[:, 1:] - step
    columns[:, 0, 0], columns[:, -1, 2] = mean[:, 0], mean[:, -1]
    return _rounded(columns.reshape(len(mean), -1))


@cache
def _bars_averaged(chart: ChartFormat) -> Float64Array:
    averaged: Float64Array = np.minimum(np.arange(1.0, chart.bars + 1), chart.mean_bars)
    return averaged


@cache
def _bar_columns(chart: ChartFormat) -> UInt8Array:
    """Column of prices from the top, by lowest and highest level: (levels, levels, price rows)."""
    level = np.arange(chart.price_rows)
    inside = (level[:, None, None] <= level) & (level <= level[None, :, None])
    return np.where(inside, INK, 0).astype(np.uint8)[:, :, ::-1].copy()


@cache
def _volume_columns(chart: ChartFormat) -> UInt8Array:
    """Column of volume from the top, by height: (heights, volume rows)."""
    height = np.arange(chart.volume_rows + 1)[:, None]
    filled = np.arange(chart.volume_rows, 0, -1) <= height
    return np.where(filled, INK, 0).astype(np.uint8)


def closing_levels(images: UInt8Array, chart: ChartFormat) -> Int64Array:
    """Levels of the closes (batch, bars), read back from pictures (batch, height, width).

    Raises
    ------
    ChartRefusedError
        When a picture has another size, or not one tick in the column of each close.
    """
    if images.shape[1:] != (chart.height, chart.width):
        raise ChartRefusedError(
            f"pictures have the shape {images.shape[1:]}; this chart is {chart.height} x {chart.width}"
        )
    ticks = images[:, : chart.price_rows, COLUMNS_A_BAR - 1 :: COLUMNS_A_BAR] == INK
    if not (ticks.sum(axis=1) == 1).all():
        raise ChartRefusedError("a bar has not one closing tick: the picture is not one of the rasterizer's")
    levels: Int64Array = chart.top_level - ticks.argmax(axis=1)
    return levels
