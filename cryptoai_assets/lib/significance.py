"""Two tests that the field reports: of a direction against chance, and of one forecast against another.

Both take one number a time, all symbols of a time averaged, and stand errors that overlap over the horizon
(Newey and West 1987). The intervals of `cryptoai_assets.lib.scoring` decide; these are told beside them.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm, t

from cryptoai_assets.lib.datasets import Float64Array


@dataclass(frozen=True, slots=True)
class Significance:
    """A statistic and its p-value.

    Parameters
    ----------
    statistic
        Standard normal, or Student's t, under the null; NaN when the rows cannot tell.
    """

    statistic: float
    p_value: float
    times: int


def pesaran_timmermann(
    probability_up: Float64Array, up: Float64Array, times: pl.Series, *, horizon_bars: int
) -> Significance:
    """Whether said and realised directions depend on each other; one-sided, for skill.

    The slope of what happened on what was said: unlike the share that is right, it is zero for a forecast
    that always says the same in a market that mostly rises.

    Parameters
    ----------
    up
        1, 0, or NaN for a row without a move or without a known outcome; such rows are left out.

    Source: Pesaran and Timmermann, "Testing Dependence among Serially Correlated Variables", 2009.
    """
    known = np.isfinite(up) & np.isfinite(probability_up)
    said = np.where(probability_up[known] > 0.5, 1.0, 0.0)
    happened = up[known]
    product = (said - said.mean()) * (happened - happened.mean()) if known.any() else np.zeros(0)
    series = _by_time(product, times.filter(known))
    statistic = _mean_over_error(series, horizon_bars)
    return Significance(statistic, float(norm.sf(statistic)), len(series))


def diebold_mariano(
    loss: Float64Array, other_loss: Float64Array, times: pl.Series, *, horizon_bars: int
) -> Significance:
    """Whether the first forecast loses less than the other; positive speaks for the first, two-sided.

    With the correction for small samples by Harvey, Leybourne and Newbold (1997).

    Source: Diebold and Mariano, "Comparing Predictive Accuracy", 1995.
    """
    known = np.isfinite(loss) & np.isfinite(other_loss)
    series = _by_time((other_loss - loss)[known], times.filter(known))
    count, ahead = len(series), horizon_bars
    shrink = max(count + 1 - 2 * ahead + ahead * (ahead - 1) / max(count, 1), 0.0) / max(count, 1)
    statistic = _mean_over_error(series, horizon_bars) * shrink**0.5
    return Significance(statistic, float(2 * t.sf(abs(statistic), max(count - 1, 1))), count)


def _by_time(values: Float64Array, times: pl.Series) -> Float64Array:
    frame = pl.DataFrame({"time": times, "value": values})
    means = frame.group_by("time").agg(pl.col("value").mean()).sort("time")["value"]
    return np.asarray(means.to_numpy(), dtype=np.float64)


def _mean_over_error(series: Float64Array, horizon_bars: int) -> float:
    """Mean over its standard error, which counts covariances of values fewer than `horizon_bars` apart."""
    count = len(series)
    if count <= 2 * horizon_bars:
        return float("nan")
    centred = series - series.mean()
    variance = float(centred @ centred) / count
    for lag in range(1, horizon_bars):
        weight = 1 - lag / horizon_bars
        variance += 2 * weight * float(centred[lag:] @ centred[:-lag]) / count
    return float(series.mean() / (variance / count) ** 0.5) if variance > 0 else float("nan")
