"""Momentum features: returns in units of volatility, and the bounded oscillators."""

import polars as pl
import polars_talib as talib

from edge_bundle.features.feature import (
    Feature,
    balance,
    balance_memory,
    log_return,
    quotient,
    return_deviation,
    span_memory,
)

SCALED_SPANS = (1, 2, 3, 6, 12, 24, 48)


def features() -> list[Feature]:
    """Members of the family."""
    close = pl.col("close")
    lowest, highest = pl.col("low").rolling_min(14), pl.col("high").rolling_max(14)
    macd = close.ewm_mean(span=12, adjust=False) - close.ewm_mean(span=26, adjust=False)
    histogram = macd - macd.ewm_mean(span=9, adjust=False)
    return [
        *(
            Feature(
                f"scaled_return_{n}",
                quotient(log_return(n), return_deviation(240) * n**0.5),
                240,
                "deviations",
                f"Return over {n} bars, in its deviations by the volatility of 240 bars.",
                1.0,
            )
            for n in SCALED_SPANS
        ),
        *(
            Feature(
                f"rsi_{n}",
                50 + 50 * balance(close.diff(), close.diff().abs(), n),
                balance_memory(n),
                "0 to 100",
                f"Relative strength index over {n} bars; 50 where the price stood still.",
                10.0,
            )
            for n in (3, 14)
        ),
        Feature(
            "macd_histogram",
            quotient(histogram / close, return_deviation(60)),
            span_memory(26) + span_memory(9),
            "deviations",
            "MACD(12, 26) minus its signal(9), over the close, in deviations of the one-bar return.",
            1.0,
        ),
        Feature(
            "stochastic_14",
            quotient(close / lowest - 1, highest / lowest - 1),
            13,
            "0 to 1",
            "Where the close lies in the range of 14 bars, %K.",
            1.0,
        ),
        Feature(
            "cci_20",
            talib.cci(pl.col("high"), pl.col("low"), close, timeperiod=20),
            19,
            "index",
            "Commodity channel index.",
            100.0,
        ),
    ]
