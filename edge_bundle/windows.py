"""The market window that a forecast is made from, and the model's input made from its features."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from edge_bundle.candles import bar_grid, interval_duration, validated_candles
from edge_bundle.facts import empty_facts, no_trade_slots, validated_facts
from edge_bundle.features.catalog import feature_frame, largest_warmup
from edge_bundle.features.sources import with_sources

Float32Array = npt.NDArray[np.float32]
INPUT_KEYS = ("open_time", "symbol", "traded")
ROWS_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class MarketWindow:
    """What is known about a market: candles in `CANDLE_SCHEMA`, and facts in `FACT_SCHEMA`, maybe none."""

    candles: pl.DataFrame
    facts: pl.DataFrame = field(default_factory=empty_facts)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Rows that a model can read.

    Parameters
    ----------
    keys
        ``open_time``, ``symbol`` and ``traded`` of each row's last bar.
    values
        (rows, lookback, features), finite.
    """

    keys: pl.DataFrame
    values: Float32Array

    def input_sha256(self, row: int) -> str:
        """SHA-256 of the bytes that the model reads for one row."""
        return hashlib.sha256(np.ascontiguousarray(self.values[row]).tobytes()).hexdigest()


def bars_needed(names: Sequence[str], lookback: int) -> int:
    """Bars in a row that a forecast needs: the lookback and the largest warm-up before it."""
    return lookback + largest_warmup(names)


def window_grid(window: MarketWindow, *, interval: str, max_missing_bars: int) -> pl.DataFrame:
    """Grid bars of a window; training, service and device all come through here.

    Raises
    ------
    CandlesRefusedError, FactsRefusedError
        When the window breaks its contract.
    """
    candles = validated_candles(window.candles, interval=interval)
    facts = validated_facts(window.facts)
    no_trade = None if facts.is_empty() else no_trade_slots(facts)
    return bar_grid(candles, interval=interval, max_missing_bars=max_missing_bars, no_trade=no_trade)


def window_features(
    window: MarketWindow,
    names: Sequence[str],
    *,
    interval: str,
    max_missing_bars: int,
    greatest_age: Mapping[str, timedelta] | None = None,
) -> pl.DataFrame:
    """Features of every grid bar of a window; see `feature_frame`.

    Parameters
    ----------
    greatest_age
        By fact that the features read; see `edge_bundle.features.sources.with_sources`.
    """
    grid = sourced_grid(
        window, names, interval=interval, max_missing_bars=max_missing_bars, greatest_age=greatest_age
    )
    return feature_frame(grid, names)


def sourced_grid(
    window: MarketWindow,
    names: Sequence[str],
    *,
    interval: str,
    max_missing_bars: int,
    greatest_age: Mapping[str, timedelta] | None = None,
) -> pl.DataFrame:
    """Grid bars of a window with every column that the named features read; see `window_features`."""
    grid = window_grid(window, interval=interval, max_missing_bars=max_missing_bars)
    bar, ages = interval_duration(interval), greatest_age or {}
    return with_sources(grid, names, facts=window.facts, greatest_age=ages, bar=bar)


def model_input(frame: pl.DataFrame, names: Sequence[str], *, lookback: int, bar: timedelta) -> ModelInput:
    """Model input of every row of a feature frame that has `lookback` complete bars behind it.

    Parameters
    ----------
    frame
        Sorted by symbol and open time, with `INPUT_KEYS` and the named features. A row with a null feature is
        complete in none of the inputs that would hold it; an input never reaches across a hole.
    bar
        Length of a bar: rows further apart lie on two sides of a hole.
    """
    bars, last = complete_bars(frame, names, lookback=lookback, bar=bar)
    windows = last[:, None] + np.arange(1 - lookback, 1)
    return ModelInput(keys=frame.select(INPUT_KEYS)[last], values=bars[windows])


def complete_bars(
    frame: pl.DataFrame, names: Sequence[str], *, lookback: int, bar: timedelta
) -> tuple[Float32Array, npt.NDArray[np.int64]]:
    """Bars of a feature frame, and the places of those that end a complete input; see `model_input`.

    Returns
    -------
    tuple
        (rows of the frame, features), not finite where a feature is null; and (inputs,), ascending.
    """
    values = _float32_values(frame[list(names)])
    complete: npt.NDArray[np.bool_] = np.all(np.isfinite(values), axis=1)
    unbroken = (pl.col("symbol") == pl.col("symbol").shift(1)) & (pl.col("open_time").diff() == bar)
    broken = ~complete | ~frame.select(unbroken.fill_null(False)).to_series().to_numpy()
    # A run starts where a row is incomplete or follows a hole; an input needs `lookback` rows of one run.
    position = np.arange(len(values))
    run_start = np.maximum.accumulate(np.where(broken, position, 0)) if len(values) else position
    length = position - run_start + np.where(complete[run_start], 1, 0) if len(values) else position
    return values, np.flatnonzero(complete & (length >= lookback))


def _float32_values(frame: pl.DataFrame) -> Float32Array:
    """Values of a frame, part by part: columns that become rows are long in memory beside those of a year."""
    values = np.empty((frame.height, frame.width), np.float32)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which no input holds
        for start in range(0, frame.height, ROWS_AT_ONCE):
            part = frame.slice(start, ROWS_AT_ONCE)
            values[start : start + part.height] = part.to_numpy(order="c")
    return values
