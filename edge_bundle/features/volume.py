"""Volume features: how much was traded, on which side, and at what distance from the close."""

import polars as pl

from edge_bundle.features.feature import Feature, one_bar_return, quotient, return_deviation


def features() -> list[Feature]:
    """Members of the family."""
    volume, close = pl.col("volume"), pl.col("close")
    mean = volume.rolling_mean(60)
    signed = pl.col("close").diff().sign() * volume
    spread = pl.col("high") - pl.col("low")
    located = quotient((2 * close - pl.col("high") - pl.col("low")) / close, spread / close) * volume
    typical = (pl.col("high") + pl.col("low") + close) / 3
    flow = typical * volume
    vwap = window_share(flow, volume, 60)
    return [
        Feature(
            "volume_ratio_60", quotient(volume, mean), 59, "ratio", "Volume over its mean of 60 bars.", 1.0
        ),
        Feature(
            "volume_trend_5_240",
            pl.when(volume.rolling_max(5) > 0)
            .then(volume.rolling_mean(5) / volume.rolling_mean(240))
            .otherwise(0.0),
            239,
            "ratio",
            "Mean volume of 5 bars over that of 240.",
            1.0,
        ),
        *(
            Feature(
                f"on_balance_volume_{n}",
                window_share(signed, volume, n),
                n,
                "-1 to 1",
                f"Volume of risen minus fallen bars over all volume of {n} bars: windowed on-balance volume.",
                1.0,
            )
            for n in (5, 20, 60)
        ),
        Feature(
            "money_flow_20",
            window_share(located, volume, 20),
            19,
            "-1 to 1",
            "Chaikin money flow over 20 bars.",
            1.0,
        ),
        Feature(
            "money_flow_index_14",
            50 + 50 * window_share(typical.diff().sign() * flow, typical.diff().sign().abs() * flow, 14),
            14,
            "0 to 100",
            "Money flow index over 14 bars; 50 where no money flowed.",
            10.0,
        ),
        Feature(
            "vwap_distance_60",
            pl.when(vwap > 0).then(quotient((close / vwap).log(), return_deviation(60))).otherwise(0.0),
            60,
            "deviations",
            "Log distance of the close to the volume-weighted price of 60 bars; 0 when nothing was traded.",
            1.0,
        ),
        Feature(
            "signed_volume_surprise",
            quotient(volume, mean) * quotient(one_bar_return(), return_deviation(240)),
            240,
            "deviations",
            "One-bar return in deviations, times the volume over its mean of 60 bars.",
            1.0,
        ),
    ]


def window_share(part: pl.Expr, whole: pl.Expr, bars: int) -> pl.Expr:
    """Sum of a part over the sum of the whole, in a window; 0 where the whole is 0 in every bar of it.

    A running sum is never tested against 0: it keeps the rounding of what has left the window.
    """
    present = whole.rolling_max(bars) > 0
    return pl.when(present).then(part.rolling_sum(bars) / whole.rolling_sum(bars)).otherwise(0.0)
