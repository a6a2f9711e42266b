"""The tuning scored by folds: each text tested once by what has not read it, and each fold kept."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.published_encoder import write_published_encoder
from fakes.tiny_encoder import WORDS

from cryptoai_assets.lib.sentiment_methods.labelled import HEADLINES, TWEETS, LabelledText
from cryptoai_assets.lib.sentiment_methods.tuning import RECIPE, Recipe
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress
from cryptoai_assets.lib.sentiment_methods.tweet_folds import TweetFolds, unlike_tweets
from cryptoai_assets.lib.sentiment_methods.votes import VoteSettings

TUNING = replace(RECIPE.tuning, epochs=8, batch=4, rate=1e-3)
BRIEF = Recipe(replace(RECIPE.pretraining, epochs=1), TUNING)
EPOCHS = BRIEF.pretraining.epochs + TUNING.epochs
TEXTS = tuple(
    LabelledText(f"bitcoin {word} {when}", label)
    for when in ("today", "after the report", "flat", "sharply the")
    for label, word in enumerate(("falls", "stays", "rises"))
)
OTHERS = (LabelledText("price rises", 2),)
VOTES = VoteSettings(slots=64, least_texts=2, strength=1.0, share=0.5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder as the published package holds one."""
    return write_published_encoder(tmp_path_factory.mktemp("encoder"), seed=1)


def folds_in(
    kept: Path,
    encoder: Path,
    *,
    texts: tuple[LabelledText, ...] = TEXTS,
    votes: VoteSettings | None = VOTES,
) -> TweetFolds:
    return TweetFolds(texts, OTHERS, encoder, BRIEF, votes, count=3, seed=1, kept=kept)


def test_folds_that_are_done_are_read_back_and_the_rest_is_tuned(tmp_path: Path, encoder: Path) -> None:
    told: list[Progress] = []
    begun = folds_in(tmp_path, encoder).qualities(after_epoch=told.append)
    first = next(begun)  # and killed
    assert len(told) == EPOCHS
    found = list(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    assert len(told) == 3 * EPOCHS
    assert [fold for fold, _ in found] == [0, 1, 2]
    assert found[0] == first
    assert all(0 <= quality.accuracy <= 1 for _, quality in found)
    again = list(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    assert again == found
    assert len(told) == 3 * EPOCHS


def test_other_votes_are_another_scoring_of_the_same_tuning(tmp_path: Path, encoder: Path) -> None:
    told: list[Progress] = []
    _, quality = next(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    _, unvoted = next(folds_in(tmp_path, encoder, votes=None).qualities(after_epoch=told.append))
    assert len(told) == EPOCHS
    assert quality.calibration_error != unvoted.calibration_error


def test_scoring_of_other_texts_is_another_scoring(tmp_path: Path, encoder: Path) -> None:
    told: list[Progress] = []
    next(folds_in(tmp_path, encoder).qualities(after_epoch=told.append))
    next(folds_in(tmp_path, encoder, texts=TEXTS[:-1]).qualities(after_epoch=told.append))
    assert len(told) == 2 * EPOCHS


def test_what_is_tested_was_not_read(tmp_path: Path, encoder: Path) -> None:
    """Each text's own word tells its label: what has read it would be right, what has not cannot know."""
    own = WORDS[2:-1]
    texts = tuple(LabelledText(" ".join([word] * 6), place % 3) for place, word in enumerate(own))
    learnt = replace(TUNING, epochs=25, rate=3e-3, smoothing=0.0, dropout=0.0)
    recipe = replace(BRIEF, tuning=learnt)
    scoring = TweetFolds(texts, OTHERS, encoder, recipe, VOTES, count=3, seed=1, kept=tmp_path)
    right = [quality.accuracy for _, quality in scoring.qualities(after_epoch=lambda _: None)]
    assert sum(right) <= 0.5 * len(right)


def test_other_texts_are_read_besides_in_every_fold(tmp_path: Path, encoder: Path) -> None:
    """Tweets that nothing else says how to label are labelled as the other texts were."""
    asked = tuple(LabelledText(one.text, 2) for one in TEXTS)
    others = tuple(LabelledText(one.text, 1) for one in TEXTS) * 3

    def middles(besides: tuple[LabelledText, ...]) -> float:
        scoring = TweetFolds(asked, besides, encoder, BRIEF, None, count=2, seed=1, kept=tmp_path)
        return sum(1 - quality.accuracy for _, quality in scoring.qualities(after_epoch=lambda _: None))

    assert middles(others) == 2.0
    assert middles(()) == 0.0


def test_tweets_lose_near_duplicates_by_words_and_by_meaning(tmp_path: Path, encoder: Path) -> None:
    rows = ("bitcoin rises today,1", "Bitcoin rises today,1", "price falls sharply,0")
    (tmp_path / TWEETS).write_text("text,label\n" + "\n".join(rows) + "\n")
    decisions = "{'Alpha': 'neutral'}"
    (tmp_path / HEADLINES).write_text(f"Title,Decisions\nBITCOIN rises today,{decisions}\n")
    found, besides = unlike_tweets(tmp_path, encoder)
    assert found[0] == LabelledText("bitcoin rises today", 2)
    assert len(found) < len(rows)
    assert besides == ()  # it is near to a tweet, which stays
