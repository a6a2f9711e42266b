"""Price features: returns over several spans and the shape of the bar itself."""

import polars as pl

from edge_bundle.features.feature import Feature, log_return, one_bar_return, quotient

RETURN_SPANS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240)
LAGS = (1, 2, 3)


def features() -> list[Feature]:
    """Members of the family."""
    high, low, open_, close = pl.col("high"), pl.col("low"), pl.col("open"), pl.col("close")
    spread = high - low
    relative = spread / close
    body_top, body_bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    return [
        *(
            Feature(
                f"log_return_{n}", log_return(n), n, "log return", f"Return of the close over {n} bars.", 1e-3
            )
            for n in RETURN_SPANS
        ),
        *(
            Feature(
                f"log_return_1_lag_{n}",
                one_bar_return().shift(n),
                n + 1,
                "log return",
                f"One-bar return of {n} bars ago.",
                1e-3,
            )
            for n in LAGS
        ),
        Feature(
            "close_location",
            pl.when(relative > 1e-12).then((close - low) / spread).otherwise(0.5),
            0,
            "0 to 1",
            "Where in the bar's range it closed; one half for a bar without range.",
            1.0,
        ),
        Feature("bar_range", relative, 0, "ratio", "High minus low over the close.", 1e-3),
        Feature("bar_body", (close - open_) / close, 0, "ratio", "Close minus open over the close.", 1e-3),
        Feature(
            "upper_shadow", (high - body_top) / close, 0, "ratio", "High above the body over the close.", 1e-3
        ),
        Feature(
            "lower_shadow",
            (body_bottom - low) / close,
            0,
            "ratio",
            "Low below the body over the close.",
            1e-3,
        ),
        Feature(
            "range_position_240",
            quotient(
                close / pl.col("low").rolling_min(240) - 1,
                pl.col("high").rolling_max(240) / pl.col("low").rolling_min(240) - 1,
            ),
            239,
            "0 to 1",
            "Where the close lies between the lowest low and the highest high of 240 bars.",
            1.0,
        ),
    ]
