"""Microstructure features, from the order book and the trades inside each bar, where facts hold them.

They read facts named ``microstructure/…``, one a bar: ``top_imbalance`` and ``depth_imbalance`` of the two
sides (−1 to 1), ``spread_bps`` and ``microprice_deviation_bps`` over the middle price, ``trade_intensity``
(trades a second) and ``signed_volume`` (bought minus sold, in the unit of the candle's volume).
"""

import polars as pl

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import quotient, step

PREFIX = "microstructure/"
FACTS = (
    "top_imbalance",
    "depth_imbalance",
    "spread_bps",
    "microprice_deviation_bps",
    "trade_intensity",
    "signed_volume",
)


def features() -> list[Feature]:
    """Members of the family; each is null where a bar in its window has no such fact."""
    imbalance, depth, spread, deviation, intensity, signed = (pl.col(f"{PREFIX}{name}") for name in FACTS)
    members = (
        ("book_imbalance", imbalance, 0, "-1 to 1", "Bid against ask at the best prices when the bar ended"),
        ("book_imbalance_mean_5", imbalance.rolling_mean(5), 4, "-1 to 1", "Mean book_imbalance of 5 bars"),
        ("book_depth_imbalance", depth, 0, "-1 to 1", "Bid against ask depth when the bar ended"),
        (
            "book_spread_ratio_60",
            quotient(spread, spread.rolling_mean(60)),
            59,
            "ratio",
            "Spread over its mean of 60 bars",
        ),
        (
            "microprice_distance",
            1e-4 * deviation * step("per_deviation_60"),
            60,
            "deviations",
            "Microprice above the middle price, in deviations of the one-bar return",
        ),
        (
            "trade_intensity_ratio_60",
            quotient(intensity, intensity.rolling_mean(60)),
            59,
            "ratio",
            "Trades a second over their mean of 60 bars",
        ),
        (
            "signed_volume_share_20",
            signed.rolling_sum(20) * step("per_volume_20"),
            19,
            "-1 to 1",
            "Bought minus sold volume over all volume of 20 bars",
        ),
    )
    return [
        Feature(name, value, warmup, unit, f"{meaning}; null without its fact.", 1.0)
        for name, value, warmup, unit, meaning in members
    ]
