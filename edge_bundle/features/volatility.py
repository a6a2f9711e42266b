"""Volatility features: how much prices move, from closes and from ranges, over several spans."""

import math

import polars as pl
import polars_talib as talib

from edge_bundle.features.feature import Feature, quiet_memory, wilder_memory
from edge_bundle.features.steps import (
    DECAYS,
    DEVIATION_SPANS,
    REALISED_SPANS,
    REGIME_SPANS,
    mean,
    quotient,
    root,
    step,
)


def features() -> list[Feature]:
    """Members of the family."""
    return [*_from_closes(), *_decayed(), *_from_ranges(), *_bands(), *_shapes()]


def _from_closes() -> list[Feature]:
    return [
        *(
            Feature(
                f"return_deviation_{n}",
                step(f"deviation_{n}"),
                n,
                "log return",
                f"Root mean square of the one-bar return over {n} bars.",
                1e-3,
            )
            for n in DEVIATION_SPANS
        ),
        *(
            Feature(
                f"realised_volatility_{n}",
                root(step(f"squares_{n}")),
                n,
                "log return",
                f"Root of the summed squares of one-bar returns over {n} bars: a term of HAR (Corsi 2009).",
                1e-2,
            )
            for n in REALISED_SPANS
        ),
        *(
            Feature(
                f"bipower_volatility_{n}",
                root(step(f"bipower_{n}")),
                n + 1,
                "log return",
                f"Volatility a bar over {n} bars that no jump enters (Barndorff-Nielsen and Shephard 2004).",
                1e-3,
            )
            for n in (60, 240)
        ),
        Feature(
            "roll_spread_60",
            2 * root(step("mirrored_autocovariance_60")),
            61,
            "log return",
            "Spread between bid and ask that the bounce of 60 one-bar returns shows (Roll 1984).",
            1e-3,
        ),
    ]


def _decayed() -> list[Feature]:
    return [
        Feature(
            f"decayed_volatility_{100 * decay:.0f}",
            root(step(f"decayed_{100 * decay:.0f}")),
            1 + quiet_memory(1 - decay),
            "log return",
            f"Volatility a bar with the decay {decay} of RiskMetrics.",
            1e-3,
        )
        for decay in DECAYS
    ]


def _from_ranges() -> list[Feature]:
    return [
        *(
            Feature(
                f"parkinson_{n}",
                root(step(f"high_low_square_{n}")) * (4 * math.log(2)) ** -0.5,
                n - 1,
                "log return",
                f"Volatility a bar from highs and lows of {n} bars (Parkinson 1980).",
                1e-3,
            )
            for n in (20, 60)
        ),
        *(
            Feature(
                f"{estimator}_{n}",
                root(step(f"{estimator}_{n}")),
                n - 1 + bars_before,
                "log return",
                f"Volatility a bar of {n} bars {what}.",
                1e-3,
            )
            for estimator, bars_before, what in (
                ("garman_klass", 0, "from open, high, low and close (Garman and Klass 1980)"),
                ("rogers_satchell", 0, "that a trend leaves alone (Rogers and Satchell 1991)"),
                ("yang_zhang", 1, "with the gaps between them (Yang and Zhang 2000)"),
            )
            for n in (20, 60)
        ),
        *(
            Feature(
                f"high_low_{n}",
                talib.max(step("log_high"), timeperiod=n) - talib.min(step("log_low"), timeperiod=n),
                n - 1,
                "log return",
                f"Log of the highest high over the lowest low of {n} bars.",
                1e-2,
            )
            for n in (20, 60)
        ),
        Feature(
            "average_true_range_14",
            talib.atr(pl.col("high"), pl.col("low"), pl.col("close"), timeperiod=14) / pl.col("close"),
            wilder_memory(14),
            "ratio",
            "Wilder's average true range over the close.",
            1e-3,
        ),
    ]


def _bands() -> list[Feature]:
    """Bollinger's bands, two deviations wide on either side of the mean."""
    return [
        Feature(
            "bollinger_width_20",
            4 * step("price_deviation_20"),
            19,
            "ratio",
            "Width of Bollinger's bands over their middle, 20 bars.",
            1e-2,
        ),
        Feature(
            "bollinger_position_20",
            0.5 + (pl.col("close") / step("mean_20") - 1) * step("per_price_deviation_20") * 0.25,
            19,
            "bands",
            "Where the close lies between Bollinger's bands of 20 bars, %b: 0 is the lower, 1 the upper.",
            1.0,
        ),
    ]


def _shapes() -> list[Feature]:
    """Volatility against volatility."""
    one_bar = step("return")
    downside = mean(pl.when(one_bar < 0).then(step("square")).otherwise(0.0), 60)
    return [
        *(
            Feature(
                f"volatility_ratio_{short}_{long}",
                step(f"deviation_{short}") * step(f"per_deviation_{long}"),
                long,
                "ratio",
                f"Volatility of {short} bars over that of {long}.",
                1.0,
            )
            for short, long in ((5, 60), (60, 240))
        ),
        *(
            Feature(
                f"volatility_regime_{n}",
                quotient(step(f"calm_{n}"), step(f"calm_deviation_{n}")),
                59 + n,
                "deviations",
                f"Volatility of 60 bars against its mean of {n} bars, in its deviations.",
                1.0,
            )
            for n in REGIME_SPANS
        ),
        Feature(
            "downside_share_60",
            downside * step("per_variance_60"),
            60,
            "0 to 1",
            "Share of the variance of 60 bars that fell bars made.",
            1.0,
        ),
        *(
            Feature(
                f"jump_share_{n}",
                pl.when((step(f"deviation_{n}") > 0) & (step(f"bipower_{n}") < step(f"variance_{n}")))
                .then(1 - step(f"bipower_{n}") * step(f"per_variance_{n}"))
                .otherwise(0.0),
                n + 1,
                "0 to 1",
                f"Share of the variance of {n} bars above its bipower variation (Barndorff-Nielsen 2004).",
                1.0,
            )
            for n in (60, 240)
        ),
    ]
