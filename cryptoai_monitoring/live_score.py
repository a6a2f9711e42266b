"""The live score: forecasts that were served, joined with what then happened."""

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
