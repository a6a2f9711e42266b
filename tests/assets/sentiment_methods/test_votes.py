"""Votes beside the encoder: learnt from what occurs, counted so far as a text reads like a post."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes.tiny_encoder import WORDS, tiny_weights

from cryptoai_assets.lib.quantization import with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.labelled import LabelledTextError
from cryptoai_assets.lib.sentiment_methods.votes import (
    FACTOR,
    Votes,
    VoteSettings,
    encoder_alone,
    learnt_votes,
    with_votes,
    word_count,
)
from edge_bundle.sentiment.transformer import PROBABILITIES
from edge_bundle.session import ModelSession

SETTINGS = VoteSettings(slots=4096, least_texts=2, strength=30.0, share=0.5)
# 2 after 3 is bad and 3 after 2 is good: each piece alone says nothing. Posts begin with 4, headlines with 5.
BAD, DULL, GOOD = [3, 2], [6, 7], [2, 3]
POSTS = [[4, *one] for one in (BAD, DULL, GOOD)] * 4
HEADLINES = [[5, *one] for one in (BAD, DULL, GOOD)] * 4
LABELS = np.array([0, 1, 2] * 8)
ARE_POSTS = np.arange(24) < 12


def votes_of(settings: VoteSettings = SETTINGS) -> Votes:
    return learnt_votes([*POSTS, *HEADLINES], LABELS, ARE_POSTS, settings, words=len(WORDS))


def said(graph: onnx.ModelProto, folder: Path, ids: list[list[int]]) -> np.ndarray:
    onnx.save(graph, folder / "graph.onnx")
    return ModelSession.open(folder / "graph.onnx").run(np.array(ids))[PROBABILITIES]


def logits_by_hand(votes: Votes, row: list[int]) -> np.ndarray:
    pairs = [len(WORDS) + (first * FACTOR + second) % votes.settings.slots for first, second in pairwise(row)]
    return votes.start + votes.table[[*row, *pairs]].sum(axis=0) / np.sqrt(len(row))


def test_votes_tell_labels_by_the_order_of_words_and_posts_from_headlines() -> None:
    votes = votes_of()
    assert [int(logits_by_hand(votes, row)[:3].argmax()) for row in POSTS[:3]] == [0, 1, 2]
    assert [int(logits_by_hand(votes, row)[:3].argmax()) for row in HEADLINES[:3]] == [0, 1, 2]
    assert all(logits_by_hand(votes, row)[3] > 1 for row in POSTS)
    assert all(logits_by_hand(votes, row)[3] < -1 for row in HEADLINES)


def test_of_what_is_in_fewer_texts_nothing_is_learnt() -> None:
    votes = votes_of(VoteSettings(slots=4096, least_texts=13, strength=30.0, share=0.5))
    assert np.flatnonzero(votes.table.any(axis=1)).tolist() == [2, 3]


@pytest.mark.parametrize("integer", [False, True], ids=["fp32", "int8"])
def test_graph_shares_the_logits_by_how_much_a_text_reads_like_a_post(tmp_path: Path, integer: bool) -> None:
    alone = encoder_graph(tiny_weights(seed=2))
    alone = with_integer_products(alone) if integer else alone
    votes = votes_of()
    moved = []
    for row in (POSTS[0], HEADLINES[2], [4, 5, 8]):
        own = np.log(said(alone, tmp_path, [row])[0])
        voted = logits_by_hand(votes, row)
        share = SETTINGS.share / (1 + np.exp(-voted[3]))
        mixed = np.exp((1 - share) * own + share * voted[:3])
        found = said(with_votes(alone, votes), tmp_path, [row])[0]
        np.testing.assert_allclose(found, mixed / mixed.sum(), atol=0.01)  # the table is INT8
        moved.append(np.abs(found - np.exp(own)).max())
    assert moved[0] > 0.1 > moved[1]


def test_padding_changes_no_vote(tmp_path: Path) -> None:
    table = np.random.default_rng(1).normal(0, 1, votes_of().table.shape).astype(np.float32)
    table[0] = 0
    graph = with_votes(encoder_graph(tiny_weights(seed=2)), replace(votes_of(), table=table))
    padded = [[*row, 0, 0, 0] for row in POSTS[:3]]
    np.testing.assert_allclose(said(graph, tmp_path, padded), said(graph, tmp_path, POSTS[:3]), atol=1e-6)


def test_a_text_of_one_piece_is_scored(tmp_path: Path) -> None:
    found = said(with_votes(encoder_graph(tiny_weights(seed=2)), votes_of()), tmp_path, [[4]])
    assert found.sum() == pytest.approx(1)


def test_votes_are_taken_out_and_replaced() -> None:
    alone = with_integer_products(encoder_graph(tiny_weights(seed=2)))
    joined = with_votes(alone, votes_of())
    assert word_count(joined) == len(WORDS)
    assert encoder_alone(joined) == encoder_alone(alone) == alone
    other = votes_of(VoteSettings(slots=4096, least_texts=2, strength=1.0, share=0.2))
    assert with_votes(joined, other) == with_votes(alone, other) != joined


def test_labels_that_no_text_has_and_posts_without_headlines_are_refused() -> None:
    with pytest.raises(LabelledTextError, match="no text is positive"):
        learnt_votes(POSTS[:2], LABELS[:2], ARE_POSTS[:2], SETTINGS, words=len(WORDS))
    with pytest.raises(LabelledTextError, match="12 of 12 texts are posts"):
        learnt_votes(POSTS, LABELS[:12], ARE_POSTS[:12], SETTINGS, words=len(WORDS))
