"""A network's training without gradients: the body stays as its seed made it, the heads are a regression.

It holds what it was asked, so that a test sees which rows a fit reads.
"""

from dataclasses import dataclass, field

import numpy as np

from cryptoai_assets.lib.models.networks.problem import AfterEpoch, Epoch, Solution, TrainingProblem, Windows
from cryptoai_assets.lib.models.networks.weights import LAST_BAR, OUTPUTS, first_weights, head_outputs

RIDGE = 10.0
EPOCHS = 3


@dataclass
class RidgeSolver:
    """Solves at once, and says that it took `EPOCHS` epochs, or as many as are asked for."""

    problems: list[TrainingProblem] = field(default_factory=list)

    def __call__(self, problem: TrainingProblem, *, after_epoch: AfterEpoch) -> Solution:
        self.problems.append(problem)
        body, weights = self._body(problem, problem.training)
        for output in range(OUTPUTS):
            for column in range(problem.horizons):
                row = output * problem.horizons + column
                target = problem.training.targets[:, output, column]
                known = np.isfinite(target)
                # The slope of the logistic function is a quarter: four times the lead is the logit.
                wanted = 4 * (target[known] - 0.5) if output == 1 else target[known]
                inputs = np.column_stack([body[known], np.ones(known.sum())]).astype(np.float64)
                gram = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
                found = np.linalg.solve(gram, inputs.T @ wanted)
                weights["heads.weight"][row], weights["heads.bias"][row] = found[:-1], found[-1]
        epochs = EPOCHS if problem.stopping is not None else problem.epochs
        for number in range(1, epochs + 1):
            after_epoch(Epoch(number, problem.epochs, 1 / number, None))
        return Solution(weights, epochs)

    def _body(self, problem: TrainingProblem, windows: Windows) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What the heads read of each window: the outputs of heads that only hand it on."""
        settings = problem.settings
        weights = dict(
            first_weights(
                settings, features=problem.bars.shape[1], horizons=problem.horizons, seed=problem.seed
            )
        )
        through = {
            "heads.weight": np.eye(settings.width),
            "heads.bias": np.zeros(settings.width),
            LAST_BAR: np.zeros((settings.width, problem.bars.shape[1])),
        }
        places = windows.last[:, None] + np.arange(1 - settings.lookback, 1)
        outputs = head_outputs(settings, {**weights, **through}, problem.bars[places])
        return outputs.reshape(len(places), settings.width), weights
