"""How fast the catalog is: a million bars for training, and the shortest sufficient tail for one forecast.

Plain features are timed against pandas, the indicator kernels against TA-Lib called on arrays. Both sides
have the bars of one symbol and give equal columns, which is asserted first; ours look for segments besides,
and blank what is not warmed up. Memory is that of a process which computes the catalog once.
"""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import talib
from benchmarks.rows import BenchRow, alternated_seconds
from benchmarks.sources import RATIO_GOAL, SHORT_MONTHS, TIMES, month_of_bars

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import market_preset, month_after
from cryptoai_assets.lib.monthly_features import month_features
from edge_bundle.candles import bar_grid
from edge_bundle.facts import empty_facts
from edge_bundle.features.catalog import (
    catalog,
    feature_frame,
    largest_warmup,
    newest_features,
    sourced_catalog,
)
from edge_bundle.features.sources import with_sources

MILLION = 1_000_000
ROUNDS_MILLION, ROUNDS_TAIL, ROUNDS_MONTH = 3, 200, 5
# Of the peers for one of the catalog: a tenth of a second is soon disturbed.
PEER_ROUNDS = 5
SYMBOLS = ("BTCUSD", "ETHUSD", "LTCUSD", "XRPUSD", "EOSUSD")
NEW_MONTH, MINUTE = "2024-11", timedelta(minutes=1)
# A million bars within a sip of coffee, a tail well within the second after a bar closes.
CATALOG_GOAL_S, TAIL_GOAL_MS, MEMORY_GOAL = 3.0, 10.0, 4.0
PANDAS_GOAL, TALIB_GOAL = 1 / 4, 1.5
Array = npt.NDArray[np.float64]
MEMORY_PROGRAM = """
import re
from pathlib import Path
from benchmarks.features import MILLION, bars
from edge_bundle.features.catalog import catalog, feature_frame
def most_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
grid = bars(MILLION)
before = most_bytes()
frame = feature_frame(grid, list(catalog()))
print((most_bytes() - before) / frame.estimated_size())
"""


def bars(rows: int, symbol: str = "BTCUSD", seed: int = 7) -> pl.DataFrame:
    """Grid of a seeded random walk of one-minute bars."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, rows)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.abs(random.normal(0, 5e-4, (2, rows)))
    start = datetime(2020, 1, 1, tzinfo=UTC)
    candles = pl.DataFrame(
        {
            "open_time": pl.datetime_range(
                start, start + timedelta(minutes=rows - 1), "1m", time_unit="us", time_zone="UTC", eager=True
            ),
            "symbol": pl.repeat(symbol, rows, eager=True),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + spread[0]),
            "low": np.minimum(open_, close) * (1 - spread[1]),
            "close": close,
            "volume": random.lognormal(0, 1, rows),
        }
    )
    return bar_grid(candles, interval="1m", max_missing_bars=3)


def pandas_features(bars: pd.DataFrame) -> dict[str, Array]:
    """Compute the plain ones of the catalog's features as a pandas user writes them, for one symbol."""
    close, volume = bars["close"], bars["volume"]
    before, one_bar, difference = close.shift(1), np.log(close).diff(), close.diff()
    spread = np.sqrt((one_bar**2).rolling(60).mean())
    gain = difference.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-difference).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    signal = macd.ewm(span=9, adjust=False).mean()
    unit = close * spread
    ranges = [bars["high"] - bars["low"], (bars["high"] - before).abs(), (bars["low"] - before).abs()]
    true_range = pd.concat(ranges, axis=1).max(axis=1)
    middle, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    lowest, highest = bars["low"].rolling(14).min(), bars["high"].rolling(14).max()
    stochastic = (close - lowest) / (highest - lowest)
    columns = {
        **{f"simple_return_{n}": close.pct_change(n) for n in (1, 5, 15, 60)},
        "return_deviation_60": spread,
        "mean_distance_20": np.log(close / middle) / spread,
        "ema_distance_20": np.log(close / close.ewm(span=20, adjust=False).mean()) / spread,
        "rsi_14": 100 - 100 / (1 + gain / loss),
        "macd": macd / unit,
        "macd_signal": signal / unit,
        "macd_histogram": (macd - signal) / unit,
        "average_true_range_14": true_range.ewm(alpha=1 / 14, adjust=False).mean() / close,
        "bollinger_width_20": 4 * deviation / middle,
        "bollinger_position_20": 0.5 + (close - middle) / (4 * deviation),
        "stochastic_14": stochastic,
        "stochastic_mean_14": stochastic.rolling(3).mean(),
        "on_balance_volume_20": (np.sign(difference) * volume).rolling(20).sum() / volume.rolling(20).sum(),
    }
    return {name: column.to_numpy() for name, column in columns.items()}


def talib_features(high: Array, low: Array, close: Array, volume: Array) -> dict[str, Array]:
    """Return the catalog's indicators that TA-Lib has as well, called on arrays."""
    aroon_down, aroon_up = talib.AROON(high, low, 25)
    return {
        **{f"rsi_{n}": talib.RSI(close, n) for n in (3, 7, 14, 28)},
        "adx_14": talib.ADX(high, low, close, 14),
        "plus_direction_14": talib.PLUS_DI(high, low, close, 14),
        "minus_direction_14": talib.MINUS_DI(high, low, close, 14),
        "money_flow_index_14": talib.MFI(high, low, close, volume, 14),
        "aroon_up_25": aroon_up,
        "aroon_down_25": aroon_down,
        "cci_20": talib.CCI(high, low, close, 20),
        "williams_r_60": talib.WILLR(high, low, close, 60),
        "stochastic_14": talib.STOCHF(high, low, close, 14)[0] / 100,
        "rate_of_change_12": talib.ROC(close, 12),
        "percentage_oscillator": talib.PPO(close, 12, 26, 1),
        "average_true_range_14": talib.ATR(high, low, close, 14) / close,
    }


def measure() -> list[BenchRow]:
    """Rows of the room."""
    tail_rows = largest_warmup(list(catalog())) + 1
    return [
        *_rows("1m-rows", bars(MILLION), unit="s", goal=CATALOG_GOAL_S, rounds=ROUNDS_MILLION),
        *_rows("tail", bars(tail_rows), unit="ms", goal=TAIL_GOAL_MS, rounds=ROUNDS_TAIL),
        _market(),
        _memory(),
        _month(),
    ]


def _market() -> BenchRow:
    """Whole catalog of one symbol among five: its context is made from the bars of all."""
    names = list(sourced_catalog(symbols=SYMBOLS, facts=(), charts=False))
    grid = pl.concat(bars(MILLION, symbol, seed) for seed, symbol in enumerate(SYMBOLS))

    def features() -> pl.DataFrame:
        market = with_sources(grid, names, facts=empty_facts(), greatest_age={}, bar=MINUTE)
        return feature_frame(market.filter(pl.col("symbol") == SYMBOLS[1]), names)

    seconds = median(alternated_seconds(features, rounds=ROUNDS_MILLION)[0])
    return BenchRow(
        "features/market-1m-rows",
        seconds,
        "s",
        CATALOG_GOAL_S,
        seconds <= CATALOG_GOAL_S,
        f"{len(names)} features of one symbol, its context from {len(SYMBOLS)} of {MILLION:,} bars each",
    )


def _month() -> BenchRow:
    """What the asset of features does for one new month, with a history and with ten times that."""
    names = list(catalog())
    with TemporaryDirectory() as folder:

        def month_with(months: int) -> Callable[[], None]:
            home = Home(Path(folder, str(months)), market_preset("live"))
            symbol = home.market.symbols[0]
            for back in range(months + 1):
                month = month_after(NEW_MONTH, -back)
                candles = month_of_bars(month).with_columns(symbol=pl.lit(symbol))
                home.stores.clean_candles.write(symbol, month, candles)
            return lambda: home.features.write(
                symbol, NEW_MONTH, month_features(home, symbol, NEW_MONTH, names)
            )

        calls = month_with(SHORT_MONTHS), month_with(TIMES * SHORT_MONTHS)
        once, tenfold = (median(own) for own in alternated_seconds(*calls, rounds=ROUNDS_MONTH))
    return BenchRow(
        "features/one-new-month",
        tenfold,
        "s",
        RATIO_GOAL * once,
        tenfold <= RATIO_GOAL * once,
        f"{SHORT_MONTHS} months of minutes before it, here {TIMES * SHORT_MONTHS}",
        once,
    )


def _memory() -> BenchRow:
    found = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM], capture_output=True, text=True, check=True)
    outputs = float(found.stdout)
    return BenchRow(
        "features/memory-1m-rows",
        outputs,
        "outputs",
        MEMORY_GOAL,
        outputs <= MEMORY_GOAL,
        "most memory beyond the bars, in sizes of the frame that comes out",
    )


def _rows(label: str, grid: pl.DataFrame, *, unit: str, goal: float, rounds: int) -> list[BenchRow]:
    names = list(catalog())
    frame = grid.select("high", "low", "close", "volume").to_pandas()
    arrays = tuple(grid[column].to_numpy() for column in ("high", "low", "close", "volume"))
    peers = pandas_features(frame), talib_features(*arrays)
    plain, kernels = (list(peer) for peer in peers)
    for peer in peers:
        _assert_equal(feature_frame(grid, list(peer)), peer)
    if strict := grid.height == MILLION:
        _assert_finite_memory(grid, names)

    def features() -> pl.DataFrame:
        return feature_frame(grid, names) if strict else newest_features(grid, names, bars=1)

    def passes() -> list[Array]:
        return [np.log(arrays[2][1:] / arrays[2][:-1]) for _ in names]

    against_peers: tuple[Callable[[], object], ...] = (
        lambda: feature_frame(grid, plain),
        lambda: pandas_features(frame),
        lambda: feature_frame(grid, kernels),
        lambda: talib_features(*arrays),
    )
    scale = {"s": 1.0, "ms": 1e3}[unit]
    catalog_time, pass_time, plain_time, pandas_time, kernel_time, talib_time = (
        median(durations) * scale
        for durations in (
            *alternated_seconds(features, passes, rounds=rounds),
            *alternated_seconds(*against_peers, rounds=PEER_ROUNDS * rounds),
        )
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
            PANDAS_GOAL * pandas_time if strict else None,
            plain_time <= PANDAS_GOAL * pandas_time if strict else None,
            f"pandas: {', '.join(plain)}",
            pandas_time,
        ),
        BenchRow(
            f"features/kernels-{label}",
            kernel_time,
            unit,
            TALIB_GOAL * talib_time if strict else None,
            kernel_time <= TALIB_GOAL * talib_time if strict else None,
            f"TA-Lib on arrays: {', '.join(kernels)}",
            talib_time,
        ),
    ]


def _assert_finite_memory(grid: pl.DataFrame, names: list[str]) -> None:
    """The last row is the same from a million bars and from the shortest tail."""
    whole, tail = feature_frame(grid, names).tail(1), newest_features(grid, names, bars=1)
    scales = [feature.scale for feature in catalog().values()]
    for name, scale in zip(names, scales, strict=True):
        np.testing.assert_allclose(tail[name][0], whole[name][0], rtol=1e-9, atol=1e-9 * scale, err_msg=name)


def _assert_equal(frame: pl.DataFrame, peer: dict[str, Array]) -> None:
    """Both sides hold the same values on the last bar, where every memory is full."""
    ours = [float(frame[name][-1]) for name in peer]
    np.testing.assert_allclose(ours, [values[-1] for values in peer.values()], rtol=1e-6)
