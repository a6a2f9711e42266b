"""Statistical features: the shape and the memory of recent one-bar returns."""

import polars as pl

from edge_bundle.features.feature import Feature, one_bar_return, quotient, return_deviation


def features() -> list[Feature]:
    """Members of the family."""
    one_bar = one_bar_return()
    square = (one_bar**2).rolling_mean(60)
    lagged = (one_bar * one_bar.shift(1)).rolling_mean(60)
    cube = (one_bar**3).rolling_mean(60)
    return [
        Feature(
            "autocorrelation_60",
            quotient(lagged * 1e6, square * 1e6),
            61,
            "-1 to 1",
            "Mean product of neighbouring one-bar returns over their mean square, 60 bars.",
            1.0,
        ),
        Feature(
            "skew_60",
            quotient(cube * 1e9, return_deviation(60) ** 3 * 1e9),
            60,
            "deviations³",
            "Third moment of the one-bar return about zero, 60 bars.",
            1.0,
        ),
        Feature(
            "rise_share_20",
            (pl.col("close").diff() > 0).cast(pl.Float64).rolling_mean(20),
            20,
            "0 to 1",
            "Share of the last 20 bars that closed higher.",
            1.0,
        ),
    ]
