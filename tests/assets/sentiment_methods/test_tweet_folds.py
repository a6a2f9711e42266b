"""The tuning scored by folds: each text tested once by what has not read it, and each fold kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes.tiny_encoder import INNER, WIDTH, WORDS, write_words
from transformers import BertConfig, BertModel

from cryptoai_assets.lib.sentiment_methods.labelled import TWEETS, LabelledText
from cryptoai_assets.lib.sentiment_methods.tuning import MEMBERS
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress
from cryptoai_assets.lib.sentiment_methods.tweet_folds import TweetFolds, unlike_tweets
from edge_bundle.sentiment.transformer import MOST_PIECES, WORDS_NAME

SETTINGS = replace(MEMBERS[0].settings, epochs=8, batch=4, rate=1e-3)
TEXTS = tuple(
    LabelledText(f"bitcoin {word} {when}", label)
    for when in ("today", "after the report", "flat", "sharply the")
    for label, word in enumerate(("falls", "stays", "rises"))
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder as the published package holds one."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=INNER,
        max_position_embeddings=MOST_PIECES,
    )
    BertModel(config).save_pretrained(folder)
    write_words(folder).rename(folder / WORDS_NAME)
    return folder


def folds_in(kept: Path, encoder: Path, texts: tuple[LabelledText, ...] = TEXTS) -> TweetFolds:
    return TweetFolds(texts, encoder, SETTINGS, count=3, seed=1, kept=kept)


def test_folds_that_are_done_are_read_back_and_the_rest_is_tuned(tmp_path: Path, encoder: Path) -> None:
    told: list[Progress] = []
    begun = folds_in(tmp_path, encoder).qualities(after_epoch=told.append)
    first = next(begun)  # and killed
    assert len(told) == SETTINGS.epochs
    found = list(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    assert len(told) == 3 * SETTINGS.epochs
    assert [fold for fold, _ in found] == [0, 1, 2]
    assert found[0] == first
    assert all(0 <= quality.accuracy <= 1 for _, quality in found)
    again = list(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    assert again == found
    assert len(told) == 3 * SETTINGS.epochs


def test_scoring_of_other_texts_is_another_scoring(tmp_path: Path, encoder: Path) -> None:
    told: list[Progress] = []
    next(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    next(folds_in(tmp_path, encoder, TEXTS[:-1]).qualities(after_epoch=told.append))
    assert len(told) == 2 * SETTINGS.epochs


def test_what_is_tested_was_not_read(tmp_path: Path, encoder: Path) -> None:
    """Each text's own word tells its label: what has read it would be right, what has not cannot know."""
    own = WORDS[2:]
    texts = tuple(LabelledText(" ".join([word] * 6), place % 3) for place, word in enumerate(own))
    settings = replace(SETTINGS, epochs=25, rate=3e-3, smoothing=0.0, dropout=0.0)
    scoring = TweetFolds(texts, encoder, settings, count=3, seed=1, kept=tmp_path)
    right = [quality.accuracy for _, quality in scoring.qualities(after_epoch=lambda _: None)]
    assert sum(right) <= 0.7 * len(right)


def test_tweets_lose_near_duplicates_by_words_and_by_meaning(tmp_path: Path, encoder: Path) -> None:
    rows = ("bitcoin rises today,1", "Bitcoin rises today,1", "price falls sharply,0")
    (tmp_path / TWEETS).write_text("text,label\n" + "\n".join(rows) + "\n")
    found = unlike_tweets(tmp_path, encoder)
    assert found[0] == LabelledText("bitcoin rises today", 2)
    assert len(found) in (1, 2)
