"""The mood of the news: weights, windows, and that no fact knows an article before it was known."""

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from fakes.scored_articles import MOOD_SCHEMA
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import as_of_join, validated_facts
from edge_bundle.news.mood import OF_A_COIN, OF_THE_MARKET, Weighing, mood_facts, slots_between

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEIGHING = Weighing({"news": 0.4, "x": 0.3, "reddit": 0.2, "telegram": 0.1}, 6 * HOUR)
COINS = {"BTCUSD": "BTC", "ETHUSD": "ETH"}
Row = tuple[float, str, str, list[str], float, int]


def articles(*rows: Row) -> pl.DataFrame:
    """Rows of hours after the start, address, channel, coins, score, copies."""
    return pl.DataFrame(
        [(START + hours * HOUR, *rest) for hours, *rest in rows], schema=MOOD_SCHEMA, orient="row"
    )


def mood(scored: pl.DataFrame, hours: float, symbol: str | None = "BTCUSD") -> dict[str, float | None]:
    facts = mood_facts(scored, COINS, [START + hours * HOUR], weighing=WEIGHING)
    own = facts.filter(pl.col("symbol").eq_missing(pl.lit(symbol)))
    return dict(own.select("name", "value").iter_rows())


def test_channels_that_are_there_share_the_weights() -> None:
    scored = articles((10, "a", "news", ["BTC"], 1.0, 0), (10, "b", "x", ["BTC"], -1.0, 0))
    assert mood(scored, 10)["sentiment_1h"] == pytest.approx((0.4 - 0.3) / 0.7)
    more = pl.concat([scored, articles(*[(10, f"c{n}", "x", ["BTC"], -1.0, 0) for n in range(9)])])
    assert mood(more, 10)["sentiment_1h"] == pytest.approx((0.4 - 0.3) / 0.7)  # many posts have one voice


def test_article_counts_half_after_a_half_life() -> None:
    scored = articles((4, "a", "news", ["BTC"], 1.0, 0), (10, "b", "news", ["BTC"], -1.0, 0))
    assert mood(scored, 10)["sentiment_24h"] == pytest.approx((0.5 - 1) / 1.5)


def test_windows_hold_what_was_known_within_them() -> None:
    scored = articles(*[(at, f"{at}", "news", ["BTC"], 0.5, 0) for at in (0, 4, 5, 9.5, 10)])
    said = mood(scored, 10)
    assert [said[f"news_count_{hours}h"] for hours in (1, 6, 24)] == [2, 3, 5]
    assert mood(scored, 24.5)["news_count_24h"] == 4


def test_dispersion_novelty_and_momentum() -> None:
    scored = articles((1, "a", "news", ["BTC"], -1.0, 2), (10, "b", "news", ["BTC"], 1.0, 0))
    said, old = mood(scored, 10), 0.5**1.5
    mean = (1 - old) / (1 + old)
    assert said["sentiment_24h"] == pytest.approx(mean)
    assert said["sentiment_dispersion_24h"] == pytest.approx(math.sqrt(1 - mean**2))
    assert said["news_novelty_24h"] == 0.5
    assert said["sentiment_momentum"] == pytest.approx(1 - mean)


def test_nothing_said_is_null_and_a_count_of_none() -> None:
    said = mood(articles(), 10)
    assert set(said) == set(OF_A_COIN)
    assert {name for name, value in said.items() if value is not None} == {
        f"news_count_{h}h" for h in (1, 6, 24)
    }


def test_article_counts_for_its_coins_and_for_the_market() -> None:
    scored = articles((10, "a", "news", ["ETH"], 1.0, 0), (10, "b", "news", [], -1.0, 0))
    assert mood(scored, 10)["news_count_24h"] == 0
    assert mood(scored, 10, "ETHUSD")["sentiment_24h"] == 1
    market = mood(scored, 10, None)
    assert set(market) == set(OF_THE_MARKET)
    assert market["market_news_count_24h"] == 2


def test_article_that_was_edited_counts_as_it_was_known() -> None:
    scored = articles((9.5, "a", "news", ["BTC"], 1.0, 0), (10.5, "a", "news", ["BTC"], -1.0, 0))
    assert mood(scored, 10)["sentiment_1h"] == 1
    assert mood(scored, 10.5)["sentiment_1h"] == -1
    assert mood(scored, 10.5)["news_count_24h"] == 1


rows = st.lists(
    st.tuples(
        st.floats(0, 60),
        st.sampled_from("abcde"),
        st.sampled_from(["news", "x", "reddit", "telegram"]),
        st.lists(st.sampled_from(["BTC", "ETH", "XRP"]), max_size=2, unique=True),
        st.floats(-1, 1),
        st.integers(0, 3),
    ),
    max_size=12,
)


@given(rows, st.integers(1, 60))
def test_no_fact_knows_an_article_before_it_was_known(found: list[Row], until: int) -> None:
    then = START + until * HOUR
    scored, slots = articles(*found), slots_between(START, START + 60 * HOUR, every=HOUR)
    later = mood_facts(scored, COINS, slots, weighing=WEIGHING)
    now = mood_facts(scored.filter(pl.col("known_at") <= then), COINS, slots, weighing=WEIGHING)
    assert (
        validated_facts(later)
        .filter(pl.col("known_at") <= then)
        .equals(now.filter(pl.col("known_at") <= then))
    )


def test_bar_reads_the_mood_that_was_known_when_it_closed() -> None:
    scored = articles((9.5, "a", "news", ["BTC"], 0.5, 0), (10.2, "b", "news", ["BTC"], -1.0, 0))
    facts = mood_facts(scored, COINS, slots_between(START, START + 12 * HOUR, every=HOUR), weighing=WEIGHING)
    bars = pl.DataFrame(
        {"symbol": ["BTCUSD"] * 3, "open_time": [START + hours * HOUR for hours in (9, 9.5, 10.5)]},
        schema={"symbol": pl.String(), "open_time": UTC_MICROSECONDS},
    )
    name = "sentiment_1h"
    joined = as_of_join(bars, facts, name=name, interval=HOUR / 2, greatest_age=2 * HOUR)
    values = joined[name].to_list()
    assert values[0] is None  # at half past nine the last slot is nine o'clock
    assert values[1] == 0.5  # at ten
    assert values[2] == pytest.approx(-1.0)  # at eleven, of the hour before


@pytest.mark.parametrize(
    ("start", "end", "count"), [(0, 3, 3), (0.5, 3, 3), (0, 0, 0), (0, 0.9, 0), (2.5, 2.9, 0), (23.5, 25, 2)]
)
def test_slots_are_those_after_the_start(start: float, end: float, count: int) -> None:
    slots = slots_between(START + start * HOUR, START + end * HOUR, every=HOUR)
    assert len(slots) == count
    assert all(START + start * HOUR < slot <= START + end * HOUR and slot.minute == 0 for slot in slots)
