"""The live score: forecasts that were served, joined with what then happened."""

from collections.abc import Mapping

import polars as pl

SCORE_KEYS = ("version", "symbol", "horizon_bars")


def scored_forecasts(log: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Add the realised ``return_bps`` to every logged forecast whose outcome is known.

    Parameters
    ----------
    log
        Rows of the forecast log, one per symbol, time and horizon.
    outcomes
        ``symbol``, ``open_time``, ``horizon_bars``, ``return_bps``.
    """
    return log.join(outcomes, on=["symbol", "open_time", "horizon_bars"], how="inner")


def live_scores(scored: pl.DataFrame) -> pl.DataFrame:
    """Scores by version, symbol and horizon.

    Returns
    -------
    DataFrame
        The keys, ``answered``, ``abstained``, and over answered rows ``accuracy`` (of rows that moved),
        ``brier`` and ``coverage`` (share of outcomes within the interval); null where nothing was answered.
    """
    answered = pl.col("abstention").is_null()
    moved = answered & (pl.col("return_bps") != 0)
    up = pl.col("return_bps") > 0
    right = (pl.col("probability_up") > 0.5) == up
    inside = pl.col("return_bps").is_between(pl.col("lower_bps"), pl.col("upper_bps"))
    return (
        scored.group_by(SCORE_KEYS)
        .agg(
            answered=answered.sum(),
            abstained=(~answered).sum(),
            accuracy=right.filter(moved).mean(),
            brier=((pl.col("probability_up") - up.cast(pl.Float64)) ** 2).filter(moved).mean(),
            coverage=inside.filter(answered).mean(),
        )
        .sort(SCORE_KEYS)
    )


def degraded_horizons(
    scored: pl.DataFrame, promised: Mapping[int, float], *, standard_errors: float, minimum_rows: int
) -> list[int]:
    """Horizons at which the served direction is right less often than was promised.

    Only every h-th outcome of a symbol counts, since outcomes that overlap repeat themselves.

    Parameters
    ----------
    scored
        From `scored_forecasts`.
    promised
        Accuracy at promotion, by horizon.
    standard_errors
        How far below the promise an accuracy must lie.
    minimum_rows
        Outcomes that are needed for any verdict.
    """
    fallen = []
    for horizon, promise in promised.items():
        answered = scored.filter(
            pl.col("horizon_bars") == horizon, pl.col("abstention").is_null(), pl.col("return_bps") != 0
        )
        apart = answered.sort("symbol", "open_time").gather_every(horizon)
        if apart.height < minimum_rows:
            continue
        right = ((apart["probability_up"] > 0.5) == (apart["return_bps"] > 0)).mean()
        error = (promise * (1 - promise) / apart.height) ** 0.5
        if isinstance(right, float) and right < promise - standard_errors * error:
            fallen.append(horizon)
    return fallen
