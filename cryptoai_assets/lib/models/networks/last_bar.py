"""The regression on the last bar that a network begins with: solved, where gradients would wander.

A market's direction has so little signal that the noise of small batches hides it from gradients, while a
regression on all rows finds it at once. What a network learns is what the regression misses.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from cryptoai_assets.lib.models.networks.problem import TrainingProblem
from cryptoai_assets.lib.models.networks.weights import LAST_BAR, OUTPUTS, Weights
from edge_bundle.windows import Float32Array

DIRECTION = 1
# As those of the baseline `linear`: of the logistic regression, and of ridge regression by row.
_LOGISTIC_STRENGTH = 0.01
_RIDGE_A_ROW = 0.1


def last_bar_weights(problem: TrainingProblem) -> Weights:
    """Weights of the regression on the last bar of every training window, and the biases of the heads."""
    inputs = problem.bars[problem.training.last]
    outputs = OUTPUTS * problem.horizons
    weight = np.zeros((outputs, inputs.shape[1]), dtype=np.float32)
    bias = np.zeros(outputs, dtype=np.float32)
    for output in range(OUTPUTS):
        for column in range(problem.horizons):
            wanted = problem.training.targets[:, output, column]
            known = np.isfinite(wanted)
            regression = _logistic if output == DIRECTION else _ridge
            place = output * problem.horizons + column
            weight[place], bias[place] = regression(inputs[known], wanted[known])
    return {LAST_BAR: weight, "heads.bias": bias}


def _logistic(inputs: Float32Array, up: Float32Array) -> tuple[Float32Array, float]:
    if len(np.unique(up)) < 2:
        return np.zeros(inputs.shape[1], dtype=np.float32), 0.0
    found = LogisticRegression(C=_LOGISTIC_STRENGTH, solver="newton-cholesky").fit(inputs, up)
    return found.coef_[0], float(found.intercept_[0])


def _ridge(inputs: Float32Array, wanted: Float32Array) -> tuple[Float32Array, float]:
    if not len(wanted):
        return np.zeros(inputs.shape[1], dtype=np.float32), 0.0
    found = Ridge(alpha=_RIDGE_A_ROW * len(wanted)).fit(inputs, wanted)
    return found.coef_, float(found.intercept_)
