"""Turns that are read together, against all orders that there are."""

from itertools import product

import numpy as np
import pytest
from fakes.chart_problem import walk_set

from edge_bundle.chart_rule import Turn
from edge_bundle.chart_turns import alternating_turns

BARS, UNCONFIRMED = 8, 2


def said(pictures: int, bars: int, seed: int) -> np.ndarray:
    """Probabilities of a network that knows nothing."""
    random = np.random.default_rng(seed)
    return random.dirichlet([0.7, 0.7, 0.7], (pictures, bars)).astype(np.float32)


def orders(bars: int) -> np.ndarray:
    """All turns of so many bars in which tops and bottoms take turns, and none in the last."""
    every = np.array(list(product((-1, 0, 1), repeat=bars - UNCONFIRMED)), dtype=np.int8)
    alternating = [
        bool((turned[1:] != turned[:-1]).all()) for turned in (order[order != Turn.NONE] for order in every)
    ]
    return np.pad(every[alternating], ((0, 0), (0, UNCONFIRMED)))


def test_likeliest_order_of_all_is_found_with_its_share_of_the_probability() -> None:
    every, told = orders(BARS), said(300, BARS, seed=3)
    known = np.arange(BARS - UNCONFIRMED)
    chances = told[:, known, every[:, None, known] + 1].prod(axis=3)[:, :, 0]  # (pictures, orders)
    seen = alternating_turns(told, unconfirmed=UNCONFIRMED)
    np.testing.assert_array_equal(seen.turns, every[chances.argmax(axis=1)])
    np.testing.assert_allclose(seen.chance, chances.max(axis=1) / chances.sum(axis=1), rtol=1e-4)


def test_bar_of_two_minds_is_one_turn() -> None:
    told = np.tile(np.array([0.02, 0.96, 0.02], dtype=np.float32), (1, BARS, 1))
    told[0, [2, 3]] = [[0.0, 0.45, 0.55], [0.0, 0.4, 0.6]]
    told[0, 5] = [0.9, 0.1, 0.0]
    assert np.flatnonzero(told[0].argmax(axis=1) != 1).tolist() == [2, 3, 5]
    seen = alternating_turns(told, unconfirmed=UNCONFIRMED)
    assert seen.turns[0].tolist() == [0, 0, 0, Turn.TOP, 0, Turn.BOTTOM, 0, 0]


def test_turns_of_the_rule_that_are_seen_clearly_are_read_as_they_are() -> None:
    turns = walk_set().turns
    clear = np.eye(3, dtype=np.float32)[turns.astype(int) + 1]
    seen = alternating_turns(clear, unconfirmed=3)
    np.testing.assert_array_equal(seen.turns, turns)
    assert seen.chance.min() > 0.99


def test_turn_on_every_bar_stays_finite() -> None:
    bars = 60
    every = np.eye(3, dtype=np.float32)[np.arange(bars) % 2 * 2][None]
    seen = alternating_turns(every, unconfirmed=3)
    np.testing.assert_array_equal(seen.turns[0, :57], np.resize([-1, 1], 57))
    assert seen.chance[0] == pytest.approx(1.0, abs=1e-3)
