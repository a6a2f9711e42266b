"""Tree forecasters: a direction head and a volatility head per horizon, pooled over all symbols.

The expected return follows from both heads: a coefficient per horizon, fitted on later rows than the trees,
times the lead of the probability over one half, times the expected volatility.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.coupling import (
    VOLATILITY_ANCHOR,
    Coupling,
    TrainingRange,
    calibration_split,
    coupled,
    couplings,
    relative_volatility,
)
from cryptoai_assets.lib.models.ensemble import EnsembleHead, EnsembleSettings, member_head, reweighted
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.forecaster_model import Predictions, rows_of
from cryptoai_assets.lib.models.tree_heads import Objective, TreeHead, TreeSettings
from cryptoai_assets.lib.models.tree_rows import kept_tree_rows, selected_rows, varying
from cryptoai_assets.lib.scoring import log_loss
from cryptoai_assets.lib.side_by_side import side_by_side
from edge_bundle.windows import Float32Array


@dataclass(frozen=True, slots=True)
class FittedTrees:
    """Fitted heads; `cryptoai_assets.lib.export` writes them as one graph.

    Parameters
    ----------
    direction, volatility
        One head a horizon, over the features `selected`.
    members
        Of an ensemble by kind, each as if it had been fitted alone; none otherwise.
    """

    horizons: tuple[int, ...]
    names: tuple[str, ...]
    selected: tuple[int, ...]
    direction: tuple[TreeHead, ...]
    volatility: tuple[TreeHead, ...]
    coupling: tuple[Coupling, ...]
    training_range: TrainingRange
    members: "Mapping[str, FittedTrees]" = field(default_factory=dict)
    lookback: ClassVar[int] = 1

    def predict(self, data: Dataset) -> Predictions:
        """Predictions of the native library, which the exported graph is compared with."""
        data = data.with_features(self.names)
        inputs = np.ascontiguousarray(rows_of(data.values)[:, self.selected])
        up = np.column_stack([head.predict(inputs) for head in self.direction])
        relative = np.column_stack([head.predict(inputs) for head in self.volatility])
        said = coupled(
            self.coupling, probability_up=up, lead=2 * up - 1, relative_volatility=relative, data=data
        )
        members = {kind: member.predict(data) for kind, member in self.members.items()}
        return replace(said, members=members)

    def with_weights(self, settings: EnsembleSettings) -> Self:
        """Return it with the weights of an ensemble's settings."""
        return replace(
            self,
            direction=tuple(reweighted(head, settings.direction_weights) for head in self.direction),
            volatility=tuple(reweighted(head, settings.volatility_weights) for head in self.volatility),
        )

    def member(self, place: int) -> Self:
        """Return one member of an ensemble's heads."""
        return replace(
            self,
            direction=tuple(member_head(head, place) for head in self.direction),
            volatility=tuple(member_head(head, place) for head in self.volatility),
        )

    def importance(self) -> Mapping[str, float]:
        """Share of the total gain per feature, over the direction heads, largest first."""
        gains = np.sum([head.gain() for head in self.direction], axis=0)
        gain = {self.names[k]: float(added) for k, added in zip(self.selected, gains, strict=True)}
        total = sum(gain.values()) or 1.0
        return dict(sorted(((n, g / total) for n, g in gain.items()), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class DirectionHead:
    """A direction head by itself."""

    selected: tuple[int, ...]
    head: TreeHead

    def probability_up(self, data: Dataset) -> Float64Array:
        """Probability of up of every row."""
        return self.head.predict(np.ascontiguousarray(rows_of(data.values)[:, self.selected]))


@dataclass(frozen=True, slots=True)
class Trees:
    """A tree forecaster with the settings of its library.

    Parameters
    ----------
    threads
        Heads that grow side by side; what they become does not depend on it.
    """

    settings: TreeSettings
    threads: int

    @property
    def kind(self) -> str:
        """Name of the library."""
        return self.settings.kind

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedTrees:
        """Fit the heads on all rows; what ties them together, and members' weights, on the last fifth."""
        return self.rehearsed(data, horizons=horizons, seed=seed)[1]

    def rehearsed(
        self, data: Dataset, *, horizons: tuple[int, ...], seed: int
    ) -> tuple[FittedTrees, FittedTrees]:
        """Return what `fit` returns, after one whose heads did not see the last fifth."""
        chosen = chosen_features(
            data, horizons=horizons, always=VOLATILITY_ANCHOR, seed=seed, threads=self.threads
        )
        data = data.with_features(chosen)
        selected = varying(data)
        earlier, later = calibration_split(data, max(horizons))
        trial = self._heads(earlier, horizons, selected, seed)
        fitted = self._heads(data, horizons, selected, seed)
        settings = self.settings
        if not isinstance(settings, EnsembleSettings):
            return _coupled(trial, trial, later), _coupled(fitted, trial, later)
        weighted = _weighted(settings, trial, later)
        members = {
            member.kind: _coupled(fitted.member(place), trial.member(place), later)
            for place, member in enumerate(settings.members)
        }
        trial = trial.with_weights(weighted)
        whole = _coupled(fitted.with_weights(weighted), trial, later)
        return _coupled(trial, trial, later), replace(whole, members=members)

    def direction_head(self, data: Dataset, *, horizon: int, seed: int) -> "DirectionHead":
        """Fit the direction head of one horizon alone, as a search does."""
        selected, rows = kept_tree_rows(data)
        target = data.target("up", horizon)
        grown = self.settings.grow(rows, target, objective="direction", seed=seed + horizon)
        return DirectionHead(selected, grown)

    def _heads(
        self,
        data: Dataset,
        horizons: tuple[int, ...],
        selected: tuple[int, ...],
        seed: int,
    ) -> FittedTrees:
        rows = selected_rows(data, selected)
        targets: list[tuple[Float64Array, Objective, int]] = [
            *((data.target("up", h), "direction", h) for h in horizons),
            *((relative_volatility(data, h), "volatility", h) for h in horizons),
        ]
        grown = [
            partial(self.settings.grow, rows, target, objective=objective, seed=seed + h)
            for target, objective, h in targets
        ]
        heads = tuple(side_by_side(grown, threads=self.threads))
        return FittedTrees(
            horizons=horizons,
            names=data.names,
            selected=selected,
            direction=heads[: len(horizons)],
            volatility=heads[len(horizons) :],
            coupling=tuple(Coupling(1.0, 1.0, 1.0) for _ in horizons),
            training_range=TrainingRange.of(data),
        )


def _weighted(settings: EnsembleSettings, trial: FittedTrees, later: Dataset) -> EnsembleSettings:
    """Weights by each member's skill on rows after those that it saw, averaged over the horizons."""
    rows = np.ascontiguousarray(rows_of(later.values)[:, trial.selected])
    up = [later.target("up", h) for h in trial.horizons]
    relative = [relative_volatility(later, h) for h in trial.horizons]
    settings = settings.weighted("direction", _skills(trial.direction, rows, up, log_loss))
    return settings.weighted("volatility", _skills(trial.volatility, rows, relative, _squared_error))


def _skills(
    heads: Sequence[TreeHead],
    rows: Float32Array,
    targets: Sequence[Float64Array],
    loss: Callable[[Float64Array, Float64Array], Float64Array],
) -> Float64Array:
    """(members,) share of the mean's loss that each member saves."""
    saved = []
    for head, target in zip(heads, targets, strict=True):
        known = np.isfinite(target)
        if not isinstance(head, EnsembleHead) or not known.any():
            continue
        mean = loss(np.full(known.sum(), target[known].mean()), target[known]).mean()
        losses = np.array([loss(said, target[known]).mean() for said in head.members(rows[known])])
        saved.append(1 - losses / max(mean, 1e-12))
    return np.asarray(np.mean(saved, axis=0), dtype=np.float64)


def _squared_error(said: Float64Array, realised: Float64Array) -> Float64Array:
    return np.asarray((said - realised) ** 2, dtype=np.float64)


def _coupled(fitted: FittedTrees, trial: FittedTrees, later: Dataset) -> FittedTrees:
    """Heads tied together by rows that those of the trial did not see."""
    predicted = trial.predict(later)
    lead = 2 * predicted.probability_up - 1
    return replace(fitted, coupling=couplings(predicted.expected_volatility, lead, later, fitted.horizons))
