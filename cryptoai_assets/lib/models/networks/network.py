"""A network forecaster, one for all symbols: trained, stopped and calibrated on rows in that order."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

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
        train = partial(self._trained, horizons=horizons, seed=seed)
        trial = train(training, stopping, epochs=planned, planned=planned)
        outputs = trial.head_outputs(later)
        averages = _averages(trial, training)
        slopes = _slopes(_parts(trial, outputs, later), averages, later, horizons)
        trial = trial.tied(_calibration(slopes, averages), trial.coupling)
        volatility = trial.told(outputs, later).expected_volatility
        trial = trial.tied(trial.calibration, couplings(volatility, outputs[:, 0], later, horizons))
        # Its rate of learning ends at nothing where the first one's best epoch was in the middle of it.
        fitted = train(data, None, epochs=trial.epochs, planned=max(1, trial.epochs))
        return trial, fitted.tied(_calibration(slopes, _averages(fitted, data)), trial.coupling)

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
            forward=solution.forward,
        )


def _slopes(
    parts: Float64Array, averages: Float64Array, later: Dataset, horizons: tuple[int, ...]
) -> Float64Array:
    """(2, horizons) of the body and of the regression, of least log loss on rows that neither saw.

    Parameters
    ----------
    parts, averages
        What `_parts` says of these rows, and `_averages` of the training rows.
    """
    centred = parts - averages[:2]
    found = [
        _shrunk(centred[:, :, column], averages[2, column], later.target("up", horizon))
        for column, horizon in enumerate(horizons)
    ]
    return np.array(found).T


def _shrunk(parts: Float64Array, base: float, up: Float64Array) -> Float64Array:
    """Factors of two parts of a logit, each from 0, where it pointed to the wrong side, to 1.

    What a network learnt is weakened where later rows do not bear it out, and never made more of.

    Parameters
    ----------
    parts
        (rows, 2) logits that the body adds, and those of the regression.
    base
        Logit where both are 0.
    """
    known = np.isfinite(up)
    rows, ups = parts[known], up[known]

    def loss(slopes: Float64Array) -> tuple[float, Float64Array]:
        logits = base + rows @ slopes
        slope = (expit(logits) - ups) @ rows / len(rows)
        return float(np.mean(np.logaddexp(0, logits) - ups * logits)), slope

    if not len(rows):
        return np.ones(2)
    found = minimize(loss, np.ones(2), jac=True, bounds=[(0, 1), (0, 1)], method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64)


def _calibration(slopes: Float64Array, averages: Float64Array) -> tuple[Calibration, ...]:
    """By horizon: the mean logit on the training rows of the averages is that of the share of ups there."""
    intercepts = averages[2] - (slopes * averages[:2]).sum(axis=0)
    return tuple(Calibration(*one) for one in np.vstack([slopes, intercepts]).T.tolist())


def _averages(fitted: FittedNetwork, training: Dataset) -> Float64Array:
    """(3, horizons) of the body's logits, of the regression's, and the log odds of the share of ups."""
    thin = _at_every(training, stride_bars(fitted.lookback))
    shares = [np.nanmean(np.append(training.target("up", horizon), [0, 1])) for horizon in fitted.horizons]
    parts = _parts(fitted, fitted.head_outputs(thin), thin)
    return np.vstack([parts.mean(axis=0), np.log(shares) - np.log1p(-np.array(shares))])


def _at_every(data: Dataset, stride: int) -> Dataset:
    """Rows of every `stride`-th time: of all symbols alike, which every `stride`-th row need not be."""
    return data.rows((data.keys["open_time"].rank("dense") % stride == 0).to_numpy())


def _parts(fitted: FittedNetwork, outputs: Float64Array, data: Dataset) -> Float64Array:
    """(rows, 2, horizons) logits that the body adds, and those of the regression, by `head_outputs`."""
    known = fitted.regression_logits(data)
    return np.stack([outputs[:, 1] - known, known], axis=1)
