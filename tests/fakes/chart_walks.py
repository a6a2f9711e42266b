"""Candles of random walks, as windows of a chart."""

import numpy as np

from edge_bundle.chart import Float64Array


def walk(windows: int, bars: int, seed: int) -> Float64Array:
    """Windows of candles of as many walks: (windows, bars, 5)."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, (windows, bars)), axis=1))
    open_ = np.concatenate([np.full((windows, 1), 100.0), close[:, :-1]], axis=1)
    reach = np.abs(random.normal(0, 0.005, (2, windows, bars)))
    high, low = np.maximum(open_, close) * (1 + reach[0]), np.minimum(open_, close) * (1 - reach[1])
    return np.stack([open_, high, low, close, random.lognormal(0, 1, (windows, bars))], axis=2)
