"""What is hidden of texts: a share of what they say, as what, and what is to be guessed there."""

import numpy as np
import pytest

from cryptoai_assets.lib.sentiment_methods.masked_problem import PretrainingProblem, PretrainingSettings
from edge_bundle.sentiment.transformer import PADDING

SETTINGS = PretrainingSettings(
    epochs=3, batch=8, rate=1e-3, head_rate=1e-2, decay=0.0, dropout=0.1, guessed=0.15
)
BEGIN, END, MASK, WORDS = 101, 102, 103, 100


@pytest.fixture
def problem() -> PretrainingProblem:
    """Texts of 1 to 60 words between a piece where they begin and one where they end."""
    random = np.random.default_rng(3)
    said = [random.integers(1, WORDS, size).tolist() for size in random.integers(1, 60, 1000)]
    pieces = [[BEGIN, *words, END] for words in said]
    return PretrainingProblem(SETTINGS, {}, pieces, MASK, {BEGIN, END, MASK}, seed=1)


def test_a_share_of_what_texts_say_is_hidden_mostly_by_the_mask(problem: PretrainingProblem) -> None:
    rows = range(len(problem.pieces))
    hidden = problem.hidden(rows, np.random.default_rng(5))
    said = sum(len(pieces) - 2 for pieces in problem.pieces)
    assert hidden.places.sum() / said == pytest.approx(0.15, abs=0.01)
    shown = hidden.shown[hidden.places]
    assert (shown == MASK).mean() == pytest.approx(0.8, abs=0.02)
    # An exchanged piece is the same by chance once in as many as there are words.
    assert (shown == hidden.wanted).mean() == pytest.approx(0.1, abs=0.02)


def test_wanted_is_what_stood_there_and_all_else_is_shown_as_it_is(problem: PretrainingProblem) -> None:
    rows = [7, 3, 500]
    hidden = problem.hidden(rows, np.random.default_rng(5))
    wanted = iter(hidden.wanted)
    for shown, places, row in zip(hidden.shown, hidden.places, rows, strict=True):
        back = [next(wanted) if asked else one for one, asked in zip(shown, places, strict=True)]
        size = len(problem.pieces[row])
        assert back[:size] == problem.pieces[row]
        assert set(back[size:]) <= {PADDING}
    assert next(wanted, None) is None


def test_neither_padding_nor_what_no_text_says_is_ever_hidden_or_put_in_a_place(
    problem: PretrainingProblem,
) -> None:
    hidden = problem.hidden(range(len(problem.pieces)), np.random.default_rng(5))
    assert not {PADDING, *problem.unguessed} & {*hidden.wanted.tolist()}
    assert {*hidden.shown[hidden.places].tolist()} <= {MASK, *range(1, WORDS)}


def test_a_text_is_hidden_otherwise_each_time(problem: PretrainingProblem) -> None:
    random = np.random.default_rng(5)
    one, other = (problem.hidden(range(50), random) for _ in range(2))
    assert not np.array_equal(one.places, other.places)


def test_texts_that_say_nothing_have_nothing_to_guess(problem: PretrainingProblem) -> None:
    empty = PretrainingProblem(SETTINGS, {}, [[BEGIN, END]], MASK, problem.unguessed, seed=1)
    hidden = empty.hidden([0], np.random.default_rng(5))
    assert hidden.wanted.size == 0
    assert hidden.shown.tolist() == [[BEGIN, END]]


def test_steps_are_those_of_all_epochs(problem: PretrainingProblem) -> None:
    assert problem.steps == 3 * 125
