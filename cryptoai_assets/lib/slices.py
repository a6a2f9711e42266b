"""Scores by part of the rows: by symbol, by calendar year, by regime of volatility, and by confidence.

It reads frames of predictions beside their outcomes, as `cryptoai_assets.lib.walk_forward` makes them.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl

from cryptoai_assets.lib.scoring import (
    BootstrapSettings,
    Score,
    direction_scores,
    return_scores,
    volatility_scores,
)

REGIMES = ("calm", "usual", "wild")
KEYS = ("open_time", "symbol")
# Of the rows, the most confident first.
SHARES = (1.0, 0.5, 0.25, 0.1, 0.05)


def horizon_scores(rows: pl.DataFrame, bootstrap: BootstrapSettings) -> list[Score]:
    """All scores of one model at one horizon; what it does not forecast is left out."""
    times = rows["open_time"]
    said = {
        name: rows[name].to_numpy() for name in ("probability_up", "expected_return", "expected_volatility")
    }
    found: list[Score] = []
    if np.isfinite(said["probability_up"]).any():
        found += direction_scores(said["probability_up"], rows["up"].to_numpy(), times, bootstrap)
    if np.isfinite(said["expected_return"]).any():
        found += return_scores(said["expected_return"], rows["return"].to_numpy(), times, bootstrap)
    if np.isfinite(said["expected_volatility"]).any():
        found += volatility_scores(
            said["expected_volatility"], rows["volatility"].to_numpy(), times, bootstrap
        )
    return found


def scores_by_model(predictions: pl.DataFrame, bootstrap: BootstrapSettings) -> pl.DataFrame:
    """Scores of each model: ``model``, ``horizon``, ``metric``, ``value``, ``lower``, ``upper``, ``rows``."""
    return _scored(predictions, ["model", "horizon"], bootstrap)


def volatility_regimes(levels: pl.DataFrame, *, trained_until: datetime) -> pl.DataFrame:
    """Regime of each bar by the terciles of its own symbol, whose bounds are those of the training rows.

    Parameters
    ----------
    levels
        ``open_time``, ``symbol``, and ``level``, the volatility known at the bar; null where none was.
    trained_until
        Rows with an earlier open time give the bounds.

    Returns
    -------
    DataFrame
        ``open_time``, ``symbol``, ``regime``; without bars of no level and symbols that were not trained on.
    """
    trained = levels.filter(pl.col("open_time") < trained_until)
    bounds = (
        trained.drop_nulls("level")
        .group_by("symbol")
        .agg(low=pl.col("level").quantile(1 / 3), high=pl.col("level").quantile(2 / 3))
    )
    calm, usual, wild = (pl.lit(name) for name in REGIMES)
    regime = (
        pl.when(pl.col("level") <= pl.col("low"))
        .then(calm)
        .when(pl.col("level") <= pl.col("high"))
        .then(usual)
        .otherwise(wild)
    )
    return levels.drop_nulls("level").join(bounds, on="symbol", how="inner").select(*KEYS, regime=regime)


def sliced_scores(
    predictions: pl.DataFrame, regimes: pl.DataFrame, bootstrap: BootstrapSettings
) -> pl.DataFrame:
    """Scores of one model by symbol, calendar year and regime, each with the interval of its own rows.

    Parameters
    ----------
    regimes
        From `volatility_regimes`.

    Returns
    -------
    DataFrame
        ``slice``, ``part``, ``horizon``, ``metric``, ``value``, ``lower``, ``upper``, ``rows``.
    """
    labelled = predictions.join(regimes, on=list(KEYS), how="left").with_columns(
        year=pl.col("open_time").dt.year().cast(pl.String),
        regime=pl.col("regime").cast(pl.Enum(REGIMES)),
    )
    parts = [
        _scored(labelled.drop_nulls(name).sort(name, *KEYS, "horizon"), [name, "horizon"], bootstrap)
        .rename({name: "part"})
        .with_columns(pl.col("part").cast(pl.String), slice=pl.lit(name))
        for name in ("symbol", "year", "regime")
    ]
    return pl.concat(parts).select("slice", "part", "horizon", "metric", "value", "lower", "upper", "rows")


def _scored(rows: pl.DataFrame, by: Sequence[str], bootstrap: BootstrapSettings) -> pl.DataFrame:
    found = [
        dict(zip(by, part, strict=True))
        | {
            "metric": score.name,
            "value": score.value,
            "lower": score.lower,
            "upper": score.upper,
            "rows": score.rows,
        }
        for part, group in rows.group_by(by, maintain_order=True)
        for score in horizon_scores(group, bootstrap)
    ]
    return pl.DataFrame(found)


def confidence_thresholds(earlier: pl.DataFrame) -> pl.DataFrame:
    """Leads over one half from which the most confident share of earlier rows was answered.

    Parameters
    ----------
    earlier
        Out-of-sample predictions before those that are to be answered, so that no later row sets a threshold.

    Returns
    -------
    DataFrame
        ``horizon``, ``share``, ``lead``.
    """
    lead = (pl.col("probability_up") - 0.5).abs()
    told = earlier.filter(pl.col("probability_up").is_finite())
    parts = [
        told.group_by("horizon", maintain_order=True).agg(
            share=pl.lit(share), lead=pl.lit(0.0) if share == 1.0 else lead.quantile(1 - share)
        )
        for share in SHARES
    ]
    return pl.concat(parts).select("horizon", "share", "lead")


def accuracy_by_confidence(
    predictions: pl.DataFrame, thresholds: pl.DataFrame, bootstrap: BootstrapSettings
) -> pl.DataFrame:
    """Accuracy on the rows that are answered from each lead.

    Returns
    -------
    DataFrame
        ``horizon``, ``share`` that was asked for, ``answered`` share that it became, ``accuracy``, ``lower``,
        ``upper``, ``rows``; a lead that no row has is left out.
    """
    found = []
    for horizon, share, lead in thresholds.iter_rows():
        rows = predictions.filter(pl.col("horizon") == horizon, pl.col("up").is_not_nan())
        answered = rows.filter((pl.col("probability_up") - 0.5).abs() >= lead)
        if answered.is_empty():
            continue
        accuracy = direction_scores(
            answered["probability_up"].to_numpy(), answered["up"].to_numpy(), answered["open_time"], bootstrap
        )[0]
        found.append(
            {
                "horizon": horizon,
                "share": share,
                "answered": answered.height / rows.height,
                "accuracy": accuracy.value,
                "lower": accuracy.lower,
                "upper": accuracy.upper,
                "rows": accuracy.rows,
            }
        )
    return pl.DataFrame(found)
