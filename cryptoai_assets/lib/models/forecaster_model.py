"""The interface of every model that forecasts: fit on a dataset, predict, all horizons at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import optuna

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from edge_bundle.windows import Float32Array


@dataclass(frozen=True, slots=True)
class Predictions:
    """Model outputs, each (rows, horizons) float64; NaN where a model does not say.

    Parameters
    ----------
    expected_return
        Log return over the horizon.
    probability_up
        That the return is above 0, given that it is not 0.
    expected_volatility
        Mean of what the root of the sum of squared one-bar log returns over the horizon may become.
    members
        What the members of an ensemble said, by kind; none for a model that has no members.
    """

    expected_return: Float64Array
    probability_up: Float64Array
    expected_volatility: Float64Array
    members: "Mapping[str, Predictions]" = field(default_factory=dict)

    @classmethod
    def nothing(cls, rows: int, horizons: int) -> Self:
        """Predictions of a model that does not say anything yet; fill what it knows."""
        unsaid = np.full((3, rows, horizons), np.nan)
        return cls(unsaid[0], unsaid[1], unsaid[2])

    @classmethod
    def stacked(cls, parts: "list[Predictions]") -> Self:
        """Rows of several predictions, one after the other."""
        return cls(
            np.concatenate([part.expected_return for part in parts]),
            np.concatenate([part.probability_up for part in parts]),
            np.concatenate([part.expected_volatility for part in parts]),
        )


class ForecasterSettings(Protocol):
    """Settings of a kind of forecaster."""

    kind: ClassVar[str]

    @classmethod
    def start(cls) -> Self:
        """Where a search starts, and what a training without a search uses."""
        ...

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:
        """Settings that a search tries."""
        ...

    def as_trial(self) -> Mapping[str, Any]:
        """Parameters of a trial that suggests these settings; none where nothing is searched."""
        ...


class FittedModel(Protocol):
    """A model that was fitted."""

    def predict(self, data: Dataset) -> Predictions:
        """Predictions for every row; reads keys and values of the dataset, never its targets."""
        ...


class ForecasterModel(Protocol):
    """A kind of model with its settings."""

    @property
    def kind(self) -> str:
        """Name of the kind of model."""
        ...

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:
        """Fit on every row of the dataset whose target is known."""
        ...


def rows_of(values: Float32Array) -> Float32Array:
    """(rows, features): the last bar of each input, which is all that a tree or a linear model reads."""
    return np.ascontiguousarray(values[:, -1, :])


def mean_factor(expected: Float64Array, realised: Float64Array) -> float:
    """Factor that makes the mean of realised / expected one; one where nothing is known.

    A model of log volatility says the middle of what may come, and one of variance a level above the mean:
    this makes each say the mean. It is the factor of the least QLIKE.
    """
    known = np.isfinite(realised) & np.isfinite(expected) & (expected > 0)
    ratio = float(np.mean(realised[known] / expected[known])) if known.any() else 1.0
    return ratio if ratio > 0 else 1.0
