"""Events: each pattern once, with the bar that confirms it."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from cryptoai_assets.lib.charts.windows import LabelledSeries
from edge_bundle.candles import UTC_MICROSECONDS, interval_duration
from edge_bundle.detection import KEY_POINTS, NO_BAR
from edge_bundle.detector import pattern_names

EVENT_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "interval": pl.String(),
    "known_at": UTC_MICROSECONDS,
    "pattern": pl.String(),
    "stable": pl.Boolean(),
    "raw_agrees": pl.Boolean(),
    **{f"e{number}": UTC_MICROSECONDS for number in range(1, KEY_POINTS + 1)},
}


def pattern_events(series: Sequence[LabelledSeries]) -> pl.DataFrame:
    """One row an event, in `EVENT_SCHEMA`, by symbol, interval and time.

    ``known_at`` is the close of the bar that confirms it, never the time of an extremum; ``e1`` to ``e5`` are
    the opening times of the extrema's bars, null where the pattern has none; ``raw_agrees`` says whether the
    rule finds the same in closes that are not rounded to pixels.
    """
    frames = [_events(one) for one in series]
    empty = pl.DataFrame(schema=EVENT_SCHEMA)
    return pl.concat([empty, *frames]).sort("symbol", "interval", "known_at", maintain_order=True)


def _events(one: LabelledSeries) -> pl.DataFrame:
    windows = one.events()
    series, labels = one.series, one.labels
    last = series.last[windows]
    places = labels.key_points[windows].astype(np.int64)
    bars = np.where(places == NO_BAR, 0, last[:, None] - labels.turns.shape[1] + 1 + places)
    times = np.where(places == NO_BAR, np.datetime64("NaT"), series.open_time[bars])
    closed = series.open_time[last] + np.timedelta64(interval_duration(series.interval))
    names = np.array(pattern_names())
    columns = {
        "symbol": np.full(len(windows), series.symbol),
        "interval": np.full(len(windows), series.interval),
        "known_at": closed,
        "pattern": names[labels.pattern[windows]],
        "stable": one.stable[windows],
        "raw_agrees": (one.raw_pattern == labels.pattern)[windows],
        **{f"e{number + 1}": times[:, number] for number in range(KEY_POINTS)},
    }
    zoned = [name for name, kind in EVENT_SCHEMA.items() if kind == UTC_MICROSECONDS]
    return (
        pl.DataFrame(columns)
        .with_columns(pl.col(zoned).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        .cast(pl.Schema(EVENT_SCHEMA))
    )
