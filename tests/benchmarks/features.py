"""How fast the catalog is: a million bars for training, and the shortest sufficient tail for one forecast.

Four plain features are timed against pandas, the indicator kernels against TA-Lib called on arrays; that
both sides compute the same values is asserted first.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import talib
from benchmarks.rows import BenchRow, alternated_seconds

from edge_bundle.candles import bar_grid
from edge_bundle.features.catalog import catalog, computed_features, feature_frame, largest_warmup
from edge_bundle.features.feature import Feature

MILLION = 1_000_000
ROUNDS_MILLION, ROUNDS_TAIL = 3, 200
# A million bars within a coffee's sip, a tail well within the second after a bar closes.
CATALOG_GOAL_S, TAIL_GOAL_MS = 10.0, 50.0
TALIB_KERNELS = ("rsi_3", "rsi_14", "adx_14", "money_flow_index_14")
Array = npt.NDArray[np.float64]


def bars(rows: int) -> pl.DataFrame:
    """Grid of a seeded random walk of one-minute bars."""
    random = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, rows)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.abs(random.normal(0, 5e-4, (2, rows)))
    start = datetime(2020, 1, 1, tzinfo=UTC)
    candles = pl.DataFrame(
        {
            "open_time": pl.datetime_range(
                start, start + timedelta(minutes=rows - 1), "1m", time_unit="us", time_zone="UTC", eager=True
            ),
            "symbol": pl.repeat("BTCUSD", rows, eager=True),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + spread[0]),
            "low": np.minimum(open_, close) * (1 - spread[1]),
            "close": close,
            "volume": random.lognormal(0, 1, rows),
        }
    )
    return bar_grid(candles, interval="1m", max_missing_bars=3)


def plain_features() -> list[Feature]:
    """Return the four features that pandas has as well, with the catalog's building blocks."""
    close = pl.col("close")
    change = close / close.shift(1) - 1
    expressions = {
        "return": change,
        "deviation": change.rolling_std(60),
        "ema": close.ewm_mean(span=20, adjust=False),
        "rsi": catalog()["rsi_14"].expression,
    }
    return [Feature(name, expression, 0, "", "", 1.0) for name, expression in expressions.items()]


def pandas_features(close: "pd.Series[float]") -> dict[str, Array]:
    """Return, rolling deviation, EMA and RSI as a pandas user writes them."""
    change = close.pct_change()
    difference = close.diff()
    gain = difference.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-difference).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    columns = {
        "return": change,
        "deviation": change.rolling(60).std(),
        "ema": close.ewm(span=20, adjust=False).mean(),
        "rsi": 100 - 100 / (1 + gain / loss),
    }
    return {name: column.to_numpy() for name, column in columns.items()}


def talib_features(high: Array, low: Array, close: Array, volume: Array) -> dict[str, Array]:
    """Return the catalog's pure indicator kernels, called on arrays."""
    return {
        "rsi_3": talib.RSI(close, 3),
        "rsi_14": talib.RSI(close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "money_flow_index_14": talib.MFI(high, low, close, volume, 14),
    }


def measure() -> list[BenchRow]:
    """Rows of the room."""
    tail_rows = largest_warmup(list(catalog())) + 1
    return [
        *_rows("1m-rows", bars(MILLION), unit="s", goal=CATALOG_GOAL_S, rounds=ROUNDS_MILLION),
        *_rows("tail", bars(tail_rows), unit="ms", goal=TAIL_GOAL_MS, rounds=ROUNDS_TAIL),
    ]


def _rows(label: str, grid: pl.DataFrame, *, unit: str, goal: float, rounds: int) -> list[BenchRow]:
    names, plain = list(catalog()), plain_features()
    close = grid["close"].to_pandas()
    arrays = [grid[column].to_numpy() for column in ("high", "low", "close", "volume")]
    _assert_equal(computed_features(grid, plain), pandas_features(close))
    _assert_equal(feature_frame(grid, TALIB_KERNELS), talib_features(*arrays))

    def passes() -> list[Array]:
        return [np.log(arrays[2][1:] / arrays[2][:-1]) for _ in names]

    calls: tuple[Callable[[], object], ...] = (
        lambda: feature_frame(grid, names),
        passes,
        lambda: computed_features(grid, plain),
        lambda: pandas_features(close),
        lambda: feature_frame(grid, TALIB_KERNELS),
        lambda: talib_features(*arrays),
    )
    scale = {"s": 1.0, "ms": 1e3}[unit]
    catalog_time, pass_time, plain_time, pandas_time, kernel_time, talib_time = (
        median(durations) * scale for durations in alternated_seconds(*calls, rounds=rounds)
    )
    one_pass_each = f"{len(names)} features against one numpy pass each, over {grid.height:,} bars"
    return [
        BenchRow(
            f"features/catalog-{label}",
            catalog_time,
            unit,
            goal,
            catalog_time <= goal,
            one_pass_each,
            pass_time,
        ),
        BenchRow(
            f"features/plain-{label}",
            plain_time,
            unit,
            pandas_time,
            plain_time <= pandas_time,
            "pandas: return, rolling deviation, EMA, RSI",
            pandas_time,
        ),
        BenchRow(
            f"features/kernels-{label}",
            kernel_time,
            unit,
            reference=f"TA-Lib on arrays: {', '.join(TALIB_KERNELS)}",
            reference_value=talib_time,
        ),
    ]


def _assert_equal(frame: pl.DataFrame, peer: dict[str, Array]) -> None:
    """Both sides hold the same values on the last bar, where every memory is full."""
    ours = [float(frame[name][-1]) for name in peer]
    np.testing.assert_allclose(ours, [values[-1] for values in peer.values()], rtol=1e-6)
