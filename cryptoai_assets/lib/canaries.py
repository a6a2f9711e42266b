"""Canaries: checks of a loaded bundle that a model which sees the future does not survive."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import dataset
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.gate import CanaryResult
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import bar_grid, interval_duration
from edge_bundle.features.catalog import feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

RANDOM_WALK_BARS = 6000
RANDOM_WALK_DEVIATIONS = 4.0


def canaries(forecaster: Forecaster, window: MarketWindow, *, seed: int) -> tuple[CanaryResult, ...]:
    """Run all canaries; the window must reach well past `bars_needed`."""
    return (
        history_does_not_matter(forecaster, window),
        later_bars_do_not_matter(forecaster, window),
        random_walks_stay_unknown(forecaster, seed=seed),
    )


def history_does_not_matter(forecaster: Forecaster, window: MarketWindow) -> CanaryResult:
    """A forecast from the shortest sufficient tail equals the one from the whole window."""
    tail = MarketWindow(
        window.candles.group_by("symbol", maintain_order=True).tail(2 * forecaster.manifest.bars_needed),
        window.facts,
    )
    same = forecaster.forecast(tail) == forecaster.forecast(window)
    return CanaryResult(
        "history_does_not_matter", same, "a longer history changes the forecast" if not same else "equal"
    )


def later_bars_do_not_matter(forecaster: Forecaster, window: MarketWindow) -> CanaryResult:
    """Inputs of earlier rows stay the same when the last bars are replaced by other prices."""
    manifest = forecaster.manifest
    cut = window.candles["open_time"].unique().sort()[-50]
    factor = pl.when(pl.col("open_time") >= cut).then(3.0).otherwise(1.0)
    changed = window.candles.with_columns(pl.col("open", "high", "low", "close") * factor)

    def earlier(candles: pl.DataFrame) -> pl.DataFrame:
        grid = bar_grid(candles, interval=manifest.interval, max_missing_bars=manifest.max_missing_bars)
        return feature_frame(grid, manifest.features).filter(pl.col("open_time") < cut)

    before, after = earlier(window.candles), earlier(changed)
    differing = [name for name in manifest.features if not before[name].equals(after[name], null_equal=True)]
    detail = f"read later bars: {', '.join(differing)}" if differing else "equal"
    return CanaryResult("later_bars_do_not_matter", not differing, detail)


def random_walks_stay_unknown(forecaster: Forecaster, *, seed: int) -> CanaryResult:
    """On candles of a random walk the direction is right as often as chance allows."""
    manifest = forecaster.manifest
    candles = random_walk_candles(
        manifest.symbols[0], bars=RANDOM_WALK_BARS, interval=manifest.interval, seed=seed
    )
    grid = bar_grid(candles, interval=manifest.interval, max_missing_bars=manifest.max_missing_bars)
    rows = dataset(
        feature_frame(grid, manifest.features),
        target_frame(grid, horizons=manifest.horizons),
        manifest.features,
        lookback=manifest.lookback,
        bar=interval_duration(manifest.interval),
    )
    predicted = graph_predictions(forecaster, rows.values)
    worst = 0.0
    for column, horizon in enumerate(manifest.horizons):
        up = rows.target("up", horizon)
        # Overlapping horizons repeat themselves: only every h-th row counts.
        known = np.flatnonzero(np.isfinite(up))[::horizon]
        right = ((predicted.probability_up[known, column] > 0.5) == (up[known] > 0.5)).mean()
        worst = max(worst, abs(right - 0.5) * 2 * np.sqrt(len(known)))
    return CanaryResult(
        "random_walks_stay_unknown",
        worst <= RANDOM_WALK_DEVIATIONS,
        f"accuracy is {worst:.1f} standard errors off one half, at most {RANDOM_WALK_DEVIATIONS:.0f} allowed",
    )


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
