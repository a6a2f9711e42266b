"""How long the online store is read in each of its back ends, and how long an explanation takes."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarks.rows import BenchRow, alternated_seconds
from fakes.redis_server import redis_server
from fakes.tiny_bundle import walk_candles
from fakes.walk_rows import BAR, HORIZONS

from cryptoai_assets.lib.datasets import dataset
from cryptoai_assets.lib.export import exported, write_bundle
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.targets import target_frame
from cryptoai_serving.bar_shelf import KEPT_BARS, BarsPlace, RedisPlace
from cryptoai_serving.bars import BarStore
from edge_bundle.candles import newest_bars
from edge_bundle.explanation import Explainer
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.windows import MarketWindow, window_grid

ROUNDS = 200
# What a forecast of short memory reads, and the most that the catalog may ever need.
WINDOWS = (800, 4_500)
READ_GOAL_MS, EXPLAIN_GOAL_MS = 2.0, 200.0
LONGEST_WARM_UP = 400


def measure() -> list[BenchRow]:
    """Rows of the room."""
    return [*_reads(), *_explanations()]


def _reads() -> list[BenchRow]:
    candles = walk_candles(("BTCUSD",), bars=KEPT_BARS, interval="1m", seed=1)
    rows = []
    with redis_server() as server, TemporaryDirectory() as folder:
        places: dict[str, BarsPlace] = {
            "sqlite": Path(folder) / "bars.db",
            "redis": RedisPlace(server.address, "bench"),
        }
        for bars in WINDOWS:
            for name, place in places.items():
                with BarStore(place) as store:
                    store.write_bars(candles)
                    (seconds,) = alternated_seconds(partial(store.window, ["BTCUSD"], bars), rounds=ROUNDS)
                value = float(np.median(seconds)) * 1e3
                rows.append(
                    BenchRow(
                        f"online/{name}-read-{bars}-bars-p50",
                        value,
                        "ms",
                        READ_GOAL_MS,
                        value <= READ_GOAL_MS,
                        "none, one symbol of a full store, on loopback",
                    )
                )
    return rows


def _explanations() -> list[BenchRow]:
    market = replace(market_preset("sample"), symbols=("BTCUSD",))
    names = tuple(name for name, feature in catalog().items() if feature.warmup <= LONGEST_WARM_UP)
    window = MarketWindow(walk_candles(market.symbols, bars=6_000, interval=market.interval, seed=1))
    grid = window_grid(window, interval=market.interval, max_missing_bars=market.max_missing_bars)
    targets = target_frame(grid, horizons=HORIZONS)
    data = dataset(feature_frame(grid, names), targets, names, lookback=1, bar=BAR)
    fitted = Trees(EnsembleSettings.start(), threads=2).fit(data, horizons=HORIZONS, seed=1)
    at = datetime(2019, 10, 1, tzinfo=UTC)
    with TemporaryDirectory() as folder:
        forecaster = write_bundle(
            Path(folder),
            fitted,
            chosen=exported(fitted, data),
            market=market,
            kind=EnsembleSettings.kind,
            golden=data,
            window=window,
            trained_until=at,
            as_of=at,
            git_commit="0" * 40,
        )
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        explainer = Explainer.of(forecaster)
        newest = data.with_features(fitted.names).values[-1]
        parts = ("", *explainer.members)
        calls = [partial(explainer.explanation, newest, HORIZONS[0], part=part, seed=1) for part in parts]
        calls_made = alternated_seconds(*calls, rounds=10)
        needed = forecaster.manifest.bars_needed
        own_window = MarketWindow(newest_bars(window.candles, needed))
        forecasts = alternated_seconds(partial(forecaster.forecast, own_window), rounds=20)
    asked = f"{len(fitted.names)} features, {needed} bars, a bundle of {size:.1f} MB"
    return [
        BenchRow(
            f"online/explain-{part or 'ensemble-sampled'}-p50",
            (value := float(np.median(own)) * 1e3),
            "ms",
            EXPLAIN_GOAL_MS,
            value <= EXPLAIN_GOAL_MS,
            f"a forecast from its candles; {asked}",
            float(np.median(forecasts[0])) * 1e3,
        )
        for part, own in zip(parts, calls_made, strict=True)
    ]
