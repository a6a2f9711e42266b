"""Baselines that every forecaster must beat on the same rows."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.feature_choice import readable_features
from cryptoai_assets.lib.models.forecaster_model import (
    FittedModel,
    Predictions,
    mean_factor,
    rows_of,
)
from cryptoai_assets.lib.models.garch import Garch

HAR_COLUMNS = ("return_deviation_5", "return_deviation_15", "return_deviation_60", "return_deviation_240")
LAST_RETURN = "log_return_1"
_SMALL = 1e-6


@dataclass(frozen=True, slots=True)
class _Zero:
    horizons: tuple[int, ...]

    def predict(self, data: Dataset) -> Predictions:
        still = Predictions.nothing(len(data), len(self.horizons))
        still.expected_return[:] = 0.0
        still.probability_up[:] = 0.5
        return still


@dataclass(frozen=True, slots=True)
class Zero:
    """No return, even odds."""

    kind: str = "zero"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Nothing is fitted."""
        return _Zero(horizons)


@dataclass(frozen=True, slots=True)
class _ByGroup:
    """Probability of up by symbol and by the sign of the last return (which `majority` ignores)."""

    probability: dict[tuple[str, int], Float64Array]
    horizons: int
    reads_sign: bool

    def predict(self, data: Dataset) -> Predictions:
        said = Predictions.nothing(len(data), self.horizons)
        said.probability_up[:] = 0.5
        for key, probability in self.probability.items():
            said.probability_up[_group(data, key, self.reads_sign)] = probability
        return said


def _group(
    data: Dataset, key: tuple[str, int], reads_sign: bool
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    mask = (data.keys["symbol"] == key[0]).to_numpy()
    return mask & (np.sign(data.column(LAST_RETURN)) == key[1]) if reads_sign else mask


def _fit_groups(data: Dataset, horizons: tuple[int, ...], *, reads_sign: bool) -> _ByGroup:
    signs = (-1, 0, 1) if reads_sign else (0,)
    probability = {}
    for symbol in data.keys["symbol"].unique().sort():
        for sign in signs:
            mask = _group(data, (symbol, sign), reads_sign)
            shares = [np.nanmean(np.append(data.target("up", h)[mask], 0.5)) for h in horizons]
            probability[(symbol, sign)] = np.array(shares)
    return _ByGroup(probability, len(horizons), reads_sign)


@dataclass(frozen=True, slots=True)
class Majority:
    """Share of rises of each symbol in the training rows."""

    kind: str = "majority"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Count rises."""
        return _fit_groups(data, horizons, reads_sign=False)


@dataclass(frozen=True, slots=True)
class LastSignReversal:
    """Share of rises of each symbol after a rise, a fall or no move of the last bar."""

    kind: str = "last_sign_reversal"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Count rises by the last sign."""
        return _fit_groups(data, horizons, reads_sign=True)


@dataclass(frozen=True, slots=True)
class _Linear:
    names: tuple[str, ...]
    direction: tuple[Pipeline, ...]
    returns: tuple[Pipeline, ...]

    def predict(self, data: Dataset) -> Predictions:
        rows = rows_of(data.with_features(self.names).values)
        said = Predictions.nothing(len(data), len(self.direction))
        for column, (direction, returns) in enumerate(zip(self.direction, self.returns, strict=True)):
            said.probability_up[:, column] = direction.predict_proba(rows)[:, 1]
            said.expected_return[:, column] = returns.predict(rows)
        return said


@dataclass(frozen=True, slots=True)
class Linear:
    """Logistic and ridge regression on all `readable_features`, scaled by the training rows."""

    kind: str = "linear"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Fit one pair a horizon, pooled over the symbols."""
        names = readable_features(data)
        rows = rows_of(data.with_features(names).values)
        direction, returns = [], []
        for horizon in horizons:
            up, move = data.target("up", horizon), data.target("return", horizon)
            moved, known = np.isfinite(up), np.isfinite(move)
            logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, solver="newton-cholesky"))
            ridge = make_pipeline(StandardScaler(), Ridge(alpha=float(known.sum()) * 0.1))
            direction.append(logistic.fit(rows[moved], up[moved]))
            returns.append(ridge.fit(rows[known], move[known]))
        return _Linear(names, tuple(direction), tuple(returns))


@dataclass(frozen=True, slots=True)
class _Har:
    models: tuple[Ridge, ...]
    factors: tuple[float, ...]

    def predict(self, data: Dataset) -> Predictions:
        said = Predictions.nothing(len(data), len(self.models))
        logs = _har_inputs(data)
        for column, (model, factor) in enumerate(zip(self.models, self.factors, strict=True)):
            said.expected_volatility[:, column] = factor * np.exp(model.predict(logs))
        return said


@dataclass(frozen=True, slots=True)
class Har:
    """Log volatility as a linear function of past log volatilities over four spans.

    Source: Corsi, "A simple approximate long-memory model of realized volatility", 2009.
    """

    kind: str = "har"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Fit by least squares, pooled over the symbols."""
        logs = _har_inputs(data)
        models, factors = [], []
        for horizon in horizons:
            realised = data.target("volatility", horizon)
            known = np.isfinite(realised) & (realised > 0)
            models.append(Ridge(alpha=_SMALL).fit(logs[known], np.log(realised[known])))
            factors.append(mean_factor(np.exp(models[-1].predict(logs)), realised))
        return _Har(tuple(models), tuple(factors))


def _har_inputs(data: Dataset) -> Float64Array:
    levels = np.column_stack([np.maximum(data.column(name), _SMALL) for name in HAR_COLUMNS])
    logs: Float64Array = np.log(levels)
    return logs


DIRECTION_BASELINES = (Zero(), Majority(), LastSignReversal(), Linear())
VOLATILITY_BASELINES = (Har(), Garch())
