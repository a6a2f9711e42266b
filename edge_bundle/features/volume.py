"""Volume features: how much was traded, on which side, and at what distance from the close."""

import polars as pl

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import quotient, step, total


def features() -> list[Feature]:
    """Members of the family."""
    return [*_amounts(), *_sides(), *_price_levels(), *_liquidity()]


def _amounts() -> list[Feature]:
    volume = pl.col("volume")
    return [
        *(
            Feature(
                f"volume_ratio_{n}",
                n * volume * step(f"per_volume_{n}"),
                n - 1,
                "ratio",
                f"Volume over its mean of {n} bars.",
                1.0,
            )
            for n in (5, 20, 60, 240)
        ),
        Feature(
            "volume_trend_5_240",
            pl.when(step("most_5") > 0).then(48 * step("volume_5") * step("per_volume_240")).otherwise(0.0),
            239,
            "ratio",
            "Mean volume of 5 bars over that of 240.",
            1.0,
        ),
        Feature(
            "signed_volume_surprise",
            step("volume_of_60") * step("return") * step("per_deviation_240"),
            240,
            "deviations",
            "One-bar return in deviations, times the volume over its mean of 60 bars.",
            1.0,
        ),
    ]


def _sides() -> list[Feature]:
    """Volume by who seems to have been in a hurry, as a share of all: windowed, never a running sum."""
    sides = (
        ("on_balance_volume", "moved_volume", (5, 20, 60, 240), 0, "Volume of risen minus fallen bars"),
        (
            "volume_imbalance",
            "body_volume",
            (20, 60),
            -1,
            "Volume of bars that closed above minus below open",
        ),
        ("pressure", "pushed_volume", (20, 60), -1, "Volume times the body's part of the bar's range"),
        ("money_flow", "located_volume", (20, 60), -1, "Chaikin money flow: volume times the close's place"),
    )
    return [
        *(
            Feature(
                f"{name}_{n}",
                total(step(part), n) * step(f"per_volume_{n}"),
                n + warmed,
                "-1 to 1",
                f"{meaning}, over all volume of {n} bars.",
                1.0,
            )
            for name, part, spans, warmed, meaning in sides
            for n in spans
        ),
        Feature(
            "money_flow_index_14",
            50
            + pl.when(step("most_decided_flow_14") > 0)
            .then(50 * total(step("sided_flow"), 14) / step("decided_flow_14"))
            .otherwise(0.0),
            14,
            "0 to 100",
            "Money flow index over 14 bars; 50 where no money flowed.",
            10.0,
        ),
    ]


def _price_levels() -> list[Feature]:
    return [
        Feature(
            f"vwap_distance_{n}",
            pl.when(step(f"most_{n}") > 0)
            .then(
                (pl.col("close") * step(f"whole_volume_{n}") / step(f"flow_{n}")).log()
                * step("per_deviation_60")
            )
            .otherwise(0.0),
            max(n, 60),
            "deviations",
            f"Log distance of the close to the volume-weighted price of {n} bars, in deviations of the "
            "one-bar return; 0 when nothing was traded.",
            1.0,
        )
        for n in (20, 60, 240)
    ]


def _liquidity() -> list[Feature]:
    traded = (step("most_20") > 0) & (step("most_240") > 0)
    moves = quotient(step("path_20"), step("path_240"))
    return [
        Feature(
            "amihud_20_240",
            pl.when(traded).then(moves * step("flow_240") / step("flow_20")).otherwise(0.0),
            240,
            "ratio",
            "Absolute returns for the money turned over, of 20 bars over those of 240: how illiquid the "
            "market has become (after Amihud 2002); 0 when nothing was traded in 20 bars.",
            1.0,
        ),
    ]
