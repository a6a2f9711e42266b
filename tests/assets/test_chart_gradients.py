"""Training the chart networks: resumable to the bit, told the truth upside down, and exported as it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from fakes.chart_problem import SETTINGS, chart_problem, walk_set

from cryptoai_assets.lib.charts.dataset import Lessons
from cryptoai_assets.lib.charts.gradients import ChartModule, ChartSolver, chart_graph, pixels
from cryptoai_assets.lib.charts.labels import picture_labels
from cryptoai_assets.lib.charts.problem import ChartProblem, chart_batch
from cryptoai_assets.lib.models.networks.problem import Epoch
from edge_bundle.chart import CHART_60, closing_levels
from edge_bundle.chart_rule import RULE, last_turns
from edge_bundle.detection import NO_BAR, Pattern
from edge_bundle.detector import PATTERN, POINTERS, TURNS
from edge_bundle.session import ModelSession

KINDS = tuple(SETTINGS)
# The smallest network also reads windows made for each epoch.
FRESH_SHARES = {"vit": 0.0, "cnn": 0.0, "closes": 0.5}


class StoppedError(Exception):
    """The training is stopped between two epochs."""


def solved(
    problem: ChartProblem, folder: Path | None = None, *, stop_after: int | None = None
) -> ChartModule:
    def after(epoch: Epoch) -> None:
        if epoch.number == stop_after:
            raise StoppedError

    return ChartSolver(1, folder)(problem, after_epoch=after).module


def same(first: ChartModule, second: ChartModule) -> bool:
    own, other = first.state_dict(), second.state_dict()
    return all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize("kind", KINDS)
def test_training_that_was_stopped_becomes_what_it_would_have_become(kind: str, tmp_path: Path) -> None:
    problem = chart_problem(kind, epochs=2, fresh_share=FRESH_SHARES[kind])
    whole = solved(problem)
    # The second epoch is lost: it ended, but was not kept.
    with pytest.raises(StoppedError):
        solved(problem, tmp_path, stop_after=2)
    [kept] = tmp_path.iterdir()
    assert torch.load(kept, weights_only=True)["done"] == 1
    assert same(solved(problem, tmp_path), whole)
    assert not same(solved(replace(problem, seed=2)), whole)


def test_another_problem_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    solved(chart_problem("closes"), tmp_path)
    solved(chart_problem("closes", seed=2), tmp_path)
    solved(chart_problem("closes", epochs=2), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_network_learns_what_it_is_taught(kind: str) -> None:
    losses: list[float] = []
    problem = chart_problem(kind, epochs=3)
    ChartSolver(1, None)(problem, after_epoch=lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < losses[0]


def test_epoch_reads_equally_many_of_each_pattern_from_training_alone() -> None:
    problem = chart_problem("vit")
    lessons = problem.epoch(1)
    data = problem.data
    known = {planes.tobytes() for planes in data.planes[data.part == "training"]}
    assert {planes.tobytes() for planes in lessons.planes} <= known
    counts = np.bincount(lessons.pattern, minlength=len(Pattern))
    assert counts[Pattern.NONE] == 55
    assert set(counts[1:]) == {16}
    assert not np.array_equal(lessons.planes, problem.epoch(2).planes)
    np.testing.assert_array_equal(lessons.planes, problem.epoch(1).planes)


def test_fresh_half_of_an_epoch_is_in_no_other() -> None:
    problem = chart_problem("vit", fresh_share=0.5)
    known = {planes.tobytes() for planes in problem.data.planes}
    first, second = (
        {planes.tobytes() for planes in problem.epoch(number).planes} - known for number in (1, 2)
    )
    assert len(first) > 80
    assert not first & second


def lessons_of(rows: npt.NDArray[np.int64]) -> Lessons:
    return chart_problem("vit").data.lessons(rows)


def test_picture_upside_down_is_what_the_rule_says_of_the_mirrored_candles() -> None:
    lessons = lessons_of(np.arange(300))
    upright = chart_batch(lessons, CHART_60, np.zeros(300, dtype=bool))
    over = chart_batch(lessons, CHART_60, np.ones(300, dtype=bool))
    patterns = [Pattern(one).mirrored for one in upright.pattern]
    np.testing.assert_array_equal(over.pattern, patterns)
    np.testing.assert_array_equal(over.turns, 2 - upright.turns)
    np.testing.assert_array_equal(over.pointers, upright.pointers)
    np.testing.assert_array_equal(
        over.images[:, CHART_60.price_rows :], upright.images[:, CHART_60.price_rows :]
    )
    closes = closing_levels(over.images, CHART_60)
    candles = np.repeat(closes[:, :, None], 5, axis=2).astype(np.float64)
    # The range of the picture, which the closes alone may not fill.
    candles[:, 0, 1], candles[:, 0, 2] = CHART_60.top_level, 0
    found = picture_labels(candles, CHART_60, RULE).pattern
    np.testing.assert_array_equal(found, over.pattern)


def test_pointers_point_at_the_last_turns_and_at_the_ends_of_doubles() -> None:
    data = walk_set()
    rows = np.flatnonzero(data.pattern == Pattern.DOUBLE_TOP)[:20]
    batch = chart_batch(lessons_of(rows), CHART_60, np.zeros(len(rows), dtype=bool))
    np.testing.assert_array_equal(batch.pointers[:, :5], last_turns(data.turns[rows]))
    np.testing.assert_array_equal(batch.pointers[:, 5:], data.key_points[rows, :2])
    others = np.flatnonzero(data.pattern != Pattern.DOUBLE_TOP)[:50]
    others = others[data.pattern[others] != Pattern.DOUBLE_BOTTOM]
    without = chart_batch(lessons_of(others), CHART_60, np.zeros(len(others), dtype=bool))
    assert (without.pointers[:, 5:] == NO_BAR).all()


@pytest.mark.parametrize("kind", KINDS)
def test_graph_says_what_the_network_says(kind: str, tmp_path: Path) -> None:
    module = solved(chart_problem(kind))
    (tmp_path / "model.onnx").write_bytes(chart_graph(module, CHART_60).SerializeToString())
    images = np.ascontiguousarray(walk_set().images(np.arange(7), CHART_60))
    said = ModelSession.open(tmp_path / "model.onnx").run(images)
    with torch.no_grad():
        pattern, pointers, turns = module(pixels(images))
    np.testing.assert_allclose(said[PATTERN], pattern.softmax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(said[POINTERS], pointers.softmax(2).numpy(), atol=1e-5)
    np.testing.assert_allclose(said[TURNS], turns.softmax(2).numpy(), atol=1e-5)
