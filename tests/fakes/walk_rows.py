"""Rows to train on, made by the real chain from candles of random walks."""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from cryptoai_assets.lib.canaries import random_walk_candles
from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import bar_grid
from edge_bundle.features.catalog import feature_frame

INTERVAL, BAR = "30m", timedelta(minutes=30)
HORIZONS = (1, 2, 6)
# Few and quick to warm up; the last four are what the volatility models read.
FEW_FEATURES = (
    "log_return_1",
    "log_return_5",
    "close_location",
    "bar_range",
    "return_deviation_5",
    "return_deviation_15",
    "return_deviation_60",
    "return_deviation_240",
)


def walk_grid(symbols: Sequence[str], *, bars: int, seed: int) -> pl.DataFrame:
    """Grid bars of independent random walks."""
    candles = pl.concat(
        random_walk_candles(symbol, bars=bars, interval=INTERVAL, seed=seed * 1000 + k)
        for k, symbol in enumerate(symbols)
    )
    return bar_grid(candles, interval=INTERVAL, max_missing_bars=3)


def rows_of_grid(grid: pl.DataFrame, *, horizons: Sequence[int] = HORIZONS) -> Dataset:
    """Inputs and outcomes of grid bars."""
    features, targets = feature_frame(grid, FEW_FEATURES), target_frame(grid, horizons=horizons)
    return dataset(features, targets, FEW_FEATURES, lookback=1, bar=BAR)


def walk_rows(
    *, bars: int, seed: int, symbols: Sequence[str] = ("BTCUSD",), horizons: Sequence[int] = HORIZONS
) -> Dataset:
    """Inputs and outcomes of random walks."""
    return rows_of_grid(walk_grid(symbols, bars=bars, seed=seed), horizons=horizons)
