"""Trend features: distance to moving averages, directional movement and how straight the path was."""

import polars as pl

from edge_bundle.features.feature import Feature, quiet_memory, span_memory, wilder_memory
from edge_bundle.features.steps import (
    AVERAGE_SPANS,
    ema,
    log_return,
    quotient,
    step,
    wilder_mean,
)

REGRESSION_SPANS = (20, 50, 200)


def features() -> list[Feature]:
    """Members of the family."""
    return [*_distances(), *_directions(), *_regressions(), *_efficiencies()]


def _distances() -> list[Feature]:
    close = pl.col("close")
    return [
        Feature(
            f"{name}_distance_{n}",
            (close / average).log() * step("per_deviation_60"),
            max(memory, 60),
            "deviations",
            f"Log distance of the close to its {kind} over {n} bars, in deviations of the one-bar return.",
            1.0,
        )
        for n in AVERAGE_SPANS
        for name, kind, average, memory in (
            ("ema", "EMA", ema(close, n), span_memory(n)),
            ("mean", "mean", step(f"mean_{n}"), n - 1),
            ("weighted", "linearly weighted mean", step(f"weighted_{n}"), n - 1),
        )
    ]


def _directions() -> list[Feature]:
    up, down, per_range = step("up_move_14"), step("down_move_14"), step("per_true_range_14")
    strength = (step("movement_balance_14") * step("per_movement_14")).abs()
    return [
        Feature(
            "adx_14",
            100 * wilder_mean(strength, 14),
            2 * wilder_memory(14),
            "0 to 100",
            "Strength of the trend, ADX.",
            10.0,
        ),
        Feature(
            "directional_balance_14",
            100 * step("movement_balance_14") * per_range,
            quiet_memory(1 / 14),
            "-100 to 100",
            "+DI minus −DI.",
            10.0,
        ),
        Feature("plus_direction_14", 100 * up * per_range, quiet_memory(1 / 14), "0 to 100", "+DI.", 10.0),
        Feature("minus_direction_14", 100 * down * per_range, quiet_memory(1 / 14), "0 to 100", "−DI.", 10.0),
        *(
            Feature(
                f"aroon_{side}_25",
                step("aroon_25").struct.field(f"aroon{side}"),
                25,
                "0 to 100",
                f"How lately the {extreme} of 25 bars was made; 100 is now.",
                10.0,
            )
            for side, extreme in (("up", "highest high"), ("down", "lowest low"))
        ),
    ]


def _regressions() -> list[Feature]:
    """Least squares of the close on time: from its plain and its linearly weighted mean alone."""
    return [
        feature
        for n in REGRESSION_SPANS
        for feature in (
            Feature(
                f"regression_slope_{n}",
                6 / (n - 1) * step(f"lead_{n}") * step("per_deviation_60"),
                max(n - 1, 60),
                "deviations",
                f"Slope a bar of the regression line through {n} closes, in deviations of the return.",
                0.1,
            ),
            Feature(
                f"regression_fit_{n}",
                3 * (n + 1) / (n - 1) * (step(f"lead_{n}") * step(f"per_price_deviation_{n}")) ** 2,
                n - 1,
                "0 to 1",
                f"R² of the regression line through {n} closes; 0 where the price stood still.",
                1.0,
            ),
        )
    ]


def _efficiencies() -> list[Feature]:
    return [
        Feature(
            f"efficiency_ratio_{n}",
            quotient(log_return(n), step(f"path_{n}")),
            n,
            "-1 to 1",
            f"Net move over the sum of absolute moves of {n} bars, signed.",
            1.0,
        )
        for n in (20, 60)
    ]
