"""Drawings of rare patterns: real windows, warped and made noisy, and labelled anew by the rule."""

import numpy as np

from edge_bundle.chart import CLOSE, HIGH, LOW, OPEN, VOLUME, Float64Array

# Of the warp: the standard deviation of the logarithm of speed, and the bars over which it is kept.
WARP, WARP_BARS = 0.25, 12
# Of the noise: deviation of the drift added to a bar, in shares of the window's range.
NOISE = 0.012


def drawn(candles: Float64Array, generator: np.random.Generator) -> Float64Array:
    """Same windows in another hand: time runs faster and slower, and prices wander; (windows, bars, 5)."""
    windows, bars = candles.shape[:2]
    knots = generator.normal(0.0, WARP, (windows, bars // WARP_BARS + 1))
    at = np.linspace(0.0, knots.shape[1] - 1, bars)
    speed = np.exp(_between(knots[:, :, None], np.broadcast_to(at, (windows, bars)))[:, :, 0])
    time = np.cumsum(speed, axis=1)
    time = (time - time[:, :1]) * ((bars - 1) / (time[:, -1:] - time[:, :1]))
    warped = _between(candles, time)
    spread = np.ptp(candles[:, :, CLOSE], axis=1)[:, None]
    shift = (spread * generator.normal(0.0, NOISE, (windows, bars)))[:, :, None]
    warped[:, :, : CLOSE + 1] += shift
    prices = np.moveaxis(warped[:, :, : CLOSE + 1], 2, 0)
    highest, lowest = np.maximum.reduce(prices), np.minimum.reduce(prices)
    warped[:, :, HIGH], warped[:, :, LOW] = highest, lowest
    warped[:, :, VOLUME] = np.take_along_axis(candles[:, :, VOLUME], time.astype(np.int64), axis=1)
    return warped


def mirrored(candles: Float64Array) -> Float64Array:
    """Same windows upside down, in the same range; tops become bottoms."""
    flipped = candles.copy()
    total = candles[:, :, LOW].min(axis=1) + candles[:, :, HIGH].max(axis=1)
    flipped[:, :, : CLOSE + 1] = total[:, None, None] - candles[:, :, [OPEN, LOW, HIGH, CLOSE]]
    return flipped


def _between(values: Float64Array, places: Float64Array) -> Float64Array:
    """Values (windows, places, columns) read between their places (windows, wanted), on straight lines."""
    before = np.minimum(places.astype(np.int64), values.shape[1] - 2)
    share = (places - before)[:, :, None]
    rows = np.arange(len(values))[:, None]
    read: Float64Array = values[rows, before] * (1 - share) + values[rows, before + 1] * share
    return read
