"""What a network is trained on: scaled bars, the windows that are read, and what the heads should say.

It knows nothing of gradients; `gradients` beside it solves it with PyTorch.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cryptoai_assets.lib.datasets import Dataset, Int64Array
from cryptoai_assets.lib.models.coupling import anchor, relative_volatility
from cryptoai_assets.lib.models.networks.fitted import RobustScaling
from cryptoai_assets.lib.models.networks.settings import NetworkSettings
from cryptoai_assets.lib.models.networks.weights import Forward, Weights
from edge_bundle.windows import Float32Array

# Of those that start within one lookback, an epoch reads this many, and more decide when to stop.
WINDOWS_A_LOOKBACK, STOPPING_WINDOWS_A_LOOKBACK = 4, 20
MOST_DEVIATIONS = 5.0


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows by the place of their last bar, with what followed.

    Parameters
    ----------
    last
        (windows,) places in the bars of the problem.
    targets
        (windows, 3, horizons): return in volatilities of the anchor, up, relative volatility; NaN where it is
        not known.
    """

    last: Int64Array
    targets: Float32Array


@dataclass(frozen=True, slots=True)
class TrainingProblem:
    """Everything that decides what a training becomes.

    Parameters
    ----------
    bars
        (bars, features) scaled; the windows of `training` and of `stopping` are gathered from them.
    stopping
        Later windows, purged, whose loss decides when to stop; None to train for `epochs`.
    epochs
        At most, or exactly where nothing decides.
    planned
        Epochs over which the learning rate falls.
    """

    settings: NetworkSettings
    horizons: int
    bars: Float32Array
    training: Windows
    stopping: Windows | None
    epochs: int
    planned: int
    seed: int

    def turn(self, epoch: int) -> Int64Array:
        """Training windows that an epoch reads: every `stride_bars`-th, and other ones the next time.

        Neighbouring windows are near copies; what follows them is not.
        """
        stride = stride_bars(self.settings.lookback)
        return np.flatnonzero(self.training.last % stride == epoch % stride)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished epoch.

    Parameters
    ----------
    number
        From one, of at most `of`.
    loss
        Of the training windows, in shares of what saying the mean costs.
    stopping_loss
        Of the windows that decide when to stop, likewise; None where there are none.
    """

    number: int
    of: int
    loss: float
    stopping_loss: float | None

    @property
    def bar(self) -> str:
        """A progress bar for a log."""
        done = round(20 * self.number / self.of)
        stopping = "" if self.stopping_loss is None else f", stopping loss {self.stopping_loss:.5f}"
        return (
            f"[{'#' * done}{'.' * (20 - done)}] epoch {self.number}/{self.of}, loss {self.loss:.5f}{stopping}"
        )


AfterEpoch = Callable[[Epoch], None]


def _untold(_: Epoch) -> None:
    """Nobody asks."""


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """What a run of trainings keeps and tells; it changes no score.

    Parameters
    ----------
    checkpoints
        Folder from which a training that was killed goes on; None keeps nothing.
    """

    checkpoints: Path | None = None
    after_epoch: AfterEpoch = _untold

    def finish(self) -> None:
        """Drop the checkpoints: what they were for is made."""
        if self.checkpoints is not None:
            shutil.rmtree(self.checkpoints, ignore_errors=True)


UNTOLD = NetworkRun()


@dataclass(frozen=True, slots=True)
class Solution:
    """Weights of the best epoch, and which it was.

    Parameters
    ----------
    forward
        Of the trained network itself, where the solver has one.
    """

    weights: Weights
    epochs: int
    forward: Forward | None = None


class Solver(Protocol):
    """A way to solve a training problem."""

    def __call__(self, problem: TrainingProblem, *, after_epoch: AfterEpoch) -> Solution:
        """Train; the same problem has the same solution."""
        ...


def training_problem(
    settings: NetworkSettings,
    training: Dataset,
    stopping: Dataset | None,
    scaling: RobustScaling,
    *,
    horizons: tuple[int, ...],
    epochs: int,
    planned: int,
    seed: int,
) -> TrainingProblem:
    """Problem of some rows; both datasets are parts of one.

    Raises
    ------
    LookbackError
        When the dataset holds fewer bars a row than the network reads.
    """
    training.windows(settings.lookback, np.arange(0))  # refuses what is too short
    if training.history is None:
        parts = [training] if stopping is None else [training, stopping]
        bars = np.concatenate([part.values[:, -1] for part in parts])
        ends = [np.arange(len(training)), np.arange(len(training), len(bars))]
    else:
        bars = training.history.bars[:, training.history.columns]
        ends = [part.history.last for part in (training, stopping) if part and part.history]
    return TrainingProblem(
        settings=settings,
        horizons=len(horizons),
        bars=scaling.scaled(bars),
        training=_windows(training, ends[0], 1, horizons),
        stopping=None
        if stopping is None
        else _windows(stopping, ends[1], settings.lookback // STOPPING_WINDOWS_A_LOOKBACK, horizons),
        epochs=epochs,
        planned=planned,
        seed=seed,
    )


def stride_bars(lookback: int) -> int:
    """Bars from one training window of an epoch to the next."""
    return max(1, lookback // WINDOWS_A_LOOKBACK)


def _windows(data: Dataset, last: Int64Array, stride: int, horizons: tuple[int, ...]) -> Windows:
    read = last % max(1, stride) == 0
    targets = np.stack([_targets(data, horizon) for horizon in horizons], axis=2)
    return Windows(last[read], targets[read].astype(np.float32))


def _targets(data: Dataset, horizon: int) -> npt.NDArray[np.float64]:
    """(rows, 3) what the heads of one horizon should say."""
    deviations = data.target("return", horizon) / (anchor(data) * horizon**0.5)
    lead = np.clip(deviations, -MOST_DEVIATIONS, MOST_DEVIATIONS)
    return np.column_stack([lead, data.target("up", horizon), relative_volatility(data, horizon)])
