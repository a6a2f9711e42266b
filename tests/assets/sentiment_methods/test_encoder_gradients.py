"""Tuning an encoder: it learns what its texts say, and the same seed gives the same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.tiny_encoder import WORDS, tiny_weights
from torch.nn import functional

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import EncoderModule, meanings, tuned_weights
from cryptoai_assets.lib.sentiment_methods.tuning_problem import (
    Progress,
    TuningProblem,
    TuningSettings,
    batches,
    padded,
)

SETTINGS = TuningSettings(
    epochs=6,
    batch=16,
    rate=3e-3,
    head_rate=1e-2,
    decay=0.0,
    dropout=0.1,
    smoothing=0.0,
    agreement=0.0,
    self_distilled=0.0,
    averaged=0.3,
)


@pytest.fixture
def problem() -> TuningProblem:
    """Texts whose label is which of three words they hold."""
    random = np.random.default_rng(8)
    labels = random.integers(0, 3, 480)
    pieces = [
        random.permutation([2 + label, *random.integers(6, len(WORDS), random.integers(2, 7))]).tolist()
        for label in labels
    ]
    return TuningProblem(SETTINGS, tiny_weights(seed=1, head=False), pieces, labels, seed=5)


def quiet(_progress: Progress) -> None:
    pass


def test_tuned_encoder_tells_the_labels_apart_and_the_average_is_what_is_kept(problem: TuningProblem) -> None:
    told: list[Progress] = []
    weights = tuned_weights(problem, after_epoch=told.append)
    assert [one.epoch for one in told] == [1, 2, 3, 4, 5, 6]
    assert told[-1].loss < 0.5 * told[0].loss
    with torch.no_grad():
        logits = EncoderModule(weights, dropout=0.0).eval()(torch.from_numpy(padded(problem.pieces)))
    assert (logits.argmax(dim=1).numpy() == problem.labels).mean() > 0.9


def test_table_of_words_stays_as_it_was(problem: TuningProblem) -> None:
    weights = tuned_weights(problem, after_epoch=quiet)
    np.testing.assert_array_equal(weights["words.weight"], problem.start["words.weight"])
    assert not np.array_equal(weights["layers.0.up.weight"], problem.start["layers.0.up.weight"])


def test_same_seed_gives_the_same_weights_and_another_gives_others(problem: TuningProblem) -> None:
    short = replace(problem, pieces=problem.pieces[:64], labels=problem.labels[:64])

    def made(seed: int) -> EncoderWeights:
        torch.rand(1)  # by someone else, between two of them
        return tuned_weights(replace(short, seed=seed), after_epoch=quiet)

    one, same, other = (made(seed) for seed in (5, 5, 6))
    for name, values in one.items():
        assert values.tobytes() == same[name].tobytes()
    assert one["head.weight"].tobytes() != other["head.weight"].tobytes()


def readings_apart(problem: TuningProblem, weights: EncoderWeights) -> float:
    """Kullback-Leibler divergence of two readings that leave out other values, mean over the texts."""
    module, ids = EncoderModule(weights, dropout=0.3).train(), torch.from_numpy(padded(problem.pieces))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        one, other = (module(ids).log_softmax(dim=1) for _ in range(2))
    return float(functional.kl_div(one, other, log_target=True, reduction="batchmean"))


def test_two_readings_of_a_text_are_nearer_where_the_tuning_asks_for_it(problem: TuningProblem) -> None:
    asked = replace(problem, settings=replace(SETTINGS, agreement=4.0))
    plain, agreeing = (tuned_weights(one, after_epoch=quiet) for one in (problem, asked))
    assert readings_apart(problem, agreeing) < 0.7 * readings_apart(problem, plain)


def test_texts_that_are_read_whole_agree_with_themselves(problem: TuningProblem) -> None:
    whole = replace(SETTINGS, epochs=1, dropout=0.0)
    short = replace(problem, settings=whole, pieces=problem.pieces[:64], labels=problem.labels[:64])
    once = tuned_weights(short, after_epoch=quiet)
    twice = tuned_weights(replace(short, settings=replace(whole, agreement=4.0)), after_epoch=quiet)
    for name, values in once.items():
        np.testing.assert_allclose(twice[name], values, atol=5e-3)  # computed in bfloat16, where it is


def test_last_epoch_hears_of_each_text_the_label_and_what_was_said_of_it_before(
    problem: TuningProblem,
) -> None:
    start = dict(tiny_weights(seed=1))
    start["head.weight"] = 20 * start["head.weight"]
    still = replace(
        SETTINGS, epochs=2, rate=0.0, head_rate=0.0, dropout=0.0, smoothing=0.1, self_distilled=0.6
    )
    told: list[Progress] = []
    tuned_weights(replace(problem, start=start, settings=still), after_epoch=told.append)
    with torch.no_grad():
        logits = EncoderModule(start, dropout=0.0).eval()(torch.from_numpy(padded(problem.pieces)))
    truth = torch.from_numpy(problem.labels)
    labels = float(functional.cross_entropy(logits, truth, label_smoothing=0.1))
    own = float(functional.cross_entropy(logits, logits.softmax(dim=1)))
    # What is said of another text would be far from it.
    assert functional.cross_entropy(logits, logits.roll(1, 0).softmax(dim=1)) > 1.5 * own
    assert [one.loss for one in told] == pytest.approx([labels, 0.4 * labels + 0.6 * own], rel=0.02)


def test_what_was_said_counts_nothing_in_the_first_epoch_and_most_in_the_last() -> None:
    asked = replace(SETTINGS, epochs=4, self_distilled=0.6)
    assert [asked.said_before(epoch) for epoch in (1, 2, 3, 4)] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert replace(asked, epochs=1).said_before(1) == 0


def test_every_text_is_in_one_step_of_an_epoch_and_like_lengths_are_together() -> None:
    random = np.random.default_rng(1)
    pieces = [[1] * int(size) for size in random.integers(1, 30, 1000)]
    steps = batches(pieces, 8, random)
    assert sorted(np.concatenate(steps)) == list(range(1000))
    spreads = [np.ptp([len(pieces[row]) for row in rows]) for rows in steps]
    assert np.median(spreads) <= 2


def test_meaning_of_a_text_is_the_same_in_any_order_and_of_length_one() -> None:
    weights, pieces = tiny_weights(seed=1, head=False), [[2, 3], [4, 5, 6], [2, 3, 7, 8]]
    forth, back = meanings(weights, pieces), meanings(weights, pieces[::-1])
    np.testing.assert_allclose(forth, back[::-1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(forth, axis=1), 1, atol=1e-5)


def test_meaning_is_as_exact_as_float32_is_so_that_no_processor_tells_other_texts_near() -> None:
    weights, pieces = tiny_weights(seed=1, head=False), [[2, 3, 7, 8], [4, 5, 6, 9]]
    with torch.inference_mode():
        exact = EncoderModule(weights, dropout=0.0).double().eval().meaning(torch.tensor(pieces))
    np.testing.assert_allclose(meanings(weights, pieces), functional.normalize(exact, dim=1), atol=2e-6)
