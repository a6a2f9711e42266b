"""A simulated market that never drifts though its volatility clusters, and features of it."""

import numpy as np
import polars as pl

# A GARCH(1, 1) process: a shock is half forgotten after 69 bars.
PERSISTENCE, SHOCK = 0.90, 0.09


def clustered_features(rows: int, seed: int) -> pl.DataFrame:
    """Six features of one stationary series; each row's come from its past only."""
    warmup = 600
    noise = np.random.default_rng(seed).standard_normal(rows + warmup)
    returns = np.empty_like(noise)
    variance = 1.0
    for bar, shock in enumerate(noise):
        returns[bar] = np.sqrt(variance) * shock
        variance = (1 - PERSISTENCE - SHOCK) + SHOCK * returns[bar] ** 2 + PERSISTENCE * variance
    change = pl.col("return")
    features = pl.DataFrame({"return": returns}).select(
        "return",
        size=change.abs(),
        volatility_20=change.rolling_std(20),
        volatility_100=change.rolling_std(100),
        momentum_20=change.rolling_sum(20),
        range_10=change.rolling_max(10) - change.rolling_min(10),
    )
    return features.tail(rows)
