"""The ensemble of all: whole forecasters, trees and networks, weighted by what they said of unseen rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import optuna
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.coupling import (
    VOLATILITY_ANCHOR,
    Coupling,
    TrainingRange,
    calibration_split,
    couplings,
)
from cryptoai_assets.lib.models.ensemble import FIRST_WEIGHTS
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.fitted import FittedForecaster
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings, Predictions
from cryptoai_assets.lib.models.networks.settings import LstmSettings, TransformerSettings
from cryptoai_assets.lib.models.tree_heads import ForestSettings, LightgbmSettings, XgboostSettings
from cryptoai_assets.lib.scoring import log_loss, qlike

NETWORK_WEIGHT = 0.4
_NEARLY_SURE = 1e-6


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """Members with their settings, one of a kind."""

    members: tuple[ForecasterSettings, ...]
    kind: ClassVar[str] = "blend"

    @classmethod
    def start(cls) -> Self:
        """All libraries and networks where each starts."""
        kinds: tuple[type[ForecasterSettings], ...] = (
            XgboostSettings,
            LightgbmSettings,
            ForestSettings,
            LstmSettings,
            TransformerSettings,
        )
        return cls(tuple(kind.start() for kind in kinds))

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:  # noqa: ARG003 — its members are searched
        """Nothing of its own to search."""
        return cls.start()

    def as_trial(self) -> Mapping[str, Any]:
        """Nothing of its own to search."""
        return {}


class Member(Protocol):
    """A forecaster that can be a part."""

    @property
    def kind(self) -> str:
        """Name of its kind."""
        ...

    def rehearsed(
        self, data: Dataset, *, horizons: tuple[int, ...], seed: int
    ) -> tuple[FittedForecaster, FittedForecaster]:
        """One that did not see the last fifth of the rows, and one that saw all."""
        ...


@dataclass(frozen=True, slots=True)
class Confidence:
    """By what the logit of the mean is multiplied: ``trust + doubt × spread``, at least 0, by horizon.

    Parameters
    ----------
    doubt
        At most 0: the further the members are apart, the nearer to one half.
    """

    trust: tuple[float, ...]
    doubt: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FittedBlend:
    """Fitted members and what ties them together.

    Parameters
    ----------
    members
        By kind; all read the same features.
    direction_weights, volatility_weights
        Of the members, each summing to one; a return has the weights of the direction.
    """

    members: Mapping[str, FittedForecaster]
    direction_weights: tuple[float, ...]
    volatility_weights: tuple[float, ...]
    confidence: Confidence
    coupling: tuple[Coupling, ...]
    training_range: TrainingRange

    @property
    def lookback(self) -> int:
        """Bars that the member with the longest memory reads."""
        return max(member.lookback for member in self.members.values())

    @property
    def horizons(self) -> tuple[int, ...]:
        """In bars."""
        return self._first.horizons

    @property
    def names(self) -> tuple[str, ...]:
        """Features that every member reads."""
        return self._first.names

    @property
    def _first(self) -> FittedForecaster:
        return next(iter(self.members.values()))

    def predict(self, data: Dataset) -> Predictions:
        """Predictions of the members, weighted; they are told beside it."""
        told = {kind: member.predict(data) for kind, member in self.members.items()}
        said = _Said.of(list(told.values()), self.direction_weights, self.volatility_weights)
        factors = np.array([one.volatility_factor for one in self.coupling])
        slopes = np.array([one.return_slope for one in self.coupling])
        volatility = factors * said.volatility
        up = _confident(said, self.confidence)
        return Predictions(slopes * said.lead * volatility, up, volatility, told)

    def importance(self) -> Mapping[str, float]:
        """Mean of the members' shares by their weight in the direction, largest first."""
        shares = [member.importance() for member in self.members.values()]
        mean = {
            name: sum(
                w * share.get(name, 0.0) for w, share in zip(self.direction_weights, shares, strict=True)
            )
            for name in self.names
        }
        return dict(sorted(mean.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class BlendDirection:
    """The direction of one horizon."""

    fitted: FittedBlend

    def probability_up(self, data: Dataset) -> Float64Array:
        """Probability of up of every row."""
        return self.fitted.predict(data).probability_up[:, 0]


@dataclass(frozen=True, slots=True)
class Blend:
    """The ensemble of all with its members, ready to be fitted."""

    members: Sequence[Member]
    threads: int

    @property
    def kind(self) -> str:
        """Name of the kind of model."""
        return BlendSettings.kind

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedBlend:
        """Fit every member; what ties them together by what each said of rows that it had not seen."""
        chosen = chosen_features(
            data, horizons=horizons, always=VOLATILITY_ANCHOR, seed=seed, threads=self.threads
        )
        data = data.with_features(chosen)
        _, later = calibration_split(data, max(horizons))
        pairs = [member.rehearsed(data, horizons=horizons, seed=seed) for member in self.members]
        kinds = [member.kind for member in self.members]
        told = [trial.predict(later) for trial, _ in pairs]
        direction, volatility = _weights(kinds, told, later, horizons)
        said = _Said.of(told, direction, volatility)
        return FittedBlend(
            members={kind: fitted for kind, (_, fitted) in zip(kinds, pairs, strict=True)},
            direction_weights=direction,
            volatility_weights=volatility,
            confidence=_confidence(said, later, horizons),
            coupling=couplings(said.volatility, said.lead, later, horizons),
            training_range=TrainingRange.of(data),
        )

    def direction_head(self, data: Dataset, *, horizon: int, seed: int) -> BlendDirection:
        """Fit for one horizon alone, as a search does."""
        return BlendDirection(self.fit(data, horizons=(horizon,), seed=seed))


@dataclass(frozen=True, slots=True)
class _Said:
    """What members say together, each (rows, horizons); neither confident nor coupled yet."""

    up: Float64Array
    spread: Float64Array
    lead: Float64Array
    volatility: Float64Array

    @classmethod
    def of(
        cls, told: Sequence[Predictions], direction: tuple[float, ...], volatility: tuple[float, ...]
    ) -> Self:
        ups = np.stack([one.probability_up for one in told])
        mean = np.average(ups, axis=0, weights=direction)
        spread = np.sqrt(np.average((ups - mean) ** 2, axis=0, weights=direction))
        level = np.average([one.expected_volatility for one in told], axis=0, weights=volatility)
        step = np.average([one.expected_return for one in told], axis=0, weights=direction)
        return cls(mean, spread, step / level, level)


def _confident(said: _Said, confidence: Confidence) -> Float64Array:
    factor = np.maximum(np.array(confidence.trust) + np.array(confidence.doubt) * said.spread, 0.0)
    return np.asarray(expit(logit(said.up) * factor), dtype=np.float64)


def _confidence(said: _Said, later: Dataset, horizons: tuple[int, ...]) -> Confidence:
    """Logistic regression on the logit and on the logit times the spread, without an intercept."""
    found = []
    logits = logit(np.clip(said.up, _NEARLY_SURE, 1 - _NEARLY_SURE))
    for column, horizon in enumerate(horizons):
        up = later.target("up", horizon)
        known = np.isfinite(up)
        both = np.column_stack([logits[:, column], logits[:, column] * said.spread[:, column]])[known]
        trust, doubt = _factors(both, up[known])
        if doubt > 0:
            (trust,), doubt = _factors(both[:, :1], up[known]), 0.0
        found.append((max(trust, 0.0), doubt))
    return Confidence(tuple(trust for trust, _ in found), tuple(doubt for _, doubt in found))


def _factors(inputs: Float64Array, up: Float64Array) -> Float64Array:
    if len(np.unique(up)) < 2:
        return np.asarray(np.eye(inputs.shape[1])[0], dtype=np.float64)
    scale: Float64Array = np.maximum(inputs.std(axis=0), 1e-9)
    regression = LogisticRegression(C=1e3, fit_intercept=False).fit(inputs / scale, up)
    return np.asarray(regression.coef_[0] / scale, dtype=np.float64)


def _weights(
    kinds: Sequence[str], told: Sequence[Predictions], later: Dataset, horizons: tuple[int, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """First weights times skill: the share of what saying the mean costs that each member saves."""
    first = np.array([FIRST_WEIGHTS.get(kind, NETWORK_WEIGHT) for kind in kinds])
    direction, volatility = np.zeros(len(kinds)), np.zeros(len(kinds))
    for column, horizon in enumerate(horizons):
        up, realised = later.target("up", horizon), later.target("volatility", horizon)
        moved, level = np.isfinite(up), np.full(len(later), np.nanmean(realised))
        mean = log_loss(np.full(moved.sum(), up[moved].mean()), up[moved]).mean()
        flat = np.nanmean(qlike(level, realised))
        for place, one in enumerate(told):
            direction[place] += 1 - log_loss(one.probability_up[moved, column], up[moved]).mean() / mean
            volatility[place] += 1 - np.nanmean(qlike(one.expected_volatility[:, column], realised)) / flat
    return _shares(first, direction), _shares(first, volatility)


def _shares(first: Float64Array, skill: Float64Array) -> tuple[float, ...]:
    """First weights where no member has any skill."""
    raw = first * np.maximum(skill, 0.0)
    shares = raw / raw.sum() if raw.sum() > 0 else first / first.sum()
    return tuple(shares.tolist())
