"""Text of strangers: markup, controls, misread letters and floods become one bounded line."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.news.hostile_text import plain


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("Bitcoin <b>rises</b>", "Bitcoin rises"),
        ("<p>One</p><p>Two</p>", "One Two"),
        ("<script>alert('x')</script>Safe<style>p{}</style>", "Safe"),
        ("A &amp; B &lt;C&gt;", "A & B <C>"),
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("Itâ€™s up 5Â°", "It’s up 5°"),
        ("Österreich – für alle", "Österreich – für alle"),
        ("a\u202eevil\u200b\x00b\r\n\tc", "aevilb c"),
        ("<img src=x onerror=alert(1)>Text", "Text"),
        ("<p>Broken <b>markup", "Broken markup"),
        ("half \ud800of a letter", "half of a letter"),
        ("To the moon <![lol[ !!!", "To the moon <![lol[ !!!"),
        ("To the moon <![lol[ !!!>now", "To the moon now"),
        ("Seen <![CDATA[a > b]]>twice", "Seen twice"),
        ("One<!-- <p>hidden</p> <!-- too --> two<!-- never <b>closed</b>", "One two"),
        ("if a <b and c> d", "if a d"),
        ("5 <6 <b>7</b>", "5 <6 7"),
        ("", ""),
    ],
)
def test_markup_becomes_what_a_reader_sees(markup: str, text: str) -> None:
    assert plain(markup, most=1000) == text


def test_length_is_bounded_whatever_comes() -> None:
    assert len(plain("<b>x</b> " * 1_000_000, most=50)) <= 50


@pytest.mark.parametrize("flood", ["<a", "<!--", "<!", "<?", "</", "<![", "<a '", "&#", "<![x[>", "<script>"])
def test_time_to_read_a_flood_of_brackets_grows_with_its_length_and_not_its_square(flood: str) -> None:
    def seconds(characters: int) -> float:
        markup = (flood * characters)[:characters]
        begun = time.process_time()
        plain(markup, most=50)
        return time.process_time() - begun

    little = min(seconds(15_000) for _ in range(3))
    assert min(seconds(120_000) for _ in range(2)) < 32 * little + 0.05


@given(st.text("<>!-[]/?&#;x a'\"", max_size=60))
def test_no_markup_is_an_error(text: str) -> None:
    found = plain(text, most=200)
    assert found == " ".join(found.split())


@given(st.text(max_size=500))
def test_any_text_becomes_one_line_that_stays_itself(text: str) -> None:
    found = plain(text, most=200)
    assert len(found) <= 200
    assert found == " ".join(found.split())
