"""Calendar features, in UTC: hour and weekday as points on a circle, and the time until funding."""

import math

import polars as pl

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import step

FUNDING_MINUTES = 480


def features() -> list[Feature]:
    """Members of the family."""
    minute = step("minute_of_week")
    circles = (("hour", "day", 1440), ("weekday", "week", 10080))
    return [
        *(
            Feature(
                f"{name}_{kind}",
                getattr(minute * (2 * math.pi / minutes), function)(),
                0,
                "-1 to 1",
                f"{kind.capitalize()} of the time of {circle}.",
                1.0,
            )
            for name, circle, minutes in circles
            for kind, function in (("sine", "sin"), ("cosine", "cos"))
        ),
        Feature(
            "minutes_to_funding",
            FUNDING_MINUTES - minute % pl.lit(FUNDING_MINUTES, pl.Float64),
            0,
            "minutes",
            "From the bar's opening to 00, 08 or 16 o'clock, when perpetual contracts settle funding.",
            100.0,
        ),
    ]
