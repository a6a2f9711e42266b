"""Momentum features: returns in units of volatility, and the oscillators."""

import polars as pl
import polars_talib as talib

from edge_bundle.features.feature import Feature, quiet_memory, span_memory
from edge_bundle.features.steps import (
    MACD_SPANS,
    NEGLIGIBLE_VOLATILITY,
    WILDER_PERIODS,
    log_return,
    mean,
    share,
    step,
)

SCALED_SPANS = (1, 2, 3, 6, 12, 24, 48)


def features() -> list[Feature]:
    """Members of the family."""
    return [*_scaled_returns(), *_strengths(), *_average_crossings(), *_positions_in_range()]


def _scaled_returns() -> list[Feature]:
    close = pl.col("close")
    return [
        *(
            Feature(
                f"scaled_return_{n}",
                log_return(n) * step("per_deviation_240") * n**-0.5,
                240,
                "deviations",
                f"Return over {n} bars, in its deviations by the volatility of 240 bars.",
                1.0,
            )
            for n in SCALED_SPANS
        ),
        Feature(
            "rate_of_change_12",
            100 * (close / close.shift(12) - 1),
            12,
            "%",
            "Relative change of the close over 12 bars, ROC.",
            0.1,
        ),
    ]


def _strengths() -> list[Feature]:
    """Wilder's index; where prices stood still both means fade alike, and it is told to forget."""
    return [
        Feature(
            f"rsi_{n}",
            50
            + pl.when(step(f"change_size_{n}") > NEGLIGIBLE_VOLATILITY * pl.col("close"))
            .then(50 * step(f"change_{n}") / step(f"change_size_{n}"))
            .otherwise(0.0),
            quiet_memory(1 / n),
            "0 to 100",
            f"Relative strength index over {n} bars; 50 where the price stood still.",
            10.0,
        )
        for n in WILDER_PERIODS
    ]


def _average_crossings() -> list[Feature]:
    fast, slow, signal = MACD_SPANS
    macd, line = step("macd"), step("macd_signal")
    memory = span_memory(slow)
    return [
        Feature(
            name,
            value * step("macd_unit"),
            bars,
            "deviations",
            f"{meaning}, over the close, in deviations of the one-bar return.",
            1.0,
        )
        for name, value, bars, meaning in (
            ("macd", macd, memory, f"MACD({fast}, {slow})"),
            ("macd_signal", line, memory + span_memory(signal), f"Signal({signal}) of the MACD"),
            ("macd_histogram", macd - line, memory + span_memory(signal), "MACD minus its signal"),
        )
    ] + [
        Feature(
            "percentage_oscillator",
            100 * step("macd") / step(f"ema_{slow}"),
            memory,
            "%",
            f"EMA over {fast} bars above that over {slow}, PPO.",
            0.1,
        ),
        Feature(
            "trix_15",
            (step("triple_ema_15") / step("triple_ema_15").shift(1) - 1) * step("per_deviation_60"),
            3 * span_memory(15),
            "deviations",
            "Change of the close's triple EMA over 15 bars, in deviations of the one-bar return.",
            0.1,
        ),
    ]


def _positions_in_range() -> list[Feature]:
    high, low, close = pl.col("high"), pl.col("low"), pl.col("close")
    return [
        Feature(
            "stochastic_14",
            step("stochastic_14"),
            13,
            "0 to 1",
            "Where the close lies in the range of 14 bars, %K.",
            1.0,
        ),
        Feature(
            "stochastic_mean_14",
            mean(step("stochastic_14"), 3),
            15,
            "0 to 1",
            "Mean of three values of stochastic_14, %D.",
            1.0,
        ),
        Feature(
            "williams_r_60",
            100 * share(close - step("highest_60"), step("width_60")),
            59,
            "-100 to 0",
            "How far the close lies under the highest high of 60 bars, in their range: Williams %R.",
            10.0,
        ),
        Feature(
            "cci_20",
            talib.cci(high, low, close, timeperiod=20),
            19,
            "index",
            "Commodity channel index.",
            100.0,
        ),
    ]
