"""A fitted network: scaling, weights, calibration; it needs no PyTorch to say what it says."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import Self

import numpy as np
from scipy.special import expit

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.coupling import Coupling, TrainingRange, coupled
from cryptoai_assets.lib.models.forecaster_model import Predictions, rows_of
from cryptoai_assets.lib.models.networks.settings import NetworkSettings
from cryptoai_assets.lib.models.networks.weights import LAST_BAR, OUTPUTS, Forward, Weights, head_outputs
from edge_bundle.windows import Float32Array

CLIP = 5.0
BATCH_ROWS = 512
# The interquartile range of a normal distribution, in standard deviations.
_NORMAL_QUARTILES = 1.349


@dataclass(frozen=True, slots=True)
class RobustScaling:
    """Scaling by median and quartiles, clipped: an outlier in training moves neither.

    Parameters
    ----------
    centre, inverse
        (features,); the inverse is 0 for a feature that is constant in training, which is then not read.
    """

    centre: Float32Array
    inverse: Float32Array

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Scaling of training rows."""
        rows = rows_of(data.values).astype(np.float64)
        low, centre, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
        # Where most rows are equal the quartiles say nothing of the rest.
        spread = np.where(high > low, (high - low) / _NORMAL_QUARTILES, rows.std(axis=0))
        varies = np.ptp(rows, axis=0) > 0
        inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies & (spread > 0))
        return cls(centre.astype(np.float32), inverse.astype(np.float32))

    def scaled(self, values: Float32Array) -> Float32Array:
        """Scale the last axis."""
        with np.errstate(invalid="ignore"):  # bars that are in no window may not be finite
            scaled = (values - self.centre) * self.inverse
        return np.asarray(np.clip(scaled, -CLIP, CLIP), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt's scaling of one horizon's logit, fitted on rows that the network did not see.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999.

    Parameters
    ----------
    slope
        Of what the body adds; 0 where that pointed to the wrong side.
    regression
        Slope of what the regression on the last bar says, likewise.
    """

    slope: float
    regression: float
    intercept: float


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A fitted network; `cryptoai_assets.lib.export` writes it as one graph.

    Parameters
    ----------
    weights
        See `cryptoai_assets.lib.models.networks.weights`.
    calibration, coupling
        By horizon.
    epochs
        That its training took.
    forward
        Of the trained network itself; None is by the definition, `weights.head_outputs`.
    """

    settings: NetworkSettings
    horizons: tuple[int, ...]
    names: tuple[str, ...]
    scaling: RobustScaling
    weights: Weights
    calibration: tuple[Calibration, ...]
    coupling: tuple[Coupling, ...]
    training_range: TrainingRange
    epochs: int
    forward: Forward | None = field(default=None, compare=False, repr=False)

    @property
    def lookback(self) -> int:
        """Bars that it reads."""
        return self.settings.lookback

    def predict(self, data: Dataset) -> Predictions:
        """Predictions of the trained network, which the exported graph is compared with."""
        data = data.with_features(self.names)
        return self.told(self.head_outputs(data), data)

    def told(self, outputs: Float64Array, data: Dataset) -> Predictions:
        """Predictions by what `head_outputs` gave of the same rows."""
        slopes, regressions, intercepts = np.array([astuple(one) for one in self.calibration]).T
        known = self.regression_logits(data)
        logits = slopes * (outputs[:, 1] - known) + regressions * known + intercepts
        return coupled(
            self.coupling,
            probability_up=expit(logits),
            lead=outputs[:, 0],
            relative_volatility=outputs[:, 2],
            data=data,
        )

    def head_outputs(self, data: Dataset) -> Float64Array:
        """(rows, 3, horizons) lead, logit and relative volatility, neither calibrated nor coupled.

        Parameters
        ----------
        data
            With the features that the network reads, in order.
        """
        batches = np.array_split(np.arange(len(data)), max(1, -(-len(data) // BATCH_ROWS)))
        forward = self.forward or partial(head_outputs, self.settings, self.weights)
        parts = [forward(self.scaling.scaled(data.windows(self.lookback, rows))) for rows in batches]
        return np.concatenate(parts).astype(np.float64)

    def regression_logits(self, data: Dataset) -> Float64Array:
        """(rows, horizons) what the regression on the last bar adds to the logits of `head_outputs`."""
        _, logits, _ = np.split(self.weights[LAST_BAR], OUTPUTS)
        return (self.scaling.scaled(rows_of(data.values)) @ logits.T).astype(np.float64)

    def tied(self, calibration: tuple[Calibration, ...], coupling: tuple[Coupling, ...]) -> Self:
        """Return it with what was fitted on rows that a network like it did not see."""
        return replace(self, calibration=calibration, coupling=coupling)

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the weights of the first layer and of the last bar's, largest first."""
        parts = next(iter(self.weights.values())), self.weights[LAST_BAR]  # each (outputs, features)
        sizes = [np.abs(part).sum(axis=0) * (self.scaling.inverse > 0) for part in parts]
        mean = np.mean([size / max(float(size.sum()), 1e-12) for size in sizes], axis=0)
        share = zip(self.names, (mean / max(float(mean.sum()), 1e-12)).tolist(), strict=True)
        return dict(sorted(share, key=lambda item: -item[1]))
