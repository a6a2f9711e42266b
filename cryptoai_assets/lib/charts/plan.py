"""What a training of the chart networks is made of: the windows, the split, the networks, the seed."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from cryptoai_assets.lib.charts.dataset import TRAINING, ChartAmounts, ChartSet, ChartSplit, chart_set
from cryptoai_assets.lib.charts.pieces import BarPool
from cryptoai_assets.lib.charts.settings import (
    ChartSettings,
    ChartTraining,
    CloseNetSettings,
    PictureCnnSettings,
    VisionTransformerSettings,
)
from cryptoai_assets.lib.charts.windows import LabelledSeries, labelled, series_of
from cryptoai_assets.lib.market import Market
from edge_bundle.chart import CHART_60, ChartFormat
from edge_bundle.chart_rule import RULE, PatternRule

PATTERN_MODEL = "cryptoai-chart-patterns"
# Of a market's time, at which its validation and its test begin.
VALIDATION_SHARE, TEST_SHARE = 0.7, 0.8


@dataclass(frozen=True, slots=True)
class ChartPlan:
    """Everything that decides the weights, but the candles.

    Parameters
    ----------
    intervals
        Lengths of bars, the first of which is the candles' own.
    networks
        The one that is shipped first, then those beside it.
    """

    chart: ChartFormat
    rule: PatternRule
    intervals: tuple[str, ...]
    split: ChartSplit
    amounts: ChartAmounts
    networks: tuple[ChartSettings, ...]
    seed: int

    def to_json(self) -> Mapping[str, Any]:
        """Plan as JSON holds it."""
        networks = {settings.kind: asdict(settings) for settings in self.networks}
        split = {name: str(value) for name, value in asdict(self.split).items()}
        return {**asdict(self), "split": split, "networks": networks}


def market_plan(plan: ChartPlan, market: Market, candles: pl.DataFrame) -> ChartPlan:
    """Same plan on the candles of a market: its own bars, and its own split."""
    return replace(plan, intervals=(market.interval,), split=market_split(market, candles))


def market_split(market: Market, candles: pl.DataFrame) -> ChartSplit:
    """Split of a market: its last symbol and its last months are held out; of one symbol none is."""
    times = candles["open_time"].sort()
    first: datetime = times[0]
    last: datetime = times[-1]
    return ChartSplit(
        held_out_symbol=max(market.symbols) if len(market.symbols) > 1 else "",
        validation_start=first + VALIDATION_SHARE * (last - first),
        test_start=first + TEST_SHARE * (last - first),
    )


def labelled_series(
    candles: pl.DataFrame, plan: ChartPlan, tell: Callable[[str], None]
) -> list[LabelledSeries]:
    """All windows of validated candles of the plan's first interval, labelled."""
    found = []
    for every in plan.intervals:
        own = series_of(candles, interval=plan.intervals[0], every=every, bars=plan.chart.bars)
        for series in own:
            found.append(labelled(series, plan.chart, plan.rule))
            tell(f"{series.symbol}, {every}: {len(series.last):,} windows labelled")
    return found


def planned_set(candles: pl.DataFrame, plan: ChartPlan, tell: Callable[[str], None]) -> ChartSet:
    """Dataset of a plan.

    Raises
    ------
    ChartDatasetError
        When the candles are too few for it.
    """
    return chart_set(
        labelled_series(candles, plan, tell),
        chart=plan.chart,
        rule=plan.rule,
        split=plan.split,
        amounts=plan.amounts,
        seed=plan.seed,
    )


def bar_pool(candles: pl.DataFrame, plan: ChartPlan) -> BarPool:
    """Bars of the plan's training, to be joined anew: none of the held-out symbol, and none after its end."""
    found = [
        series
        for every in plan.intervals
        for series in series_of(candles, interval=plan.intervals[0], every=every, bars=plan.chart.bars)
    ]
    parts = [plan.split.part(one.symbol, one.open_time, one.open_time) for one in found]
    return BarPool.of(found, [part == TRAINING for part in parts])


def _training(epochs: int, images: int) -> ChartTraining:
    return ChartTraining(
        epochs=epochs,
        cooling_epochs=max(1, epochs // 2),
        images=images,
        fresh_share=0.75,
        none_share=0.25,
        batch=32,
        learning_rate=1e-3,
        weight_decay=0.02,
        turn_weight=3.0,
        pointer_weight=0.5,
    )


SAMPLE_SPLIT = ChartSplit(
    held_out_symbol="EOSUSD",
    validation_start=datetime(2019, 3, 1, tzinfo=UTC),
    test_start=datetime(2019, 5, 15, tzinfo=UTC),
)
FULL_CHARTS = ChartPlan(
    chart=CHART_60,
    rule=RULE,
    intervals=("30m", "1h", "2h"),
    split=SAMPLE_SPLIT,
    amounts=ChartAmounts(patterns=6000, none_share=0.6, drawings=2500),
    networks=(
        VisionTransformerSettings(
            width=64,
            stem_bars=(5, 5, 5),
            stem_steps=2048,
            stem_batch=64,
            stem_rate=3e-3,
            heads=4,
            layers=4,
            inner=128,
            training=_training(6, 4096),
        ),
        PictureCnnSettings(filters=(8, 16, 32, 32), training=_training(12, 8192)),
        CloseNetSettings(width=64, layers=8, training=_training(24, 8192)),
    ),
    seed=6,
)
SMALL_CHARTS = ChartPlan(
    chart=CHART_60,
    rule=RULE,
    intervals=("30m",),
    split=SAMPLE_SPLIT,
    amounts=ChartAmounts(patterns=400, none_share=0.6, drawings=100),
    networks=(
        VisionTransformerSettings(
            width=64,
            stem_bars=(5, 5, 5),
            stem_steps=128,
            stem_batch=64,
            stem_rate=3e-3,
            heads=4,
            layers=2,
            inner=128,
            training=_training(1, 4096),
        ),
    ),
    seed=6,
)
