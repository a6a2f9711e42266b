"""Training by gradients: the module is the network's definition, and a kill changes nothing."""

import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import mortal_network
from fakes.network_problem import SETTINGS, small_problem

from cryptoai_assets.lib.models.networks.gradients import GradientSolver, NetworkModule, TrainedNetwork
from cryptoai_assets.lib.models.networks.last_bar import last_bar_weights
from cryptoai_assets.lib.models.networks.problem import Epoch, Solution, TrainingProblem
from cryptoai_assets.lib.models.networks.weights import LAST_BAR, first_weights, head_outputs
from cryptoai_assets.lib.side_by_side import side_by_side

KINDS = tuple(SETTINGS)
PROJECT = Path(__file__).parents[2]


def solved(problem: TrainingProblem, folder: Path | None = None, told: list[Epoch] | None = None) -> Solution:
    return GradientSolver(1, folder)(problem, after_epoch=(told if told is not None else []).append)


def equal(first: Solution, second: Solution) -> bool:
    return first.epochs == second.epochs and all(
        np.array_equal(first.weights[name], second.weights[name]) for name in first.weights
    )


@pytest.mark.parametrize("kind", KINDS)
def test_module_says_what_the_definition_says(kind: str) -> None:
    settings, random = SETTINGS[kind], np.random.default_rng(5)
    weights = {
        name: values + random.normal(0, 0.1, values.shape).astype(np.float32)
        for name, values in first_weights(settings, features=4, horizons=2, seed=1).items()
    }
    windows = random.normal(size=(50, settings.lookback, 4)).astype(np.float32)
    module = NetworkModule(settings, weights).eval()
    with torch.no_grad():
        said = module(torch.from_numpy(windows)).numpy()
    defined = head_outputs(settings, weights, windows)
    np.testing.assert_allclose(said, defined, atol=2e-6)
    np.testing.assert_allclose(TrainedNetwork(settings, weights, 1)(windows), defined, atol=2e-6)
    assert {name: values.shape for name, values in module.weights().items()} == {
        name: values.shape for name, values in weights.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_bits_and_another_seed_others(kind: str) -> None:
    first, again, other = (solved(small_problem(kind, seed=seed, epochs=1)) for seed in (3, 3, 4))
    assert equal(first, again)
    assert not equal(first, other)


def test_trainings_side_by_side_become_what_each_becomes_alone() -> None:
    """PyTorch's random numbers and number of threads are those of a process, not of a thread."""
    problems = [small_problem(kind, epochs=2) for kind in KINDS]
    told = side_by_side([partial(solved, problem) for problem in problems], threads=2)
    assert all(equal(one, solved(problem)) for one, problem in zip(told, problems, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_training_that_was_killed_becomes_what_it_would_have_become(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "fakes.mortal_network", kind, str(tmp_path / "checkpoints")]
    told = tmp_path / "told.npz"
    killed = subprocess.Popen(
        [*command, str(told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env=program_environment(),
    )
    assert killed.stdout is not None
    assert killed.stdin is not None
    assert killed.stdout.readline() == "1\n"
    killed.stdin.write("\n")
    killed.stdin.flush()
    assert killed.stdout.readline() == "2\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    resumed = subprocess.run(
        [*command, str(told)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env=program_environment(),
    )
    # The second epoch was done, not kept: it is done again.
    assert resumed.stdout.split()[0] == "2"
    whole = solved(small_problem(kind, epochs=mortal_network.EPOCHS))
    with np.load(told) as found:
        assert all(np.array_equal(found[name], whole.weights[name]) for name in whole.weights)


def program_environment() -> dict[str, str]:
    """Of a program that finds the project and its fakes."""
    return {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}", "OMP_NUM_THREADS": "1"}


def test_checkpoint_of_another_problem_is_not_gone_on_from(tmp_path: Path) -> None:
    first = small_problem("lstm", epochs=2)
    solved(first, tmp_path)
    told: list[Epoch] = []
    targets = first.training.targets.copy()
    targets[0, 0, 0] += 1
    other = replace(first, training=replace(first.training, targets=targets))
    solved(other, tmp_path, told)
    assert told[0].number == 1
    again: list[Epoch] = []
    solved(first, tmp_path, again)
    assert again == []


@pytest.mark.parametrize("kind", KINDS)
def test_direction_that_an_earlier_bar_tells_is_learnt(kind: str) -> None:
    problem = small_problem(kind)
    told: list[Epoch] = []
    solution = solved(problem, told=told)
    assert problem.stopping is not None
    windows = problem.bars[problem.stopping.last[:, None] + np.arange(1 - problem.settings.lookback, 1)]
    said = head_outputs(problem.settings, solution.weights, windows)
    assert ((said[:, 1] > 0) == (problem.stopping.targets[:, 1] > 0.5)).mean() > 0.75
    assert np.corrcoef(said[:, 2, 0], problem.stopping.targets[:, 2, 0])[0, 1] > 0.7
    assert told[-1].loss < told[0].loss < 1.6
    best = min(epoch.stopping_loss for epoch in told if epoch.stopping_loss is not None)
    assert told[solution.epochs - 1].stopping_loss == best


def test_training_without_stopping_windows_takes_all_its_epochs() -> None:
    told: list[Epoch] = []
    solution = solved(small_problem("lstm", stopping=False, epochs=2), told=told)
    assert solution.epochs == len(told) == 2
    assert told[0].stopping_loss is None


def test_training_stops_after_as_many_epochs_without_a_better_one_as_it_is_patient() -> None:
    problem = small_problem("lstm")
    assert problem.stopping is not None
    noise = np.random.default_rng(1).permutation(problem.stopping.targets)
    training = replace(problem.settings.training, epochs=40, patience=2, learning_rate=2e-2)
    settings = replace(problem.settings, training=training)
    told: list[Epoch] = []
    stopping = replace(problem.stopping, targets=noise)
    solution = solved(
        replace(problem, settings=settings, stopping=stopping, epochs=40, planned=40), told=told
    )
    assert len(told) == solution.epochs + 2 < 40


@pytest.mark.parametrize("kind", KINDS)
def test_training_whose_every_epoch_is_worse_leaves_the_regression_on_the_last_bar(kind: str) -> None:
    """What the bar before the last tells in training, it tells the other way round afterwards."""
    problem = small_problem(kind)
    assert problem.stopping is not None
    parts = []
    for part, earlier in ((problem.training, 2), (problem.stopping, -2)):
        lead = problem.bars[part.last, 0] + earlier * problem.bars[part.last - 1, 2]
        told = np.stack([lead, lead > 0, lead], axis=1)[:, :, None] + np.zeros(2)
        parts.append(replace(part, targets=told.astype(np.float32)))
    training = replace(problem.settings.training, patience=2)
    wild = replace(
        problem,
        settings=replace(problem.settings, training=training),
        training=parts[0],
        stopping=parts[1],
    )
    epochs: list[Epoch] = []
    solution = solved(wild, told=epochs)
    assert (solution.epochs, len(epochs)) == (0, 2)
    assert np.array_equal(solution.weights[LAST_BAR], last_bar_weights(wild)[LAST_BAR])
    again = solved(replace(wild, stopping=None, epochs=0))
    assert again.epochs == 0
    assert all(np.array_equal(again.weights[name], solution.weights[name]) for name in solution.weights)


@pytest.mark.parametrize("kind", KINDS)
def test_regression_on_the_last_bar_is_not_trained(kind: str) -> None:
    problem = small_problem(kind, epochs=2)
    assert np.array_equal(solved(problem).weights[LAST_BAR], last_bar_weights(problem)[LAST_BAR])
