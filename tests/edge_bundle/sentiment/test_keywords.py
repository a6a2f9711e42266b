"""Keywords: words of finance and crypto on two sides, and what a negation does to them."""

import pytest

from edge_bundle.sentiment.keywords import NEGATIVE, POSITIVE, KeywordSentiment


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Bitcoin surges to a record", "positive"),
        ("Exchange hacked, coins stolen", "negative"),
        ("Ethereum developers meet on Friday", "neutral"),
        ("Bitcoin rises as stocks fall", "neutral"),
        ("SURGES", "positive"),
        ("", "neutral"),
    ],
)
def test_side_with_more_words_wins(text: str, label: str) -> None:
    assert KeywordSentiment().scores([text])[0].label == label


@pytest.mark.parametrize("negation", ["not", "doesn't", "doesn’t", "never"])
def test_negation_turns_the_words_after_it(negation: str) -> None:
    near, far = KeywordSentiment().scores(
        [f"Bitcoin {negation} likely to crash", f"{negation} a word on bitcoin that may crash"]
    )
    assert (near.label, far.label) == ("positive", "negative")


def test_more_words_of_one_side_say_more_than_one() -> None:
    one, three = KeywordSentiment().scores(["gains", "gains, profit and growth"])
    assert 0 < one.score < three.score < 1


def test_no_word_stands_on_both_sides() -> None:
    assert set() == POSITIVE & NEGATIVE
