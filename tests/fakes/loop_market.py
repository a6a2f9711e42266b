"""Half-hours whose direction trees can learn: they rise after a usual volume, and fall after any other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from cryptoai_assets.evaluate.loop_market import BITCOIN_MINUTES, DAY, FULL_PLAN, LoopPlan, ReplayedMarket
from edge_bundle.candles import bar_grid

BAR = timedelta(minutes=30)
HISTORY_DAYS, LIVE_DAYS = 120, 9
START = datetime(2018, 1, 1, tzinfo=UTC)
PLAN = replace(
    FULL_PLAN,
    market=replace(
        BITCOIN_MINUTES, name="half-hours", interval="30m", horizons=(1,), history_start=START.date()
    ),
    features=("log_return_1", "log_return_2", "volume_ratio_5", "volume_ratio_60", "bar_range", "hour_sine"),
    live_start=START + HISTORY_DAYS * DAY,
    live_days=LIVE_DAYS,
    window=110 * DAY,
    model=replace(FULL_PLAN.model, trees=20, learning_rate=0.1, leaves=4, rows_a_leaf=200, column_share=1.0),
    stretch_share=0.4,
    stretch_minimum_bars=300,
    resamples=200,
)


def candles(plan: LoopPlan = PLAN, *, seed: int = 3) -> pl.DataFrame:
    """Candles up to the plan's end."""
    draw = np.random.default_rng(seed)
    bars = (plan.live_start + plan.live_days * DAY - plan.history_start) // BAR
    times = [plan.history_start + number * BAR for number in range(bars)]
    drawn = draw.normal(size=(bars, 2))  # a shorter plan has the same first bars
    volume, moves = np.exp(drawn[:, 0]), 0.003 * drawn[:, 1]
    moves[1:] += np.where(np.abs(drawn[:-1, 0]) < 0.6745, 0.0008, -0.0008)
    close = 1000 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[1000.0], close[:-1]])
    return pl.DataFrame(
        {
            "open_time": times,
            "symbol": "BTCUSD",
            "open": opened,
            "high": np.maximum(opened, close) * 1.0005,
            "low": np.minimum(opened, close) * 0.9995,
            "close": close,
            "volume": volume,
        },
        schema_overrides={"open_time": pl.Datetime("us", "UTC")},
    )


def replayed(found: pl.DataFrame, plan: LoopPlan = PLAN) -> ReplayedMarket:
    """Replay candles."""
    return ReplayedMarket.of(bar_grid(found, interval=plan.market.interval, max_missing_bars=3), plan)
