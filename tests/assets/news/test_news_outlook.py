"""A word with its reasons, and topics that are written about more than before, all as it was known."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from fakes.scored_articles import MOOD_SCHEMA
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.news.outlook import Caution, outlook, outlooks, topic_words, trending
from edge_bundle.news.mood import Weighing, mood_facts

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CAUTION = Caution(least_articles=5, least_score=0.15, greatest_dispersion=0.7, greatest_turn=0.3)
CLEAR = {
    "news_count_24h": 10.0,
    "sentiment_24h": 0.4,
    "sentiment_dispersion_24h": 0.5,
    "sentiment_momentum": 0.1,
}
SCHEMA = {"title": pl.String(), "text": pl.String(), **MOOD_SCHEMA}


def articles(*rows: tuple[str, float], address: str = "") -> pl.DataFrame:
    """Articles of a title and hours before now."""
    found = [
        (title, "", NOW - hours * HOUR, address or f"{place}", "news", ["BTC"], 0.5, 0)
        for place, (title, hours) in enumerate(rows)
    ]
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


@pytest.mark.parametrize(
    ("changed", "word", "reason"),
    [
        ({}, "BUY", "the mean sentiment of 10 articles in a day is +0.40"),
        ({"sentiment_24h": -0.4, "sentiment_momentum": -0.4}, "SELL", "is -0.40"),
        ({"news_count_24h": 4.0}, "HOLD", "4 articles in a day, 5 needed"),
        ({"news_count_24h": 0.0, "sentiment_24h": None}, "HOLD", "0 articles"),
        ({"sentiment_24h": 0.14}, "HOLD", "under 0.15"),
        ({"sentiment_24h": -0.14}, "HOLD", "under 0.15"),
        ({"sentiment_dispersion_24h": 0.8}, "HOLD", "differ by 0.80"),
        ({"sentiment_momentum": -0.31}, "HOLD", "against the day by -0.31"),
        ({"sentiment_24h": -0.4, "sentiment_momentum": 0.31}, "HOLD", "against the day by +0.31"),
        ({"sentiment_momentum": -0.29}, "BUY", "differ from the day by -0.29"),
        ({"sentiment_momentum": None, "sentiment_dispersion_24h": None}, "BUY", "+0.40"),
    ],
)
def test_word_follows_the_day_unless_there_is_a_doubt_which_it_names(
    changed: dict[str, float | None], word: str, reason: str
) -> None:
    found = outlook({**CLEAR, **changed}, CAUTION)
    assert found.recommendation == word
    assert any(reason in told for told in found.reasons), found.reasons


def test_every_doubt_is_named() -> None:
    found = outlook({**CLEAR, "sentiment_24h": 0.1, "sentiment_dispersion_24h": 0.9}, CAUTION)
    assert len(found.reasons) == 3


def test_topic_is_what_a_day_writes_of_more_than_the_week_before() -> None:
    usual = [(f"Bitcoin rises {place}", float(hours)) for place, hours in enumerate(range(1, 190, 4))]
    sudden = [(f"Exchange outage hits traders {place}", 1.0 + place) for place in range(4)]
    found = trending(articles(*usual, *sudden), NOW)
    # Of words that always stand together one topic is made, of the longest pair that comes first.
    assert {topic.words for topic in found} == {"exchange outage", "hits traders"}
    assert {topic.articles for topic in found} == {4}
    assert {topic.expected for topic in found} == {0}


def test_topic_needs_articles_of_its_own_and_not_one_that_is_edited_often() -> None:
    edited = articles(*[(f"Sudden outage {place}", 5.0 - place) for place in range(4)], address="same")
    assert trending(edited, NOW) == ()
    twice = articles(("Sudden outage", 1), ("Sudden outage", 2))
    assert trending(twice, NOW) == ()


def test_topic_that_is_usual_is_none() -> None:
    steady = articles(*[("Halving nears", float(hours)) for hours in range(0, 190, 4)])
    assert trending(steady, NOW) == ()


def test_words_that_say_nothing_and_markers_are_no_topic() -> None:
    assert topic_words("Why the price of Bitcoin’s hash-rate is up 5%") == {
        "bitcoin",
        "hash-rate",
        "bitcoin hash-rate",
    }
    assert topic_words("[simulated] XRP holds") == {"xrp", "holds", "xrp holds"}


titles = st.lists(
    st.tuples(st.sampled_from(["Exchange outage", "Bitcoin rises", "Ether falls"]), st.floats(-30, 200)),
    max_size=14,
)


@given(titles)
def test_topics_never_know_what_became_known_later(rows: list[tuple[str, float]]) -> None:
    every = articles(*rows)
    assert trending(every, NOW) == trending(every.filter(pl.col("known_at") <= NOW), NOW)


def test_everything_is_told_of_a_moment() -> None:
    scored = articles(*[(f"Bitcoin rises {place}", 1.0 + place) for place in range(6)])
    weighing = Weighing({"news": 1.0}, 6 * HOUR)
    facts = mood_facts(scored, {"BTCUSD": "BTC", "ETHUSD": "ETH"}, [NOW], weighing=weighing)
    told = outlooks(facts, scored, NOW, live=True, caution=CAUTION, method=("m", "1"))
    assert told.symbols["BTCUSD"].recommendation == "BUY"
    assert told.symbols["ETHUSD"].recommendation == "HOLD"
    assert told.market.values["sentiment_24h"] == pytest.approx(0.5)
    assert told.market.recommendation == "BUY"
    assert told.moment == NOW
    assert (told.method, told.method_version, told.live) == ("m", "1", True)
    assert [topic.words for topic in told.trending] == ["bitcoin rises"]
