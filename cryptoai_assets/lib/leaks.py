"""Leaks: checks of data and of splits that name the way in which the future got into the past.

It knows nothing about models: each check reads frames, times or rows, and says in one sentence what it found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl
from scipy.stats import rankdata

from cryptoai_assets.lib.canaries import FeatureFunction, differing_features
from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.market_data import known_candles, late_moments
from cryptoai_assets.lib.models.forecaster_model import rows_of
from edge_bundle.candles import interval_duration
from edge_bundle.features.catalog import chosen_features, feature_frame, largest_warmup
from edge_bundle.windows import MarketWindow, sourced_grid

FactJoin = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]

# Newest bars before each cut that are computed a second time: what reads further ahead shows in them too.
COMPARED_BARS = 20
# Rank correlation with an outcome that no honest input has; calm and wild times last, so volatility may more.
LABEL_CORRELATION: Mapping[str, float] = MappingProxyType({"return": 0.8, "up": 0.8, "volatility": 0.95})
MOST_RANKED_ROWS = 20_000
# Means and deviations of the same rows differ by rounding only, in deviations.
SCALING_TOLERANCE = 1e-4
_FEWEST_OUTCOMES = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: whether it holds, and the sentence that says why."""

    check: str
    holds: bool
    sentence: str


def splits_are_purged(
    train_times: pl.Series, test_times: pl.Series, *, horizon_bars: int, bar: timedelta
) -> Finding:
    """Every training label ends before the first test bar.

    Parameters
    ----------
    train_times, test_times
        Open times of the rows, of all symbols together.
    horizon_bars
        The longest one.
    """
    check = "splits_are_purged"
    if train_times.is_empty() or test_times.is_empty():
        return Finding(check, False, f"{len(train_times)} training and {len(test_times)} test rows")
    start = test_times.sort()[0]
    overlapping = train_times.filter(train_times + horizon_bars * bar >= start)
    if len(overlapping):
        return Finding(
            check,
            False,
            f"labels of {len(overlapping)} of {len(train_times)} training rows reach the test rows, which "
            f"start at {start:%Y-%m-%d %H:%M}; the earliest is at {overlapping.sort()[0]:%Y-%m-%d %H:%M}",
        )
    return Finding(check, True, f"all {len(train_times)} training labels end before {start:%Y-%m-%d %H:%M}")


def features_ignore_later_bars(
    frame: pl.DataFrame,
    window: MarketWindow,
    names: Sequence[str],
    *,
    interval: str,
    max_missing_bars: int,
    greatest_age: Mapping[str, timedelta],
    cuts: Iterable[datetime],
    features: FeatureFunction = feature_frame,
) -> Finding:
    """Features equal those computed again from what was known when their bar closed, also in being null.

    Of each feature the rows are compared that have its warm-up behind them in what was known.

    Parameters
    ----------
    frame
        ``open_time``, ``symbol`` and the features, as a model gets them.
    window
        Candles and facts that they were computed from.
    cuts
        Times at which history is cut off; the newest `COMPARED_BARS` bars closed by then are compared.
    features
        What computes them on bars that have every column they read, as in `cryptoai_assets.lib.canaries`.
    """
    check, compared = "features_ignore_later_bars", 0
    for cut in cuts:
        again = _features_known_at(
            window,
            names,
            cut,
            interval=interval,
            max_missing_bars=max_missing_bars,
            greatest_age=greatest_age,
            features=features,
        )
        both = again.join(frame, on=["open_time", "symbol"], suffix="_given", maintain_order="left")
        warm = {feature.name: pl.col("_place") >= feature.warmup for feature in chosen_features(names)}
        known = both.select("open_time", "symbol", *(pl.when(warm[name]).then(name) for name in names))
        given = both.select(
            "open_time",
            "symbol",
            *(pl.when(warm[name]).then(f"{name}_given").alias(name) for name in names),
        )
        if differing := differing_features(names, known, given):
            return Finding(check, False, _changed(differing, known, given, cut))
        compared += known.drop_nulls().height
    if not compared:
        return Finding(check, False, "no complete row was there to compare")
    return Finding(check, True, f"equal in {compared} complete rows computed again from what was known")


def _features_known_at(
    window: MarketWindow,
    names: Sequence[str],
    cut: datetime,
    *,
    interval: str,
    max_missing_bars: int,
    greatest_age: Mapping[str, timedelta],
    features: FeatureFunction,
) -> pl.DataFrame:
    """Newest features of each symbol from what was known at a time, reaching back as far as they remember.

    With the column ``_place``: bars before a row in its segment.
    """
    bar = interval_duration(interval)
    # Twice the memory: a series that is quiet at the start of its history has fewer bars in it.
    start = cut - (2 * largest_warmup(names) + max_missing_bars + COMPARED_BARS + 1) * bar
    told = known_candles(window.candles, window.facts, interval=interval, known_by=cut)
    closed = told.filter(pl.col("open_time") >= start)
    known = window.facts.filter(pl.col("known_at") <= cut)
    grid = sourced_grid(
        MarketWindow(closed, known),
        names,
        interval=interval,
        max_missing_bars=max_missing_bars,
        greatest_age=greatest_age,
    )
    placed = features(grid, names).with_columns(_place=pl.int_range(pl.len()).over("symbol", "segment"))
    # What came late since a bar closed was not known to it: such bars are not compared.
    late = late_moments(window.facts, interval=interval, until=cut)
    first = max([cut - COMPARED_BARS * bar, *(moment - bar for moment in late[-1:])])
    return placed.filter(pl.col("open_time") >= first)


def _changed(differing: Sequence[str], known: pl.DataFrame, given: pl.DataFrame, cut: datetime) -> str:
    name = differing[0]
    rows = known.select("open_time", "symbol", now=name).with_columns(before=given[name])
    row = rows.filter(pl.col("now").ne_missing(pl.col("before"))).row(-1, named=True)
    others = f"; so do {', '.join(differing[1:])}" if len(differing) > 1 else ""
    return (
        f"{name} reads later bars: {row['before']} for {row['symbol']} at {row['open_time']:%Y-%m-%d %H:%M}, "
        f"but {row['now']} from the bars closed by {cut:%Y-%m-%d %H:%M}{others}"
    )


def facts_are_joined_when_known(
    bars: pl.DataFrame,
    facts: pl.DataFrame,
    *,
    name: str,
    interval: timedelta,
    join: FactJoin,
    most_bars: int,
) -> Finding:
    """A joined fact stays the same when what became known after the bar's close is taken away.

    Only bars that closed between an event and its being known can tell; up to `most_bars` of them are asked.

    Parameters
    ----------
    bars
        Sorted by symbol and open time.
    join
        From bars and facts to the bars with the column `name`, such as `edge_bundle.facts.as_of_join`.
    """
    check = "facts_are_joined_when_known"
    joined = join(bars, facts)
    spans = facts.filter((pl.col("name") == name) & (pl.col("known_at") > pl.col("event_time")))
    between = joined.join_where(
        spans.select("event_time", "known_at"),
        pl.col("open_time") + interval >= pl.col("event_time"),
        pl.col("open_time") + interval < pl.col("known_at"),
    )
    telling = between.select("open_time").unique().sort("open_time")["open_time"]
    step = max(1, -(-len(telling) // most_bars))
    for open_time in telling.gather_every(step):
        own = bars.filter(pl.col("open_time") == open_time)
        alone = join(own, facts.filter(pl.col("known_at") <= open_time + interval))
        given = joined.filter(pl.col("open_time") == open_time)
        for symbol, found, right in zip(own["symbol"], given[name], alone[name], strict=True):
            if found != right:
                return Finding(
                    check,
                    False,
                    f"{name} of {symbol} at {open_time:%Y-%m-%d %H:%M} is {found}, which was not known "
                    f"when the bar closed: {right} was",
                )
    asked = len(telling.gather_every(step))
    return Finding(check, True, f"equal at {asked} bars that closed between an event and its being known")


def inputs_do_not_contain_the_label(data: Dataset, *, horizons: Sequence[int]) -> Finding:
    """No input follows an outcome more closely than an honest one could, by rank correlation.

    Asked of at most `MOST_RANKED_ROWS`, evenly spread: a label is as plain in them as in all.
    """
    check = "inputs_do_not_contain_the_label"
    asked = np.zeros(len(data), dtype=bool)
    asked[np.linspace(0, len(data) - 1, min(len(data), MOST_RANKED_ROWS)).astype(int)] = True
    data = data.rows(asked)
    ranks = [_standard_ranks(column) for column in rows_of(data.values).T]
    closest = (0.0, "")
    for kind, limit in LABEL_CORRELATION.items():
        for horizon in horizons:
            target = data.target(kind, horizon)
            known = np.isfinite(target)
            if known.sum() < _FEWEST_OUTCOMES:
                return Finding(check, False, f"{kind}_{horizon} is known in {known.sum()} rows only")
            outcome = _standard_ranks(target[known])
            for name, rank in zip(data.names, ranks, strict=True):
                found = abs(_correlation(rank[known], outcome))
                told = f"{name} and {kind}_{horizon} have a rank correlation of {found:.3f}, at most {limit}"
                closest = max(closest, (found / limit, told))
    return Finding(check, closest[0] <= 1, f"{closest[1]} can be honest")


def _standard_ranks(values: Float64Array) -> Float64Array:
    ranks: Float64Array = rankdata(values) / max(len(values), 1) - 0.5
    return ranks


def _correlation(a: Float64Array, b: Float64Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0


def scaling_is_fitted_on_training_rows(center: Float64Array, spread: Float64Array, train: Dataset) -> Finding:
    """Means and deviations of a scaler are those of the training rows.

    Parameters
    ----------
    center, spread
        (features,) what is taken off, and what the rest is divided by.
    train
        Rows that the scaler may have seen, all of them and no other.
    """
    check = "scaling_is_fitted_on_training_rows"
    rows = rows_of(train.values).astype(np.float64)
    means, deviations = rows.mean(axis=0), rows.std(axis=0)
    unit = np.where(deviations > 0, deviations, 1.0)
    off = np.maximum(np.abs(center - means), np.abs(spread - unit)) / unit
    if off.max() > SCALING_TOLERANCE:
        worst = int(off.argmax())
        return Finding(
            check,
            False,
            f"{train.names[worst]} is scaled by {center[worst]:.6g} ± {spread[worst]:.6g}, "
            f"but the training rows give {means[worst]:.6g} ± {unit[worst]:.6g}",
        )
    return Finding(check, True, f"{len(train.names)} features are scaled by {len(train)} training rows alone")
