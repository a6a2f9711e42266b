"""The market of the loop's study: real minutes, and what of them was known at each midnight."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Self

import polars as pl

from cryptoai_assets.evaluate.fold_files import archive_grid
from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.market import Market, market_preset
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings
from cryptoai_assets.lib.scoring import BootstrapSettings
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import STRETCH_MINIMUM_BARS, STRETCH_SHARE, known_dataset
from edge_bundle.features.catalog import feature_frame

ROOM = "loop"
DAY = timedelta(days=1)
BITCOIN_MINUTES = replace(
    market_preset("live"),
    name="bitcoin-minutes",
    source="archive",
    venue="Bitfinex",
    second_venue=None,
    quote="USD",
    symbols=("BTCUSD",),
    horizons=(5,),
    clock="data",
    history_start=date(2017, 12, 1),
    history_end=date(2018, 6, 1),
    greatest_ages=(),
)
ETHER_MINUTES = replace(BITCOIN_MINUTES, name="ether-minutes", symbols=("ETHUSD",))
# Those of the catalog that a plain recipe reads: what price, range, volume and the hour say.
PLAIN_FEATURES = (
    *(f"log_return_{bars}" for bars in (1, 2, 3, 5, 10, 15, 30, 60, 120, 240)),
    *(f"return_deviation_{bars}" for bars in (5, 15, 60, 240)),
    "close_location",
    "bar_range",
    "ema_distance_20",
    "mean_distance_100",
    "volume_ratio_5",
    "volume_ratio_60",
    "volume_trend_5_240",
    "volatility_ratio_60_240",
    "hour_sine",
    "hour_cosine",
)
# Share of the minutes of the history that must be there.
LEAST_COVER = 0.9


class LoopError(Exception):
    """The loop cannot be replayed.

    ::

        LoopError
        └── EarlyKnowledgeError     a training was given what was not known yet
    """


class EarlyKnowledgeError(LoopError):
    """A training was given bars or outcomes that were not known at its time."""


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """What is replayed.

    Parameters
    ----------
    live_start
        First midnight; what lies before it calibrates the watch, and trains the first champion.
    live_days
        That are replayed.
    window
        Longest time before a midnight that a training reads.
    stretch_share, stretch_minimum_bars
        Of a training's rows, at their end, which only its finished version is scored on.
    resamples
        Of the intervals.
    """

    market: Market
    features: tuple[str, ...]
    live_start: datetime
    live_days: int
    window: timedelta
    model: LightgbmSettings
    seed: int
    stretch_share: float
    stretch_minimum_bars: int
    false_alarms_a_month: float
    resamples: int
    confidence: float

    @property
    def midnights(self) -> list[datetime]:
        """Midnights at which is decided, each before the day that is then served."""
        return [self.live_start + number * DAY for number in range(self.live_days)]

    @property
    def history_start(self) -> datetime:
        """First midnight of the history."""
        return datetime.combine(self.market.history_start, time(), tzinfo=UTC)

    @property
    def bootstrap(self) -> BootstrapSettings:
        """Intervals over blocks of a day."""
        return BootstrapSettings(self.market.bars_a_day, self.resamples, self.seed, self.confidence)


FULL_PLAN = LoopPlan(
    market=BITCOIN_MINUTES,
    features=PLAIN_FEATURES,
    live_start=datetime(2018, 1, 1, tzinfo=UTC),
    live_days=151,
    window=60 * DAY,
    model=LightgbmSettings.start(),
    seed=7,
    stretch_share=STRETCH_SHARE,
    stretch_minimum_bars=STRETCH_MINIMUM_BARS,
    false_alarms_a_month=1.0,
    resamples=2000,
    confidence=0.95,
)
# By symbol; nothing of the plan was chosen on the second.
PLANS = MappingProxyType(
    {plan.market.symbols[0]: plan for plan in (FULL_PLAN, replace(FULL_PLAN, market=ETHER_MINUTES))}
)


@dataclass(frozen=True, slots=True)
class ReplayedMarket:
    """All minutes with features and targets; whoever decides is shown what was known by then.

    .. warning:: `rows` and `outcomes` hold what came later, and are for scoring.

    Parameters
    ----------
    known_rows
        What cuts the frame off at a time: `known_dataset`, or in a test what cheats.
    """

    frame: pl.DataFrame
    plan: LoopPlan
    known_rows: Callable[[pl.DataFrame, Sequence[str], Market, datetime], Dataset] = known_dataset

    @classmethod
    def read(cls, archive: Path, plan: LoopPlan) -> Self:
        """Read the minutes of a file, and compute features and targets.

        Raises
        ------
        LoopError
            When the file does not hold the minutes of the plan's months.
        SourceError
            When it is absent, or does not hold the symbol.
        """
        _, grid = archive_grid(plan.market, archive)
        bars = (plan.live_start + plan.live_days * DAY - plan.history_start) // plan.market.bar
        if grid.height < LEAST_COVER * bars:
            raise LoopError(
                f"{archive} holds {grid.height} bars of {plan.market.interval} of "
                f"{', '.join(plan.market.symbols)} since {plan.market.history_start}; {bars} are replayed"
            )
        return cls.of(grid, plan)

    @classmethod
    def of(cls, grid: pl.DataFrame, plan: LoopPlan) -> Self:
        """Compute features and targets of a grid."""
        features = feature_frame(grid, list(plan.features))
        targets = target_frame(grid, horizons=plan.market.horizons)
        return cls(features.join(targets, on=["open_time", "symbol"], how="left"), plan)

    def known(self, now: datetime) -> Dataset:
        """Rows of the newest window with the outcomes that were known.

        Raises
        ------
        EarlyKnowledgeError
            When `known_rows` gave more than that.
        """
        market, plan = self.plan.market, self.plan
        window = self.between(now - plan.window, now + DAY)
        data = self.known_rows(window, plan.features, market, now)
        horizon = max(market.horizons)
        told = data.targets[f"return_{horizon}"].is_not_null()
        newest, newest_told = data.keys["open_time"].max(), data.keys.filter(told)["open_time"].max()
        for opened, bars in ((newest, 1), (newest_told, horizon + 1)):
            if isinstance(opened, datetime) and opened + bars * market.bar > now:
                raise EarlyKnowledgeError(
                    f"at {now:%Y-%m-%d %H:%M} a training was given the bar of {opened:%Y-%m-%d %H:%M}, "
                    f"which was known {bars} bars later"
                )
        return data

    def between(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Part of the frame with ``start <= open_time < end``."""
        return self.frame.filter(pl.col("open_time").is_between(start, end, closed="left"))

    def rows(self, start: datetime, end: datetime) -> Dataset:
        """Model inputs, to be answered, with everything that followed them, to be scored."""
        part = self.between(start, end)
        return dataset(part, part, self.plan.features, lookback=1, bar=self.plan.market.bar)

    def outcomes(self, until: datetime) -> pl.DataFrame:
        """``open_time``, ``return_bps`` of every bar whose outcome was known by then, and moved."""
        horizon = self.plan.market.horizons[0]
        return (
            self.frame.filter(pl.col("open_time") + (horizon + 1) * self.plan.market.bar <= until)
            .select("open_time", return_bps=pl.col(f"return_{horizon}") * 1e4)
            .filter(pl.col("return_bps").is_not_null(), pl.col("return_bps") != 0)
        )
