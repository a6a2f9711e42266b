"""Labelled texts: what is read of the published files, near-duplicates, and splits that share no text."""

from pathlib import Path

import numpy as np
import pytest

from cryptoai_assets.lib.sentiment_methods.labelled import (
    LabelledText,
    LabelledTextError,
    folds,
    headlines,
    own_texts,
    split_by_text,
    text_hash,
    tweets,
    unlike_earlier,
)

HEADLINES = """S No.,Title,Decisions,Words
1,Alpha wins an order,{'Alpha': 'positive'},4
2,Alpha and Beta fall,"{'Alpha': 'negative', 'Beta': 'negative'}",4
3,Alpha gains on Beta,"{'Alpha': 'positive', 'Beta': 'negative'}",4
4,"Mother's Choice is flat","{'Mother's Choice': 'neutral'}",4
5,ALPHA  wins an order,{'Alpha': 'negative'},4
6,Nobody is named,{},3
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "texts.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_headlines_are_told_apart_by_what_they_say_of_their_entities(tmp_path: Path) -> None:
    found = headlines(written(tmp_path, HEADLINES))
    assert found.single == (
        LabelledText("Alpha wins an order", 2),
        LabelledText("Mother's Choice is flat", 1),
    )
    assert found.agreeing == (LabelledText("Alpha and Beta fall", 0),)
    assert found.opposed == (
        LabelledText("Alpha: Alpha gains on Beta", 2),
        LabelledText("Beta: Alpha gains on Beta", 0),
    )


def test_tweets_lose_their_addresses_and_repeats(tmp_path: Path) -> None:
    file = written(tmp_path, "text,label\n$A - cut https://t.co/x,0\n$A - Cut https://t.co/y,1\nup,1\nso,2\n")
    assert tweets(file) == (LabelledText("$A - cut", 0), LabelledText("up", 2), LabelledText("so", 1))


def test_own_file_names_its_labels(tmp_path: Path) -> None:
    file = written(tmp_path, "label,text\nPositive ,Bitcoin rises\n")
    assert own_texts(file) == (LabelledText("Bitcoin rises", 2),)


@pytest.mark.parametrize(
    ("text", "told"),
    [("text,mood\na,positive\n", "no column label"), ("text,label\na,great\n", "the label 'great'")],
)
def test_own_file_of_another_form_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(LabelledTextError, match=f"texts.csv has {told}"):
        own_texts(written(tmp_path, text))


def test_near_duplicates_are_found_by_their_words_and_by_their_meanings() -> None:
    texts = [
        "Alpha wins a large order in May",
        "alpha wins a large order in May",
        "Beta falls",
        "Beta declines",
    ]
    assert unlike_earlier(texts).tolist() == [True, False, True, True]
    meanings = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.75, 0.66]], dtype=np.float32)
    assert unlike_earlier(texts, meanings).tolist() == [True, False, True, False]


def test_chain_of_near_duplicates_keeps_what_is_far_from_all_that_is_kept() -> None:
    angles = np.radians([0, 20, 40])  # each near to the next, the ends apart
    meanings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert unlike_earlier(["a1", "b2", "c3"], meanings).tolist() == [True, False, True]


def test_near_duplicates_are_found_across_the_blocks_that_are_compared() -> None:
    texts = [f"headline{number} of company{number}" for number in range(1100)]
    kept = unlike_earlier([*texts, texts[3], texts[700]])
    assert kept[:1100].all()
    assert not kept[1100:].any()


def test_split_is_whole_disjoint_and_the_same_for_a_seed() -> None:
    training, testing = split_by_text(101, share=0.2, seed=3)
    assert len(testing) == 20
    assert sorted([*training, *testing]) == list(range(101))
    assert split_by_text(101, share=0.2, seed=3)[1].tolist() == testing.tolist()
    assert split_by_text(101, share=0.2, seed=4)[1].tolist() != testing.tolist()


def test_folds_are_of_equal_size_and_drawn() -> None:
    numbers = folds(10, count=5, seed=1)
    assert np.bincount(numbers).tolist() == [2] * 5
    assert folds(10, count=5, seed=2).tolist() != numbers.tolist()


def test_hash_of_a_text_forgets_case_spaces_and_addresses() -> None:
    assert text_hash("Alpha  wins https://x.test/1") == text_hash("alpha wins")
    assert text_hash("alpha wins") != text_hash("alpha loses")
