"""Calendar features: the hour of the day and the day of the week, in UTC, as points on a circle."""

import math

import polars as pl

from edge_bundle.features.feature import Feature


def features() -> list[Feature]:
    """Members of the family."""
    minute = pl.col("open_time").dt.hour().cast(pl.Float64) * 60 + pl.col("open_time").dt.minute()
    day = minute * (2 * math.pi / 1440)
    week = ((pl.col("open_time").dt.weekday().cast(pl.Float64) - 1) * 1440 + minute) * (2 * math.pi / 10080)
    return [
        Feature("hour_sine", day.sin(), 0, "-1 to 1", "Sine of the time of day.", 1.0),
        Feature("hour_cosine", day.cos(), 0, "-1 to 1", "Cosine of the time of day.", 1.0),
        Feature("weekday_sine", week.sin(), 0, "-1 to 1", "Sine of the time of week.", 1.0),
        Feature("weekday_cosine", week.cos(), 0, "-1 to 1", "Cosine of the time of week.", 1.0),
    ]
