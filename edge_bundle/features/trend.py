"""Trend features: distance to moving averages, directional movement and how straight the path was."""

import polars as pl

from edge_bundle.features.feature import (
    Feature,
    balance,
    balance_memory,
    log_return,
    one_bar_return,
    quotient,
    return_deviation,
    span_memory,
    wilder_mean,
    wilder_memory,
)

EMA_SPANS = (10, 20, 50)


def features() -> list[Feature]:
    """Members of the family."""
    close = pl.col("close")
    path = one_bar_return().abs().rolling_sum(20)
    before = close.shift(1)
    true_range = pl.max_horizontal("high", before) - pl.min_horizontal("low", before)
    rise, fall = pl.col("high").diff(), -pl.col("low").diff()
    up = pl.when((rise > fall) & (rise > 0)).then(rise).otherwise(0.0)
    down = pl.when((fall > rise) & (fall > 0)).then(fall).otherwise(0.0)
    directional = balance(up - down, up + down, 14).abs()
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
            100 * wilder_mean(directional, 14),
            2 * wilder_memory(14),
            "0 to 100",
            "Strength of the trend, ADX.",
            10.0,
        ),
        Feature(
            "directional_balance_14",
            100 * balance(up - down, true_range, 14),
            balance_memory(14),
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
