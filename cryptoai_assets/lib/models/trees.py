"""Tree forecasters: a direction head and a volatility head per horizon, pooled over all symbols.

The expected return follows from both heads: a coefficient per horizon, fitted on later rows than the trees,
times the lead of the probability over one half, times the expected volatility.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import numpy as np

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.ensemble import EnsembleHead, EnsembleSettings, member_head, reweighted
from cryptoai_assets.lib.models.feature_choice import chosen_features, varying
from cryptoai_assets.lib.models.forecaster_model import Predictions, mean_factor, rows_of
from cryptoai_assets.lib.models.tree_heads import Objective, TreeHead, TreeSettings
from cryptoai_assets.lib.scoring import log_loss
from cryptoai_assets.lib.side_by_side import side_by_side
from edge_bundle.windows import Float32Array

# The feature whose level the volatility heads forecast relative to, so that calm and wild years look alike.
VOLATILITY_ANCHOR = "return_deviation_60"
VOLATILITY_FLOOR = 1e-6
CALIBRATION_SHARE = 0.2
INTERVAL_COVERAGE = 0.8
RANGE_QUANTILE = 0.0005


@dataclass(frozen=True, slots=True)
class Coupling:
    """What ties one horizon's heads together, fitted on rows after those that the trees saw.

    Parameters
    ----------
    volatility_factor
        By which a level that is right in the logarithm is raised to the mean.
    return_slope
        Expected return, in expected volatilities, at a probability of one (half of it at a lead of 0.25).
    interval_factor
        Half-width of the interval in expected volatilities.
    """

    volatility_factor: float
    return_slope: float
    interval_factor: float


@dataclass(frozen=True, slots=True)
class FittedTrees:
    """Fitted heads; `cryptoai_assets.lib.export` writes them as one graph.

    Parameters
    ----------
    direction, volatility
        One head a horizon, over the features `selected`.
    range_low, range_high
        Per feature of the input; a value outside was hardly seen in training.
    members
        Of an ensemble by kind, each as if it had been fitted alone; none otherwise.
    """

    horizons: tuple[int, ...]
    names: tuple[str, ...]
    selected: tuple[int, ...]
    direction: tuple[TreeHead, ...]
    volatility: tuple[TreeHead, ...]
    coupling: tuple[Coupling, ...]
    range_low: Float32Array
    range_high: Float32Array
    range_limit: float
    members: "Mapping[str, FittedTrees]" = field(default_factory=dict)

    def predict(self, data: Dataset) -> Predictions:
        """Predictions of the native library, which the exported graph is compared with."""
        rows = rows_of(data.with_features(self.names).values)
        inputs = np.ascontiguousarray(rows[:, self.selected])
        anchor = rows[:, self.names.index(VOLATILITY_ANCHOR)].astype(np.float64)
        up = np.column_stack([head.predict(inputs) for head in self.direction])
        relative = np.column_stack([head.predict(inputs) for head in self.volatility])
        factors = np.array([coupling.volatility_factor for coupling in self.coupling])
        volatility = factors * np.exp(relative) * np.maximum(anchor, VOLATILITY_FLOOR)[:, None]
        slopes = np.array([coupling.return_slope for coupling in self.coupling])
        members = {kind: member.predict(data) for kind, member in self.members.items()}
        return Predictions(slopes * (2 * up - 1) * volatility, up, volatility, members)

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
        chosen = chosen_features(
            data, horizons=horizons, always=VOLATILITY_ANCHOR, seed=seed, threads=self.threads
        )
        data = data.with_features(chosen)
        selected = varying(data)
        earlier, later = _calibration_split(data, max(horizons))
        trial = self._heads(earlier, horizons, selected, seed)
        fitted = self._heads(data, horizons, selected, seed)
        settings = self.settings
        if not isinstance(settings, EnsembleSettings):
            return _coupled(fitted, trial, later)
        weighted = _weighted(settings, trial, later)
        members = {
            member.kind: _coupled(fitted.member(place), trial.member(place), later)
            for place, member in enumerate(settings.members)
        }
        whole = _coupled(fitted.with_weights(weighted), trial.with_weights(weighted), later)
        return replace(whole, members=members)

    def direction_head(self, data: Dataset, *, horizon: int, seed: int) -> "DirectionHead":
        """Fit the direction head of one horizon alone, as a search does."""
        selected = varying(data)
        rows = rows_of(data.values)[:, selected]
        return DirectionHead(
            selected, self._head(rows, data.target("up", horizon), "direction", seed + horizon)
        )

    def _heads(
        self,
        data: Dataset,
        horizons: tuple[int, ...],
        selected: tuple[int, ...],
        seed: int,
    ) -> FittedTrees:
        rows = rows_of(data.values)
        low, high = np.quantile(rows, [RANGE_QUANTILE, 1 - RANGE_QUANTILE], axis=0).astype(np.float32)
        outside = ((rows < low) | (rows > high)).mean(axis=1)
        inputs = rows[:, selected]
        targets: list[tuple[Float64Array, Objective, int]] = [
            *((data.target("up", h), "direction", h) for h in horizons),
            *((_relative_volatility(data, h), "volatility", h) for h in horizons),
        ]
        grown = [partial(self._head, inputs, target, objective, seed + h) for target, objective, h in targets]
        heads = tuple(side_by_side(grown, threads=self.threads))
        return FittedTrees(
            horizons=horizons,
            names=data.names,
            selected=selected,
            direction=heads[: len(horizons)],
            volatility=heads[len(horizons) :],
            coupling=tuple(Coupling(1.0, 1.0, 1.0) for _ in horizons),
            range_low=low,
            range_high=high,
            range_limit=float(np.quantile(outside, 0.999)),
        )

    def _head(self, rows: Float32Array, target: Float64Array, objective: Objective, seed: int) -> TreeHead:
        known = np.isfinite(target)
        return self.settings.grow(rows[known], target[known], objective=objective, seed=seed)


def _weighted(settings: EnsembleSettings, trial: FittedTrees, later: Dataset) -> EnsembleSettings:
    """Weights by each member's skill on rows after those that it saw, averaged over the horizons."""
    rows = np.ascontiguousarray(rows_of(later.values)[:, trial.selected])
    up = [later.target("up", h) for h in trial.horizons]
    relative = [_relative_volatility(later, h) for h in trial.horizons]
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


def _relative_volatility(data: Dataset, horizon: int) -> Float64Array:
    """Log of the realised volatility over the anchor's; NaN where nothing moved or nothing is known."""
    realised = data.target("volatility", horizon)
    anchor = np.maximum(data.column(VOLATILITY_ANCHOR), VOLATILITY_FLOOR)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(realised / anchor)
    # A still bar has no logarithm; it counts as one twentieth of the usual move.
    relative = np.where(realised == 0, -3.0, relative)
    return np.clip(relative, -3.0, 4.0)


def _calibration_split(data: Dataset, horizon: int) -> tuple[Dataset, Dataset]:
    times = data.times
    cut = int(len(times) * (1 - CALIBRATION_SHARE))
    return data.between(None, times[max(cut - horizon, 1)]), data.between(times[cut], None)


def _coupled(fitted: FittedTrees, trial: FittedTrees, later: Dataset) -> FittedTrees:
    """Heads tied together by rows that those of the trial did not see."""
    return replace(fitted, coupling=_coupling(trial.predict(later), later, fitted.horizons))


def _coupling(predicted: Predictions, later: Dataset, horizons: tuple[int, ...]) -> tuple[Coupling, ...]:
    couplings = []
    for column, horizon in enumerate(horizons):
        realised = later.target("return", horizon)
        factor = mean_factor(predicted.expected_volatility[:, column], later.target("volatility", horizon))
        volatility = factor * predicted.expected_volatility[:, column]
        lead = (2 * predicted.probability_up[:, column] - 1) * volatility
        known = np.isfinite(realised)
        lead, realised, volatility = lead[known], realised[known], volatility[known]
        # Weighted least squares through the origin: each row in units of its own volatility.
        weight = 1 / volatility**2
        slope = float((weight * lead * realised).sum() / max((weight * lead**2).sum(), 1e-12))
        slope = max(slope, 0.0)
        miss = np.abs(realised - slope * lead) / volatility
        couplings.append(Coupling(factor, slope, float(np.quantile(miss, INTERVAL_COVERAGE))))
    return tuple(couplings)
