"""Pretraining an encoder further: it learns to guess what its texts say, and keeps its names and words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.tiny_encoder import MASK, WORDS, tiny_weights

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights
from cryptoai_assets.lib.sentiment_methods.masked_gradients import pretrained_further
from cryptoai_assets.lib.sentiment_methods.masked_problem import PretrainingProblem, PretrainingSettings
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress

SETTINGS = PretrainingSettings(
    epochs=12, batch=16, rate=3e-3, head_rate=1e-2, decay=0.0, dropout=0.0, guessed=0.25
)
SAID = range(2, len(WORDS) - 1)


@pytest.fixture
def problem() -> PretrainingProblem:
    """Texts of one word again and again: what is hidden stands beside it."""
    pieces = [[word] * 6 for word in SAID] * 24
    start = tiny_weights(seed=1, head=False)
    return PretrainingProblem(SETTINGS, start, pieces, WORDS.index(MASK), {0, 1, WORDS.index(MASK)}, seed=5)


def quiet(_progress: Progress) -> None:
    pass


def test_pretrained_encoder_guesses_what_is_hidden(problem: PretrainingProblem) -> None:
    told: list[Progress] = []
    pretrained_further(problem, after_epoch=told.append)
    assert [(one.stage, one.epoch, one.epochs) for one in told] == [
        ("guessing", epoch, 12) for epoch in range(1, 13)
    ]
    assert told[-1].loss < 0.5 * np.log(len(SAID))  # of guesses that know how many words there are


def test_what_cannot_be_known_is_not_guessed(problem: PretrainingProblem) -> None:
    """Words that say nothing of each other: who was shown what is hidden would guess them."""
    random, told = np.random.default_rng(4), list[Progress]()
    pieces = [random.choice(SAID, 6).tolist() for _ in range(480)]
    pretrained_further(replace(problem, pieces=pieces), after_epoch=told.append)
    assert told[-1].loss > 0.8 * np.log(len(SAID))


def test_what_is_learnt_is_in_the_weights_that_are_given_back(problem: PretrainingProblem) -> None:
    """Pretrained again, with new layers that guess, it is right sooner."""
    told: list[Progress] = []
    short = replace(problem, settings=replace(SETTINGS, epochs=1), pieces=problem.pieces[:120])
    pretrained_further(short, after_epoch=told.append)
    further = pretrained_further(problem, after_epoch=quiet)
    pretrained_further(replace(short, start=further), after_epoch=told.append)
    assert told[1].loss < 0.7 * told[0].loss


def test_names_are_those_of_the_start_and_words_stay_as_they_were(problem: PretrainingProblem) -> None:
    further = pretrained_further(problem, after_epoch=quiet)
    assert further.keys() == problem.start.keys()
    np.testing.assert_array_equal(further["words.weight"], problem.start["words.weight"])
    for name in further.keys() - {"words.weight"}:
        assert further[name].shape == problem.start[name].shape
        assert not np.array_equal(further[name], problem.start[name])


def test_same_seed_gives_the_same_weights_and_another_gives_others(problem: PretrainingProblem) -> None:
    short = replace(problem, settings=replace(SETTINGS, epochs=2, dropout=0.1))

    def made(seed: int) -> EncoderWeights:
        torch.rand(1)  # by someone else, between two of them
        return pretrained_further(replace(short, seed=seed), after_epoch=quiet)

    one, same, other = (made(seed) for seed in (5, 5, 6))
    for name, values in one.items():
        assert values.tobytes() == same[name].tobytes()
    assert one["norm.weight"].tobytes() != other["norm.weight"].tobytes()


def test_texts_that_say_nothing_teach_nothing_and_harm_nothing(problem: PretrainingProblem) -> None:
    empty = replace(problem, pieces=[[1, 1]] * 32, settings=replace(SETTINGS, epochs=1))
    told: list[Progress] = []
    further = pretrained_further(empty, after_epoch=told.append)
    assert told[0].loss == 0
    for name, values in further.items():
        np.testing.assert_array_equal(values, problem.start[name])
