"""A network forecaster, one for all symbols: trained, stopped and calibrated on rows in that order."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.coupling import (
    VOLATILITY_ANCHOR,
    Coupling,
    TrainingRange,
    calibration_split,
    couplings,
)
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.networks.fitted import Calibration, FittedNetwork, RobustScaling
from cryptoai_assets.lib.models.networks.problem import AfterEpoch, Solver, stride_bars, training_problem
from cryptoai_assets.lib.models.networks.settings import NetworkSettings

# Weak enough to leave the logits as the rows say.
_CALIBRATION_STRENGTH = 1e3


@dataclass(frozen=True, slots=True)
class NetworkDirection:
    """The direction of one horizon, by a network that was fitted for it."""

    fitted: FittedNetwork

    def probability_up(self, data: Dataset) -> Float64Array:
        """Probability of up of every row."""
        return self.fitted.predict(data).probability_up[:, 0]


@dataclass(frozen=True, slots=True)
class Network:
    """A network with its settings.

    Parameters
    ----------
    solver
        That trains; `cryptoai_assets.lib.models.networks.gradients.GradientSolver`.
    threads
        Of the choice of features.
    """

    settings: NetworkSettings
    solver: Solver
    threads: int
    after_epoch: AfterEpoch

    @property
    def kind(self) -> str:
        """Name of the architecture."""
        return self.settings.kind

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedNetwork:
        """Fit on all rows for as many epochs as the earlier rows asked for.

        A first network is trained on the earliest rows, stopped by the rows after them, and calibrated and
        coupled on the last fifth: every probability that the calibration reads was said of rows that the
        network did not see. Between the parts, rows whose labels reach into the next are left out.
        """
        return self.rehearsed(data, horizons=horizons, seed=seed)[1]

    def rehearsed(
        self, data: Dataset, *, horizons: tuple[int, ...], seed: int
    ) -> tuple[FittedNetwork, FittedNetwork]:
        """Return what `fit` returns, after the first network, which did not see the last fifth."""
        chosen = chosen_features(
            data, horizons=horizons, always=VOLATILITY_ANCHOR, seed=seed, threads=self.threads
        )
        data = data.with_features(chosen)
        earlier, later = calibration_split(data, max(horizons))
        training, stopping = self._stopping_split(earlier, max(horizons))
        windows = len(training) // stride_bars(self.settings.lookback)
        planned = self.settings.training.planned_epochs(windows)
        train = partial(self._trained, horizons=horizons, planned=planned, seed=seed)
        trial = train(training, stopping, epochs=planned)
        trial = calibrated(trial, later)
        fitted = train(data, None, epochs=trial.epochs)
        return trial, fitted.tied(trial.calibration, trial.coupling)

    def direction_head(self, data: Dataset, *, horizon: int, seed: int) -> NetworkDirection:
        """Fit for one horizon alone, as a search does."""
        return NetworkDirection(self.fit(data, horizons=(horizon,), seed=seed))

    def _stopping_split(self, earlier: Dataset, horizon: int) -> tuple[Dataset, Dataset]:
        times = earlier.times
        cut = int(len(times) * (1 - self.settings.training.stopping_share))
        return earlier.between(None, times[max(cut - horizon, 1)]), earlier.between(times[cut], None)

    def _trained(
        self,
        data: Dataset,
        stopping: Dataset | None,
        *,
        horizons: tuple[int, ...],
        epochs: int,
        planned: int,
        seed: int,
    ) -> FittedNetwork:
        scaling = RobustScaling.of(data)
        problem = training_problem(
            self.settings,
            data,
            stopping,
            scaling,
            horizons=horizons,
            epochs=epochs,
            planned=planned,
            seed=seed,
        )
        solution = self.solver(problem, after_epoch=self.after_epoch)
        return FittedNetwork(
            settings=self.settings,
            horizons=horizons,
            names=data.names,
            scaling=scaling,
            weights=solution.weights,
            calibration=tuple(Calibration(1.0, 1.0, 0.0) for _ in horizons),
            coupling=tuple(Coupling(1.0, 1.0, 1.0) for _ in horizons),
            training_range=TrainingRange.of(data),
            epochs=solution.epochs,
        )


def calibrated(fitted: FittedNetwork, later: Dataset) -> FittedNetwork:
    """Network with its probabilities calibrated and its heads coupled on rows that it did not see."""
    outputs = fitted.head_outputs(later)
    known = fitted.regression_logits(later)
    parts = np.stack([outputs[:, 1] - known, known], axis=1)  # (rows, 2, horizons)
    calibration = tuple(
        _calibration(parts[:, :, column], later.target("up", horizon))
        for column, horizon in enumerate(fitted.horizons)
    )
    volatility = fitted.told(outputs, later).expected_volatility
    return fitted.tied(calibration, couplings(volatility, outputs[:, 0], later, fitted.horizons))


def _calibration(parts: Float64Array, up: Float64Array) -> Calibration:
    """Slopes and intercept of least log loss; a part that says the wrong side is given no slope.

    Parameters
    ----------
    parts
        (rows, 2) logits that the body adds, and those of the regression.
    """
    known = np.isfinite(up)
    if len(np.unique(up[known])) < 2:
        return Calibration(1.0, 1.0, 0.0)
    slopes, kept = np.zeros(2), [0, 1]
    while kept:
        found = LogisticRegression(C=_CALIBRATION_STRENGTH).fit(parts[known][:, kept], up[known])
        if (found.coef_[0] > 0).all():
            slopes[kept] = found.coef_[0]
            return Calibration(float(slopes[0]), float(slopes[1]), float(found.intercept_[0]))
        kept.pop(int(found.coef_[0].argmin()))
    share = float(up[known].mean())
    return Calibration(0.0, 0.0, float(np.log(share / (1 - share))))
