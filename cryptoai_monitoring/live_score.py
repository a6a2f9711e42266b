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
        The keys, ``answered``, ``abstained``, ``abstention_rate``, ``moved`` (answered rows whose price did
        not stay the same), over these ``accuracy`` and ``brier``, and over answered rows ``coverage`` (share
        of outcomes within the interval); null where nothing was answered.
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
            abstention_rate=(~answered).mean(),
            moved=moved.sum(),
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

    Symbols move together and outcomes overlap, so neither counts as more evidence than there is: all rows of
    one time are averaged, only every h-th time counts, and the error is that of the times' mean.

    Parameters
    ----------
    scored
        From `scored_forecasts`, of the version that made the promise.
    promised
        Accuracy at promotion, by horizon.
    standard_errors
        How far below the promise an accuracy must lie.
    minimum_rows
        Times that are needed for any verdict.
    """
    fallen = []
    right = (pl.col("probability_up") > 0.5) == (pl.col("return_bps") > 0)
    for horizon, promise in promised.items():
        times = (
            scored.filter(
                pl.col("horizon_bars") == horizon, pl.col("abstention").is_null(), pl.col("return_bps") != 0
            )
            .group_by("open_time")
            .agg(right=right.mean())
            .sort("open_time")
            .gather_every(horizon)["right"]
            .to_numpy()
        )
        if len(times) < max(minimum_rows, 2):
            continue
        error = times.std(ddof=1) / len(times) ** 0.5
        if times.mean() < promise - standard_errors * error:
            fallen.append(horizon)
    return fallen
