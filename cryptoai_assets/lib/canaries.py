"""Canaries: checks of a loaded bundle that none which sees the future or remembers too far survives."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite, sqrt

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import dataset
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.gate import CanaryResult
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import CANDLE_SCHEMA, interval_duration
from edge_bundle.facts import FACT_SCHEMA, empty_facts
from edge_bundle.features.catalog import chosen_features, feature_frame
from edge_bundle.features.outside import EVENTS
from edge_bundle.features.sources import reads_market
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest
from edge_bundle.windows import MarketWindow, window_grid

FeatureFunction = Callable[[pl.DataFrame, Sequence[str]], pl.DataFrame]

# A feature from its shortest tail equals the one from the whole history within this, in its scale.
MEMORY_TOLERANCE = 1e-9
TAILS_A_SYMBOL = 5
CHANGED_BARS = 50
RANDOM_WALK_BARS = 6000
RANDOM_WALK_DEVIATIONS = 4.0


def canaries(
    forecaster: Forecaster, window: MarketWindow, *, seed: int, features: FeatureFunction = feature_frame
) -> tuple[CanaryResult, ...]:
    """Run all canaries.

    Parameters
    ----------
    window
        Reaches well past `bars_needed`; real candles, so that holes and quiet bars are among them.
    features
        What computes the features on bars that have every column they read; another one is given to see a
        canary die.
    """
    return (
        history_does_not_matter(forecaster, window, features=features),
        later_bars_do_not_matter(forecaster, window, features=features),
        random_walks_stay_unknown(forecaster, seed=seed, features=features),
    )


def history_does_not_matter(
    forecaster: Forecaster, window: MarketWindow, *, features: FeatureFunction = feature_frame
) -> CanaryResult:
    """A tail of `bars_needed` gives the features, and the forecast, that the whole window gives."""
    name, manifest = "history_does_not_matter", forecaster.manifest
    segments = _long_segments(_grid(forecaster, window), forecaster)
    if not segments:
        return CanaryResult(name, False, f"no unbroken series is longer than {manifest.bars_needed} bars")

    def computed(bars: list[pl.DataFrame]) -> list[pl.DataFrame]:
        sourced = forecaster.sourced(pl.concat(bars), window.facts)
        return features(sourced, manifest.features).partition_by("symbol", maintain_order=True)

    whole, needed, lookback = computed(segments), manifest.bars_needed, manifest.lookback
    differing: set[str] = set()
    tails = min(TAILS_A_SYMBOL, *(bars.height - needed for bars in segments))
    for dropped in range(tails):
        cut = [bars.slice(bars.height - dropped - needed, needed) for bars in segments]
        for every, tail in zip(whole, computed(cut), strict=True):
            known = every.slice(every.height - dropped - lookback, lookback)
            differing.update(differing_features(manifest.features, known, tail.tail(lookback)))
    if differing:
        return CanaryResult(name, False, f"remember more than their warm-up: {', '.join(sorted(differing))}")
    shortest = window.candles.group_by("symbol", maintain_order=True).tail(manifest.bars_needed)
    whole_forecast = forecaster.forecast(_window(window.candles, window))
    if forecaster.forecast(_window(shortest, window)) != whole_forecast:
        return CanaryResult(name, False, "a longer history changes the forecast")
    return CanaryResult(name, True, f"equal from {tails * len(segments)} tails of {needed} bars")


def later_bars_do_not_matter(
    forecaster: Forecaster, window: MarketWindow, *, features: FeatureFunction = feature_frame
) -> CanaryResult:
    """Features of earlier bars stay the same when later bars and facts are others, or are not there."""
    names = forecaster.manifest.features
    times = window.candles["open_time"].unique().sort()
    cut = times[-min(CHANGED_BARS, len(times) // 2)]

    def earlier(other: MarketWindow) -> pl.DataFrame:
        grid = forecaster.sourced(_grid(forecaster, other), other.facts)
        return features(grid, names).filter(pl.col("open_time") < cut)

    before, differing = earlier(window), set()
    for other in _other_futures(window, cut):
        after = earlier(other)
        # A missing bar right before the cut is bridged only once a later one is there.
        same = before.join(after, on=["symbol", "open_time"], how="semi", maintain_order="left")
        differing |= {name for name in names if not same[name].equals(after[name], null_equal=True)}
    known = int(before.select(pl.all_horizontal(pl.col(names).is_not_null()).sum()).item())
    told = ", ".join(name for name in names if name in differing)
    detail = f"read later bars: {told}" if differing else f"equal in {known} complete rows"
    return CanaryResult("later_bars_do_not_matter", not differing and known > 0, detail)


def _other_futures(window: MarketWindow, cut: datetime) -> Iterator[MarketWindow]:
    """The window with other bars from `cut` on, every second symbol higher and the rest lower, or without."""
    candles, facts = window.candles, window.facts
    later, place = pl.col("open_time") >= cut, pl.col("symbol").rle_id() % 2
    unknown = pl.col("known_at") > cut
    for higher in (0, 1):
        factor = pl.when(later).then(pl.when(place == higher).then(3.0).otherwise(1 / 3)).otherwise(1.0)
        yield MarketWindow(
            candles.with_columns(pl.col("open", "high", "low", "close", "volume") * factor),
            facts.with_columns(
                pl.when(unknown).then(3.0 * pl.col("value") + 1.0).otherwise(pl.col("value")).alias("value")
            ),
        )
    yield MarketWindow(candles.filter(~later), facts.filter(~unknown))


def random_walks_stay_unknown(
    forecaster: Forecaster, *, seed: int, features: FeatureFunction = feature_frame
) -> CanaryResult:
    """On candles of a random walk the direction is right as often as chance allows."""
    name, manifest = "random_walks_stay_unknown", forecaster.manifest
    bars = RANDOM_WALK_BARS + manifest.bars_needed
    window = random_walk_window(manifest, bars=bars, seed=seed)
    grid = forecaster.sourced(_grid(forecaster, window), window.facts)
    rows = dataset(
        features(grid, manifest.features),
        target_frame(grid, horizons=manifest.horizons),
        manifest.features,
        lookback=manifest.lookback,
        bar=interval_duration(manifest.interval),
    ).of_symbols(manifest.symbols[:1])
    if not len(rows):
        return CanaryResult(name, False, f"no complete input in {bars} bars")
    predicted = graph_predictions(forecaster, rows)
    deviations = []
    for column, horizon in enumerate(manifest.horizons):
        up = rows.target("up", horizon)
        # Overlapping horizons repeat themselves: only every h-th row counts.
        known = np.flatnonzero(np.isfinite(up))[::horizon]
        probability = predicted.probability_up[known, column]
        right = np.where(np.isfinite(probability), (probability > 0.5) == (up[known] > 0.5), np.nan)
        share = float(right.mean()) if len(known) else float("nan")
        deviations.append(abs(share - 0.5) * 2 * sqrt(len(known)))
    passed = all(isfinite(found) and found <= RANDOM_WALK_DEVIATIONS for found in deviations)
    found = ", ".join(
        f"{deviation:.1f} at {horizon} bars"
        for horizon, deviation in zip(manifest.horizons, deviations, strict=True)
    )
    return CanaryResult(
        name,
        passed,
        f"accuracy is off one half by {found} standard errors; at most {RANDOM_WALK_DEVIATIONS:.0f} may be",
    )


def _window(candles: pl.DataFrame, like: MarketWindow) -> MarketWindow:
    """Other candles with the same facts; the columns are put in order, which grouping loses."""
    return MarketWindow(candles.select(list(CANDLE_SCHEMA)), like.facts)


def _grid(forecaster: Forecaster, window: MarketWindow) -> pl.DataFrame:
    manifest = forecaster.manifest
    window = _window(window.candles, window)
    return window_grid(window, interval=manifest.interval, max_missing_bars=manifest.max_missing_bars)


def _long_segments(grid: pl.DataFrame, forecaster: Forecaster) -> list[pl.DataFrame]:
    """Newest segment of each symbol that is longer than what a forecast needs.

    Where features compare symbols, all end with the bar that every one of them has.
    """
    manifest = forecaster.manifest
    newest = [
        bars.filter(pl.col("segment") == pl.col("segment").last())
        for bars in grid.partition_by("symbol", maintain_order=True)
    ]
    if reads_market(manifest.features):
        until = min(bars["open_time"][-1] for bars in newest)
        newest = [bars.filter(pl.col("open_time") <= until) for bars in newest]
    return [bars for bars in newest if bars.height > manifest.bars_needed]


def differing_features(names: Sequence[str], known: pl.DataFrame, found: pl.DataFrame) -> list[str]:
    """Features whose values differ by more than rounding; one that is null on a side only does."""
    differing = []
    for feature in chosen_features(names):
        a, b = (frame[feature.name].cast(pl.Float64).fill_null(np.nan).to_numpy() for frame in (known, found))
        allowed = MEMORY_TOLERANCE * np.maximum(np.abs(a), feature.scale)
        if not np.all((np.abs(a - b) <= allowed) | (np.isnan(a) & np.isnan(b))):
            differing.append(feature.name)
    return differing


def random_walk_window(manifest: Manifest, *, bars: int, seed: int) -> MarketWindow:
    """Random walks of what a bundle reads: the first symbol or all of them, and its facts."""
    symbols = manifest.symbols if reads_market(manifest.features) else manifest.symbols[:1]
    candles = pl.concat(
        random_walk_candles(symbol, bars=bars, interval=manifest.interval, seed=seed + place)
        for place, symbol in enumerate(symbols)
    )
    times = candles["open_time"].to_list()
    draws, bar = np.random.default_rng(seed), interval_duration(manifest.interval)
    facts = [
        random_walk_facts(name, timedelta(seconds=age), times[0], times[-1] + bar, bar=bar, draws=draws)
        for name, age in manifest.facts.items()
    ]
    return MarketWindow(candles, pl.concat([empty_facts(), *facts]))


def random_walk_facts(
    name: str,
    greatest_age: timedelta,
    start: datetime,
    end: datetime,
    *,
    bar: timedelta,
    draws: np.random.Generator,
) -> pl.DataFrame:
    """A fact of the whole market whose value is a random walk, always with one that is young enough."""
    pace = max(greatest_age // 2, bar)
    first = start - 2 * EVENTS * pace
    events = [first + place * pace for place in range((end - first) // pace + 1)]
    rows = [
        (None, event, event + pace, "random walk", name, value)
        for event, value in zip(events, np.cumsum(draws.normal(size=len(events))), strict=True)
    ]
    return pl.DataFrame(rows, schema=FACT_SCHEMA, orient="row")


def random_walk_candles(
    symbol: str, *, bars: int, interval: str, seed: int, deviation: float = 0.004
) -> pl.DataFrame:
    """Candles whose closes are a random walk: nothing about them can be forecast but their volatility."""
    draws = np.random.default_rng(seed)
    steps = draws.normal(size=bars) * deviation
    close = 100 * np.exp(np.cumsum(steps))
    opened = np.concatenate([[100.0], close[:-1]])
    reach = np.abs(draws.normal(size=(2, bars))) * deviation / 2
    step = interval_duration(interval)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "open_time": pl.datetime_range(
                start, start + (bars - 1) * step, step, time_unit="us", time_zone="UTC", eager=True
            ),
            "symbol": [symbol] * bars,
            "open": opened,
            "high": np.maximum(opened, close) * np.exp(reach[0]),
            "low": np.minimum(opened, close) * np.exp(-reach[1]),
            "close": close,
            "volume": np.exp(draws.normal(size=bars)),
        }
    )
