"""What ties the heads of a forecaster together, whatever grew them: return, volatility, interval, range."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.forecaster_model import Predictions, mean_factor, rows_of
from edge_bundle.windows import Float32Array

# The feature whose level the volatility heads forecast relative to, so that calm and wild years look alike.
VOLATILITY_ANCHOR = "return_deviation_60"
VOLATILITY_FLOOR = 1e-6
CALIBRATION_SHARE = 0.2
INTERVAL_COVERAGE = 0.8
RANGE_QUANTILE = 0.0005


@dataclass(frozen=True, slots=True)
class Coupling:
    """What ties one horizon's heads together, fitted on rows after those that the heads saw.

    Parameters
    ----------
    volatility_factor
        By which a level that is right in the logarithm is raised to the mean.
    return_slope
        Expected return, in expected volatilities, at a lead of one.
    interval_factor
        Half-width of the interval in expected volatilities.
    """

    volatility_factor: float
    return_slope: float
    interval_factor: float


@dataclass(frozen=True, slots=True)
class TrainingRange:
    """Where the training rows lie; a forecaster abstains too far outside.

    Parameters
    ----------
    low, high
        Per feature of the last bar; a value outside was hardly seen in training.
    limit
        Largest share of features outside that is still answered.
    """

    low: Float32Array
    high: Float32Array
    limit: float

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Range of training rows."""
        rows = rows_of(data.values)
        low, high = np.quantile(rows, [RANGE_QUANTILE, 1 - RANGE_QUANTILE], axis=0).astype(np.float32)
        outside = ((rows < low) | (rows > high)).mean(axis=1)
        return cls(low, high, float(np.quantile(outside, 0.999)))


def calibration_split(data: Dataset, horizon: int) -> tuple[Dataset, Dataset]:
    """Earlier rows, purged by the horizon, and the last fifth."""
    times = data.times
    cut = int(len(times) * (1 - CALIBRATION_SHARE))
    return data.between(None, times[max(cut - horizon, 1)]), data.between(times[cut], None)


def relative_volatility(data: Dataset, horizon: int) -> Float64Array:
    """Log of the realised volatility over the anchor's; NaN where nothing is known."""
    realised = data.target("volatility", horizon)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(realised / anchor(data))
    # A still bar has no logarithm; it counts as one twentieth of the usual move.
    relative = np.where(realised == 0, -3.0, relative)
    return np.clip(relative, -3.0, 4.0)


def anchor(data: Dataset) -> Float64Array:
    """(rows,) level that the volatility is forecast relative to."""
    return np.maximum(data.column(VOLATILITY_ANCHOR), VOLATILITY_FLOOR)


def coupled(
    coupling: tuple[Coupling, ...],
    *,
    probability_up: Float64Array,
    lead: Float64Array,
    relative_volatility: Float64Array,
    data: Dataset,
) -> Predictions:
    """Predictions from what the heads say, each (rows, horizons).

    Parameters
    ----------
    lead
        What the expected return is proportional to, in expected volatilities.
    relative_volatility
        As the function of this name says it.
    """
    factors = np.array([one.volatility_factor for one in coupling])
    slopes = np.array([one.return_slope for one in coupling])
    volatility = factors * np.exp(relative_volatility) * anchor(data)[:, None]
    return Predictions(slopes * lead * volatility, probability_up, volatility)


def couplings(
    expected_volatility: Float64Array, lead: Float64Array, later: Dataset, horizons: tuple[int, ...]
) -> tuple[Coupling, ...]:
    """Fit what ties the heads together on rows that they did not see.

    Parameters
    ----------
    expected_volatility, lead
        (rows, horizons) of heads that are not coupled yet.
    """
    found = []
    for column, horizon in enumerate(horizons):
        realised = later.target("return", horizon)
        factor = mean_factor(expected_volatility[:, column], later.target("volatility", horizon))
        volatility = factor * expected_volatility[:, column]
        step = lead[:, column] * volatility
        known = np.isfinite(realised)
        step, realised, volatility = step[known], realised[known], volatility[known]
        # Weighted least squares through the origin: each row in units of its own volatility.
        weight = 1 / volatility**2
        slope = float((weight * step * realised).sum() / max((weight * step**2).sum(), 1e-12))
        slope = max(slope, 0.0)
        miss = np.abs(realised - slope * step) / volatility
        found.append(Coupling(factor, slope, float(np.quantile(miss, INTERVAL_COVERAGE))))
    return tuple(found)
