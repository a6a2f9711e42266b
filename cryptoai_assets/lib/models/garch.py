"""GARCH(1,1): the volatility baseline of econometrics, fitted for each symbol by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from arch import arch_model
from scipy.signal import lfilter

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.forecaster_model import FittedModel, Predictions, mean_factor

LAST_RETURN = "log_return_1"
# The newest rows that the parameters are fitted on; more change them little and cost seconds a fold.
FITTED_ROWS = 20_000
# In percent, as the optimizer wants returns to be.
PERCENT = 100.0
# Below the smallest step of any price: keeps the variance of a still market from vanishing.
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class GarchParameters:
    """Of one symbol, in squared log returns: omega + alpha r² + beta times the variance before.

    Parameters
    ----------
    variance
        Forecast for the bar after the last training row.
    """

    omega: float
    alpha: float
    beta: float
    variance: float

    def next_variance(self, returns: Float64Array) -> Float64Array:
        """Variance forecast for the bar after each return."""
        shocks = self.omega + self.alpha * returns**2
        filtered, _ = lfilter([1.0], [1.0, -self.beta], shocks, zi=[self.beta * self.variance])
        return np.maximum(np.asarray(filtered, dtype=np.float64), SMALLEST_VARIANCE)

    def total_variance(self, next_variance: Float64Array, horizon: int) -> Float64Array:
        """Expected sum of squared returns over the next bars."""
        persistence = self.alpha + self.beta
        longterm = self.omega / max(1 - persistence, 1e-6)
        decays = persistence ** np.arange(horizon)
        total = horizon * longterm + decays.sum() * (next_variance - longterm)
        return np.asarray(total, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Garch:
    parameters: Mapping[str, GarchParameters]
    horizons: tuple[int, ...]
    factors: tuple[float, ...]

    def predict(self, data: Dataset) -> Predictions:
        said = Predictions.nothing(len(data), len(self.horizons))
        returns = data.column(LAST_RETURN).astype(np.float64)
        for symbol, fitted in self.parameters.items():
            own = (data.keys["symbol"] == symbol).to_numpy()
            ahead = fitted.next_variance(returns[own])
            for column, horizon in enumerate(self.horizons):
                level = self.factors[column] * np.sqrt(fitted.total_variance(ahead, horizon))
                said.expected_volatility[own, column] = level
        return said


@dataclass(frozen=True, slots=True)
class Garch:
    """Volatility by GARCH(1,1) with a zero mean; a symbol that it never saw stays without an answer.

    Source: Bollerslev, "Generalized Autoregressive Conditional Heteroskedasticity", 1986.
    """

    kind: str = "garch"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Fit by maximum likelihood; rows are taken as neighbours where a hole lies between them."""
        returns = data.column(LAST_RETURN).astype(np.float64)
        parameters = {}
        for symbol in data.keys["symbol"].unique().sort():
            own = returns[(data.keys["symbol"] == symbol).to_numpy()][-FITTED_ROWS:]
            parameters[str(symbol)] = _fitted(own)
        roots = _Garch(parameters, horizons, (1.0,) * len(horizons)).predict(data).expected_volatility
        factors = [mean_factor(roots[:, k], data.target("volatility", h)) for k, h in enumerate(horizons)]
        return _Garch(parameters, horizons, tuple(factors))


def _fitted(returns: Float64Array) -> GarchParameters:
    model = arch_model(returns * PERCENT, mean="Zero", vol="GARCH", p=1, q=1, rescale=False)
    found = model.fit(disp="off", show_warning=False)
    omega, alpha, beta = (float(found.params[name]) for name in ("omega", "alpha[1]", "beta[1]"))
    start = GarchParameters(omega / PERCENT**2, alpha, beta, float(np.var(returns)))
    return GarchParameters(start.omega, alpha, beta, float(start.next_variance(returns)[-1]))
