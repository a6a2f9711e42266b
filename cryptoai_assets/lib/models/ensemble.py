"""An ensemble of tree libraries: the same rows for each, a weighted mean of what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import optuna

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmSettings,
    Objective,
    TreeHead,
    TreeSettings,
    XgboostSettings,
)
from cryptoai_assets.lib.models.tree_rows import TreeRows
from edge_bundle.windows import Float32Array

# Before anything is known of the members: boosting twice as much as the forest.
FIRST_WEIGHTS = {XgboostSettings.kind: 0.4, LightgbmSettings.kind: 0.4, ForestSettings.kind: 0.2}


@dataclass(frozen=True, slots=True)
class EnsembleHead:
    """Heads of all members for one target.

    Parameters
    ----------
    weights
        (members,) that sum to one.
    """

    heads: tuple[TreeHead, ...]
    weights: tuple[float, ...]

    def predict(self, rows: Float32Array) -> Float64Array:
        """Weighted mean of the members."""
        return np.average(self.members(rows), axis=0, weights=self.weights)

    def members(self, rows: Float32Array) -> Float64Array:
        """(members, rows) what each member says."""
        return np.stack([head.predict(rows) for head in self.heads])

    def gain(self) -> Float64Array:
        """Weighted mean of the members' shares of their total gain."""
        gains = [head.gain() for head in self.heads]
        shares = [gain / max(gain.sum(), 1e-12) for gain in gains]
        return np.average(shares, axis=0, weights=self.weights)


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """Members with their settings.

    Parameters
    ----------
    direction_weights, volatility_weights
        Of the members, each summing to one.
    """

    members: tuple[TreeSettings, ...]
    direction_weights: tuple[float, ...]
    volatility_weights: tuple[float, ...]
    kind: ClassVar[str] = "tree_ensemble"

    @classmethod
    def of(cls, members: Sequence[TreeSettings]) -> Self:
        """Ensemble with the first weights, shared among the members that it has."""
        first = [FIRST_WEIGHTS[member.kind] for member in members]
        weights = tuple(weight / sum(first) for weight in first)
        return cls(tuple(members), weights, weights)

    @classmethod
    def start(cls) -> Self:
        """All libraries where each starts."""
        return cls.of((XgboostSettings.start(), LightgbmSettings.start(), ForestSettings.start()))

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:  # noqa: ARG003 — its members are searched
        """Nothing of its own to search."""
        return cls.start()

    def as_trial(self) -> Mapping[str, Any]:
        """Nothing of its own to search."""
        return {}

    def grow(self, rows: TreeRows, target: Float64Array, *, objective: Objective, seed: int) -> EnsembleHead:
        """Grow every member on the same rows."""
        heads = [member.grow(rows, target, objective=objective, seed=seed) for member in self.members]
        return EnsembleHead(tuple(heads), self.weights(objective))

    def weights(self, objective: Objective) -> tuple[float, ...]:
        """Weights for one kind of target."""
        return self.direction_weights if objective == "direction" else self.volatility_weights

    def weighted(self, objective: Objective, skills: Float64Array) -> Self:
        """First weights times skill on rows that no member saw; the first weights where none has any.

        Parameters
        ----------
        skills
            (members,) loss of saying the mean, less the member's loss.
        """
        first = self.of(self.members).direction_weights
        raw = np.array(first) * np.maximum(skills, 0.0)
        weights = tuple((raw / raw.sum()).tolist()) if raw.sum() > 0 else first
        if objective == "direction":
            return replace(self, direction_weights=weights)
        return replace(self, volatility_weights=weights)


def fitted_alone(models: Sequence[ForecasterSettings]) -> list[ForecasterSettings]:
    """Leave out what an ensemble among the models has as a member: it is fitted, and told, with it."""
    held = [member for model in models for member in getattr(model, "members", ())]
    return [model for model in models if model not in held]


def member_head(head: TreeHead, place: int) -> TreeHead:
    """One member of a head; a head without members as it is."""
    return head.heads[place] if isinstance(head, EnsembleHead) else head


def reweighted(head: TreeHead, weights: Sequence[float]) -> TreeHead:
    """Head with other weights of its members; a head without members as it is."""
    return replace(head, weights=tuple(weights)) if isinstance(head, EnsembleHead) else head
