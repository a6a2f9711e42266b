"""How long the online store is read in each of its back ends, and how long an explanation takes."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmarks.rows import BenchRow, alternated_seconds
from fakes.redis_server import redis_server
from fakes.tiny_bundle import walk_candles
from fakes.untrained_network import untrained_network
from fakes.walk_rows import BAR, HORIZONS

from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.export import exported, forecaster_graph, write_bundle
from cryptoai_assets.lib.market import Market, market_preset
from cryptoai_assets.lib.models.coupling import VOLATILITY_ANCHOR
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.fitted import FittedForecaster
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.quantization import FP32, ChosenPrecision
from cryptoai_assets.lib.targets import target_frame
from cryptoai_serving.bar_shelf import KEPT_BARS, BarsPlace, RedisPlace
from cryptoai_serving.bars import BarStore
from edge_bundle.candles import newest_bars
from edge_bundle.explanation import Explainer, Explanation
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import Float32Array, MarketWindow, window_grid

ROUNDS = 200
# What a forecast of short memory reads, and the most that the catalog may ever need.
WINDOWS = (800, 4_500)
READ_GOAL_MS, EXPLAIN_GOAL_MS, NETWORK_GOAL_MS = 2.0, 200.0, 500.0
LONGEST_WARM_UP = 400
NETWORKS: tuple[NetworkSettings, ...] = (LstmSettings.start(), TransformerSettings.start())
NETWORK_FEATURES, EXPLAINED_BARS, BARS = 96, 40, 6_000
AT = datetime(2019, 10, 1, tzinfo=UTC)


def measure() -> list[BenchRow]:
    """Rows of the room."""
    return [*_reads(), *_explanations(), *_network_explanations()]


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
    names = tuple(name for name, feature in catalog().items() if feature.warmup <= LONGEST_WARM_UP)
    market, window, data = _rows(names, lookback=1)
    fitted = Trees(EnsembleSettings.start(), threads=2).fit(data, horizons=HORIZONS, seed=1)
    with TemporaryDirectory() as folder:
        forecaster = _bundle(
            Path(folder), fitted, exported(fitted, data), market, window, data, kind=EnsembleSettings.kind
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


def _network_explanations() -> list[BenchRow]:
    """Networks of the size that is trained, at full precision, at a bar not explained before."""
    quickest = sorted(catalog(), key=lambda name: catalog()[name].warmup)[: NETWORK_FEATURES - 1]
    names = tuple(dict.fromkeys((*quickest, VOLATILITY_ANCHOR)))
    market, window, data = _rows(names, lookback=NETWORKS[0].lookback)
    rows = []
    for settings in NETWORKS:
        fitted = untrained_network(settings, data, horizons=HORIZONS, seed=1)
        chosen = ChosenPrecision(forecaster_graph(fitted), FP32, "the slowest that may be chosen")
        with TemporaryDirectory() as folder:
            forecaster = _bundle(Path(folder), fitted, chosen, market, window, data, kind=settings.kind)
            explainer = Explainer.of(forecaster, threads=os.cpu_count() or 1)
            newest = iter(data.with_features(fitted.names).windows(settings.lookback, np.arange(-50, 0)))
            found: list[Explanation] = []
            [seconds] = alternated_seconds(partial(_explain, explainer, newest, found), rounds=EXPLAINED_BARS)
        value = float(np.percentile(seconds, 99)) * 1e3
        largest = [one for each in found for one in each.contributions[:5]]
        errors = [one.standard_error or 0.0 for one in largest]
        sizes = [abs(one.contribution) for one in largest]
        told = f"{len(fitted.names)} features, {found[0].orders} orders; the largest five have an error of "
        told += f"{np.mean(errors) / np.mean(sizes):.0%} of their size"
        rows.append(
            BenchRow(
                f"online/explain-{settings.kind}-p99",
                value,
                "ms",
                NETWORK_GOAL_MS,
                value <= NETWORK_GOAL_MS,
                told,
            )
        )
    return rows


def _explain(explainer: Explainer, windows: Iterator[Float32Array], found: list[Explanation]) -> None:
    found.append(explainer.explanation(next(windows), HORIZONS[0], part="", seed=1))


def _rows(names: tuple[str, ...], *, lookback: int) -> tuple[Market, MarketWindow, Dataset]:
    """Market of one symbol, its candles, and their rows over features."""
    market = replace(market_preset("sample"), symbols=("BTCUSD",))
    window = MarketWindow(walk_candles(market.symbols, bars=BARS, interval=market.interval, seed=1))
    grid = window_grid(window, interval=market.interval, max_missing_bars=market.max_missing_bars)
    targets = target_frame(grid, horizons=HORIZONS)
    return market, window, dataset(feature_frame(grid, names), targets, names, lookback=lookback, bar=BAR)


def _bundle(
    folder: Path,
    fitted: FittedForecaster,
    chosen: ChosenPrecision,
    market: Market,
    window: MarketWindow,
    data: Dataset,
    *,
    kind: str,
) -> Forecaster:
    return write_bundle(
        folder,
        fitted,
        chosen=chosen,
        market=market,
        kind=kind,
        golden=data,
        window=window,
        trained_until=AT,
        as_of=AT,
        git_commit="0" * 40,
    )
