"""Trend features: distance to moving averages, directional movement and how straight the path was."""

import polars as pl
import polars_talib as talib

from edge_bundle.features.feature import (
    Feature,
    log_return,
    one_bar_return,
    quotient,
    return_deviation,
    span_memory,
    wilder_memory,
)

EMA_SPANS = (10, 20, 50)


def features() -> list[Feature]:
    """Members of the family."""
    close = pl.col("close")
    bars = (pl.col("high"), pl.col("low"), close)
    path = one_bar_return().abs().rolling_sum(20)
    directional = 2 * wilder_memory(14)
    return [
        *(
            Feature(
                f"ema_distance_{n}",
                quotient((close / close.ewm_mean(span=n, adjust=False)).log(), return_deviation(60)),
                max(span_memory(n), 60),
                "deviations",
                f"Log distance of the close to its EMA over {n} bars, in deviations of the one-bar return.",
                1.0,
            )
            for n in EMA_SPANS
        ),
        Feature(
            "mean_distance_100",
            quotient((close / close.rolling_mean(100)).log(), return_deviation(60)),
            99,
            "deviations",
            "Log distance of the close to its mean of 100 bars, in deviations of the one-bar return.",
            1.0,
        ),
        Feature(
            "adx_14",
            talib.adx(*bars, timeperiod=14),
            directional,
            "0 to 100",
            "Strength of the trend, ADX.",
            10.0,
        ),
        Feature(
            "directional_balance_14",
            talib.plus_di(*bars, timeperiod=14) - talib.minus_di(*bars, timeperiod=14),
            wilder_memory(14),
            "-100 to 100",
            "+DI minus −DI.",
            10.0,
        ),
        Feature(
            "efficiency_ratio_20",
            quotient(log_return(20), path),
            20,
            "-1 to 1",
            "Net move over the sum of absolute moves of 20 bars, signed.",
            1.0,
        ),
    ]
