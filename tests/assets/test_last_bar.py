"""The regression that a network begins with: it finds a weak signal, and reads only what is known."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.network_problem import small_problem
from sklearn.metrics import roc_auc_score

from cryptoai_assets.lib.models.networks.last_bar import last_bar_weights
from cryptoai_assets.lib.models.networks.problem import TrainingProblem, Windows
from cryptoai_assets.lib.models.networks.weights import LAST_BAR

FEATURES = 30


def weak_problem() -> tuple[TrainingProblem, np.ndarray]:
    """A direction that the last bar tells a little beyond chance; and its true lead."""
    random = np.random.default_rng(5)
    bars = random.normal(size=(30_000, FEATURES)).astype(np.float32)
    lead = bars @ random.normal(0, 0.15 / FEATURES**0.5, FEATURES)
    noise = random.normal(size=(len(bars), 1))
    targets = np.stack([lead[:, None] + noise, lead[:, None] + noise > 0, -lead[:, None]], axis=1)
    last = np.arange(20_000, dtype=np.int64)
    training = Windows(last, targets[:20_000].astype(np.float32))
    problem = replace(small_problem("lstm"), horizons=1, bars=bars, training=training, stopping=None)
    return problem, lead


def test_weak_signal_of_the_last_bar_is_found_by_every_head() -> None:
    problem, lead = weak_problem()
    weight = last_bar_weights(problem)[LAST_BAR]
    assert weight.shape == (3, FEATURES)
    said = problem.bars[20_000:] @ weight.T
    assert np.corrcoef(said[:, 0], lead[20_000:])[0, 1] > 0.9
    assert np.corrcoef(said[:, 1], lead[20_000:])[0, 1] > 0.9
    assert np.corrcoef(said[:, 2], -lead[20_000:])[0, 1] > 0.9
    up = problem.training.targets[:, 1, 0]
    assert 0.53 < roc_auc_score(up, lead[:20_000]) < 0.58, "the signal is weak"


def test_outcomes_that_are_not_known_are_left_out_and_the_heads_do_not_change_places() -> None:
    problem = small_problem("lstm")
    known = last_bar_weights(problem)
    targets = problem.training.targets.copy()
    forgotten = replace(problem, training=replace(problem.training, targets=targets))
    targets[::2, :, 1] = np.nan
    found = last_bar_weights(forgotten)
    # By head, then by horizon: the second of two horizons is every other row.
    assert np.array_equal(found[LAST_BAR][::2], known[LAST_BAR][::2])
    assert not np.isclose(found[LAST_BAR][1::2], known[LAST_BAR][1::2]).all(axis=1).any()
    assert np.isfinite(found[LAST_BAR]).all()


@pytest.mark.parametrize("outcome", [1.0, np.nan])
def test_direction_without_two_outcomes_says_nothing(outcome: float) -> None:
    problem = small_problem("lstm")
    targets = problem.training.targets.copy()
    targets[:, :2] = outcome
    found = last_bar_weights(replace(problem, training=replace(problem.training, targets=targets)))
    assert (found[LAST_BAR][2:4] == 0).all()
    assert (found["heads.bias"][2:4] == 0).all()
    assert np.isfinite(found[LAST_BAR]).all()


def test_regression_reads_the_last_bar_of_training_windows_alone() -> None:
    problem = small_problem("lstm")
    assert problem.stopping is not None
    bars = problem.bars.copy()
    bars[problem.training.last[-1] + 1 :] *= 7
    bars[: problem.training.last[0]] *= 7
    stopping = replace(problem.stopping, targets=1 - problem.stopping.targets)
    other = replace(problem, bars=bars, stopping=stopping)
    ours, theirs = last_bar_weights(problem), last_bar_weights(other)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
