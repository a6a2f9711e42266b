"""What a training of the candlestick network is made of: windows, split, network, seed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples, examples_of, made_bars, noisy
from cryptoai_assets.lib.candle_patterns.settings import CandleNetSettings
from cryptoai_assets.lib.charts.dataset import TEST, TRAINING, VALIDATION, ChartSplit
from cryptoai_assets.lib.charts.pieces import BarPool
from cryptoai_assets.lib.charts.plan import SAMPLE_SPLIT, market_split
from cryptoai_assets.lib.charts.windows import Series, TimeArray, series_of
from cryptoai_assets.lib.market import Market
from edge_bundle.candle_reader import WINDOW_BARS

CANDLE_MODEL = "cryptoai-candle-patterns"
# Tests beside the bars as they were traded.
NOISY, WILDER = "noisy", "wilder"


@dataclass(frozen=True, slots=True)
class CandlePlan:
    """Everything that decides the weights, but the candles.

    Parameters
    ----------
    intervals
        Lengths of bars, the first of which is the candles' own.
    noise
        Of the noisy test: deviation of each price, in mean ranges.
    wilder_bars
        Of the test on bars pieced together anew from the held-out ones, whose pace changes as it never did.
    """

    intervals: tuple[str, ...]
    split: ChartSplit
    network: CandleNetSettings
    noise: float
    wilder_bars: int
    seed: int

    def to_json(self) -> Mapping[str, Any]:
        """Plan as JSON holds it."""
        return {**asdict(self), "split": {name: str(value) for name, value in asdict(self.split).items()}}


@dataclass(frozen=True, slots=True)
class CandleSet:
    """Windows by part, and the bars that more can be made of.

    Parameters
    ----------
    tests
        By name: held-out windows as they were traded, with noise, and pieced together anew.
    test_times
        Openings of the last bars of the first test's windows.
    trained_until
        Opening of the last bar in training.
    """

    training: CandleExamples
    validation: CandleExamples
    tests: Mapping[str, CandleExamples]
    test_times: TimeArray
    pool: BarPool
    trained_until: np.datetime64


def candle_set(candles: pl.DataFrame, plan: CandlePlan) -> CandleSet:
    """Windows of validated candles of the plan's first interval."""
    series = [
        one
        for every in plan.intervals
        for one in series_of(candles, interval=plan.intervals[0], every=every, bars=WINDOW_BARS)
    ]
    generator = np.random.default_rng(plan.seed)
    parts = [plan.split.part(one.symbol, one.open_time, one.open_time) for one in series]
    pools = {part: BarPool.of(series, [own == part for own in parts]) for part in (TRAINING, TEST)}
    tests = {
        TEST: _windows(series, parts, TEST, None)[0],
        NOISY: _windows(series, parts, TEST, (plan.noise, generator))[0],
        WILDER: examples_of(made_bars(pools[TEST], plan.wilder_bars, generator)),
    }
    trained = max(
        one.open_time[own == TRAINING].max()
        for one, own in zip(series, parts, strict=True)
        if (own == TRAINING).any()
    )
    return CandleSet(
        _windows(series, parts, TRAINING, None)[0],
        _windows(series, parts, VALIDATION, None)[0],
        tests,
        _windows(series, parts, TEST, None)[1],
        pools[TRAINING],
        trained,
    )


def _windows(
    series: list[Series],
    parts: list[npt.NDArray[np.str_]],
    part: str,
    noise: tuple[float, np.random.Generator] | None,
) -> tuple[CandleExamples, TimeArray]:
    """Windows all of whose bars are of a part, without a hole, and the times of their last bars."""
    found, times = [], []
    for one, own in zip(series, parts, strict=True):
        step = np.diff(one.open_time)
        borders = np.flatnonzero((step != step.min()) | (own[1:] != own[:-1])) + 1
        for bars in np.split(np.arange(len(own)), borders):
            if own[bars[0]] == part and len(bars) >= WINDOW_BARS:
                values = one.bars[bars]
                found.append(examples_of(values if noise is None else noisy(values, *noise)))
                times.append(one.open_time[bars[WINDOW_BARS - 1 :]])
    if not found:
        return CandleExamples.none(), np.empty(0, dtype="datetime64[us]")
    return CandleExamples.joined(found), np.concatenate(times)


CANDLES = CandlePlan(
    intervals=("30m", "1h", "2h"),
    split=SAMPLE_SPLIT,
    network=CandleNetSettings(
        channels=(32, 64, 128),
        inner=96,
        epochs=56,
        cooling_epochs=50,
        windows=400_000,
        made_share=0.75,
        noisy_share=0.4,
        noises=(0.03, 0.1, 0.3),
        common_share=0.2,
        batch=256,
        learning_rate=3e-3,
    ),
    noise=0.1,
    wilder_bars=100_000,
    seed=6,
)
SMALL_CANDLES = replace(
    CANDLES,
    intervals=("30m",),
    network=replace(CANDLES.network, epochs=2, cooling_epochs=1, windows=50_000),
    wilder_bars=10_000,
)


def market_candle_plan(plan: CandlePlan, market: Market, candles: pl.DataFrame) -> CandlePlan:
    """Same plan on the candles of a market: its own bars, its last symbol and its last months held out."""
    split = market_split(market, candles)
    return replace(plan, intervals=(market.interval,), split=split)
