"""Price features: returns over several spans and the shape of the bar itself."""

import polars as pl

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import log_return, share, step

RETURN_SPANS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240)
LAGS = (1, 2, 3, 5, 10)


def features() -> list[Feature]:
    """Members of the family."""
    close, low, spread = pl.col("close"), pl.col("low"), step("spread")
    shapes = {
        "bar_range": (spread, "High minus low over the close."),
        "bar_body": (step("body"), "Close minus open over the close."),
        "upper_shadow": (step("upper_shadow"), "High above the body over the close."),
        "lower_shadow": (step("lower_shadow"), "Low below the body over the close."),
    }
    return [
        *(
            Feature(
                f"log_return_{n}", log_return(n), n, "log return", f"Return of the close over {n} bars.", 1e-3
            )
            for n in RETURN_SPANS
        ),
        *(
            Feature(
                f"simple_return_{n}",
                close / close.shift(n) - 1,
                n,
                "ratio",
                f"Relative change of the close over {n} bars.",
                1e-3,
            )
            for n in RETURN_SPANS
        ),
        *(
            Feature(
                f"log_return_1_lag_{n}",
                step("return").shift(n),
                n + 1,
                "log return",
                f"One-bar return of {n} bars ago.",
                1e-3,
            )
            for n in LAGS
        ),
        Feature(
            "close_location",
            pl.when(spread > 1e-12 * close).then((close - low) / spread).otherwise(0.5),
            0,
            "0 to 1",
            "Where in the bar's range it closed; one half for a bar without range.",
            1.0,
        ),
        *(Feature(name, part / close, 0, "ratio", meaning, 1e-3) for name, (part, meaning) in shapes.items()),
        Feature(
            "range_position_240",
            share(close - step("lowest_240"), step("width_240")),
            239,
            "0 to 1",
            "Where the close lies between the lowest low and the highest high of 240 bars.",
            1.0,
        ),
    ]
