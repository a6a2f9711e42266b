"""Volatility features: how much prices move, from closes and from ranges, over several spans."""

import math

import polars as pl
import polars_talib as talib

from edge_bundle.features.feature import (
    DEVIATION_SPANS,
    Feature,
    one_bar_return,
    quotient,
    return_deviation,
    root,
    wilder_memory,
)


def features() -> list[Feature]:
    """Members of the family."""
    high_low = (pl.col("high") / pl.col("low")).log()
    close_open = (pl.col("close") / pl.col("open")).log()
    garman_klass = 0.5 * high_low**2 - (2 * math.log(2) - 1) * close_open**2
    one_bar = one_bar_return()
    downside = pl.when(one_bar < 0).then(one_bar**2).otherwise(0.0).rolling_mean(60)
    bipower = (one_bar.abs() * one_bar.shift(1).abs()).rolling_mean(60) * (math.pi / 2)
    variance = (one_bar**2).rolling_mean(60)
    return [
        *(
            Feature(
                f"return_deviation_{n}",
                return_deviation(n),
                n,
                "log return",
                f"Root mean square of the one-bar return over {n} bars.",
                1e-3,
            )
            for n in DEVIATION_SPANS
        ),
        Feature(
            "parkinson_20",
            root((high_low**2).rolling_mean(20) / (4 * math.log(2))),
            19,
            "log return",
            "Volatility a bar from highs and lows of 20 bars (Parkinson 1980).",
            1e-3,
        ),
        Feature(
            "garman_klass_60",
            root(garman_klass.rolling_mean(60)),
            59,
            "log return",
            "Volatility a bar from open, high, low, close of 60 bars (Garman and Klass 1980).",
            1e-3,
        ),
        Feature(
            "average_true_range_14",
            talib.atr(pl.col("high"), pl.col("low"), pl.col("close"), timeperiod=14) / pl.col("close"),
            wilder_memory(14),
            "ratio",
            "Wilder's average true range over the close.",
            1e-3,
        ),
        Feature(
            "volatility_ratio_5_60",
            quotient(return_deviation(5), return_deviation(60)),
            60,
            "ratio",
            "Volatility of 5 bars over that of 60.",
            1.0,
        ),
        Feature(
            "volatility_ratio_60_240",
            quotient(return_deviation(60), return_deviation(240)),
            240,
            "ratio",
            "Volatility of 60 bars over that of 240.",
            1.0,
        ),
        Feature(
            "downside_share_60",
            quotient(downside * 1e6, variance * 1e6),
            60,
            "0 to 1",
            "Share of the variance of 60 bars that fell bars made.",
            1.0,
        ),
        Feature(
            "jump_share_60",
            quotient((variance - bipower).clip(lower_bound=0.0) * 1e6, variance * 1e6),
            61,
            "0 to 1",
            "Share of the variance of 60 bars above its bipower variation (Barndorff-Nielsen 2004).",
            1.0,
        ),
    ]
