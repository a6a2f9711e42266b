"""What every sentiment method gives: shares that sum to one, a score and a label that agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.sentiment.method import MOST_CHARACTERS, NEUTRAL_BELOW, Sentiment, of_polarity, plain_text


@given(st.floats(-1, 1))
def test_shares_of_a_polarity_sum_to_one_and_lean_where_it_leans(polarity: float) -> None:
    said = of_polarity(polarity, method="m", version="1")
    assert said.negative + said.neutral + said.positive == pytest.approx(1)
    assert min(said.negative, said.neutral, said.positive) >= 0
    assert said.score * polarity >= 0


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_higher_polarity_never_has_a_lower_score(one: float, other: float) -> None:
    low, high = (of_polarity(value, method="m", version="1").score for value in sorted((one, other)))
    assert low <= high


@pytest.mark.parametrize(
    ("polarity", "label"),
    [
        (NEUTRAL_BELOW * 0.99, "neutral"),
        (NEUTRAL_BELOW * 1.01, "positive"),
        (-NEUTRAL_BELOW * 1.01, "negative"),
        (0.0, "neutral"),
    ],
)
def test_label_turns_at_the_threshold_of_neutral(polarity: float, label: str) -> None:
    assert of_polarity(polarity, method="m", version="1").label == label


def test_equal_shares_are_neutral() -> None:
    assert Sentiment(0.4, 0.4, 0.2, "m", "1").label == "neutral"
    assert Sentiment(0.5, 0.0, 0.5, "m", "1").label == "negative"


def test_text_is_read_in_one_line_without_addresses_and_bounded() -> None:
    assert plain_text(" Bitcoin\n\trises  https://t.co/Ab1 today ") == "Bitcoin rises today"
    assert len(plain_text("a " * MOST_CHARACTERS)) <= MOST_CHARACTERS
