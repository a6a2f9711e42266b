"""The live score: forecasts that were served, joined with what then happened."""

from collections.abc import Mapping

import polars as pl

from cryptoai_monitoring.verdict import Standing

# Of a mean; forecasts that are all right, or all wrong, are not certain to stay so.
SMALLEST_ERROR = 1e-9


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


def shortfalls(scored: pl.DataFrame, promised: Mapping[int, float], *, minimum_rows: int) -> dict[int, float]:
    """By how many standard errors the served direction is right less often than was promised, by horizon.

    Symbols move together and outcomes overlap, so neither counts as more evidence than there is: all rows of
    one time are averaged, only every h-th time counts, and the error is that of the times' mean.

    Parameters
    ----------
    scored
        From `scored_forecasts`, of the version that made the promise.
    promised
        Accuracy at promotion, by horizon.
    minimum_rows
        Times under which nothing is said of a horizon.

    Returns
    -------
    dict
        Above 0 where the promise is not kept; horizons of which too little is known are absent.
    """
    found = {}
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
        if len(times) >= max(minimum_rows, 2):
            error = max(float(times.std(ddof=1)) / len(times) ** 0.5, SMALLEST_ERROR)
            found[horizon] = (promise - float(times.mean())) / error
    return found


def standing(found: Mapping[int, float], *, sags: float, fell: float) -> Standing:
    """How the live score stands to what was promised, by its worst horizon.

    Parameters
    ----------
    found
        From `shortfalls`.
    sags, fell
        Standard errors below the promise from which a score is in doubt, and from which it fell.
    """
    if not found:
        return "unknown"
    worst = max(found.values())
    return "fell" if worst > fell else "sags" if worst > sags else "holds"
