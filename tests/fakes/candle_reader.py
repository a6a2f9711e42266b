"""The bundle of a small candlestick network, untrained, and windows of walks with their patterns."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from fakes.chart_problem import walk_pool

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples, examples_of, made_bars
from cryptoai_assets.lib.candle_patterns.network import CandleModule, CandleProblem, candle_graph
from cryptoai_assets.lib.candle_patterns.plan import CandleSet
from cryptoai_assets.lib.candle_patterns.settings import CandleNetSettings
from cryptoai_assets.lib.candle_patterns.weights import write_reader
from cryptoai_assets.lib.charts.dataset import TEST
from cryptoai_assets.lib.quantization import FP32, ChosenPrecision

NETWORK = CandleNetSettings(
    channels=(8, 8),
    inner=16,
    epochs=2,
    cooling_epochs=1,
    windows=4_000,
    made_share=0.5,
    noisy_share=0.5,
    noises=(0.1, 0.3),
    common_share=0.5,
    batch=128,
    learning_rate=3e-3,
)


@cache
def walk_examples(bars: int = 3_000, seed: int = 2) -> CandleExamples:
    """Windows of one series that nobody traded."""
    return examples_of(made_bars(walk_pool(), bars, np.random.default_rng(seed)))


@cache
def walk_candle_set() -> CandleSet:
    """The same windows in every part."""
    data = walk_examples()
    times = np.datetime64("2020-01-01", "us") + np.arange(len(data)) * np.timedelta64(30, "m")
    return CandleSet(data, data, {TEST: data}, times, walk_pool(), np.datetime64("2019-01-01", "us"))


def candle_problem(*, seed: int = 1) -> CandleProblem:
    """Problem of a small network."""
    return CandleProblem(NETWORK, walk_pool(), walk_examples(), walk_examples(seed=3), seed)


@cache
def untrained_candle_graph() -> onnx.ModelProto:
    """Graph of a network as it begins."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return candle_graph(CandleModule(NETWORK))


def written_reader(folder: Path) -> Path:
    """Folder of a bundle."""
    write_reader(
        folder,
        ChosenPrecision(untrained_candle_graph(), FP32, "not measured"),
        walk_candle_set(),
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        git_commit="abc",
        kind="candles",
    )
    return folder
