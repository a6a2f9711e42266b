"""A market of one coin in which volume tells what comes, so that trees are ahead of every baseline.

It knows nothing about the platform but how one describes a market of one's own.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from edge_bundle.candles import UTC_MICROSECONDS, candle_frame

NAME, SYMBOL, HALF_HOUR = "telling", "BTCUSD", timedelta(minutes=30)
# Four weeks of warm-up, some 3,000 bars to train on, and a final stretch of 2,000.
FIRST, END = datetime(2019, 5, 6, tzinfo=UTC), datetime(2019, 10, 1, tzinfo=UTC)
# Share of a bar's spread that its drift has: right directions of six in ten, under the leak alarm's limit.
EDGE = 0.25
CALM, WILD, WICK = 0.0012, 0.003, 0.0005
SETTINGS = f"""
preset = "sample"
source = "archive"
symbols = ["{SYMBOL}"]
horizons = [1]
models = ["lightgbm"]
history_start = {FIRST:%Y-%m-%d}
history_end = {END:%Y-%m-%d}
max_missing_share = 1.0
"""


def describe(root: Path) -> None:
    """Write the market's settings where the platform looks for them."""
    (root / "markets").mkdir(parents=True)
    (root / "markets" / f"{NAME}.toml").write_text(SETTINGS)


def candles(*, until: datetime, seed: int, wilder_since: datetime, times: float) -> pl.DataFrame:
    """Half-hours of which much or little volume says up for the next one, and much also that it is wild.

    Parameters
    ----------
    until
        The bars before are the same, whatever it is.
    wilder_since, times
        From then on every bar spreads so many times as far.
    """
    opened = pl.datetime_range(
        FIRST, END, HALF_HOUR, closed="left", time_unit="us", time_zone="UTC", eager=True
    )
    volume, surprise, above, below = np.random.default_rng(seed).normal(size=(4, len(opened)))
    before = np.concatenate([[0.0], volume[:-1]])
    spread = np.where(before > 0, WILD, CALM) * np.where(opened >= wilder_since, times, 1.0)
    close = 100 * np.exp(np.cumsum(spread * (EDGE * np.where(np.abs(before) > 0.67, 1, -1) + surprise)))
    begun = np.concatenate([[100.0], close[:-1]])
    drawn = pl.DataFrame(
        {
            "open_time": opened.cast(UTC_MICROSECONDS),
            "symbol": pl.repeat(SYMBOL, len(opened), eager=True),
            "open": begun,
            "high": np.maximum(begun, close) * (1 + np.abs(above) * WICK),
            "low": np.minimum(begun, close) * (1 - np.abs(below) * WICK),
            "close": close,
            "volume": 100 * np.exp(0.7 * volume),
        }
    )
    return candle_frame(drawn.filter(pl.col("open_time") < until))


def against(last: pl.DataFrame, probability_up: float | None, like: pl.DataFrame) -> pl.DataFrame:
    """The bar after `last` that goes the other way than was said, with the size and the volume of `like`.

    Where nothing was said it goes the way of `like`.
    """
    [[before]], [[opened, closed, volume]] = (
        last.select("close").rows(),
        like.select("open", "close", "volume").rows(),
    )
    move = np.log(closed / opened)
    if probability_up is not None:
        move = -abs(move) if probability_up > 0.5 else abs(move)
    after = before * np.exp(move)
    return candle_frame(
        last.with_columns(
            pl.col("open_time") + HALF_HOUR,
            open=pl.lit(before),
            high=pl.lit(max(before, after) * (1 + WICK)),
            low=pl.lit(min(before, after) * (1 - WICK)),
            close=pl.lit(after),
            volume=pl.lit(volume),
        )
    )
