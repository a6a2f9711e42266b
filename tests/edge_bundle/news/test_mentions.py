"""Coins in a text: names, tickers and aliases are found, and words that look like them are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.news.mentions import COINS, mentioned


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("Bitcoin and ether-linked funds rise", ("BTC",)),
        ("BTC, ETH lead the market", ("BTC", "ETH")),
        ("Bitcoin Cash splits", ("BCH",)),
        ("Bitcoin Cash falls, bitcoin holds", ("BCH", "BTC")),
        ("Ethereum Classic is attacked", ("ETC",)),
        ("$NEAR breaks out", ("NEAR",)),
        ("NEAR Protocol raises funds", ("NEAR",)),
        ("Near Protocol (NEAR) raises funds", ("NEAR",)),
        ("The token NEAR gains 10%", ("NEAR",)),
        ("Chainlink's LINK token climbs", ("LINK",)),
        ("LINK/USDT is listed", ("LINK",)),
        ("XRP wins as Ripple settles", ("XRP",)),
        ("BTCUSDT perpetual", ("BTC",)),
        ("ethereum’s upgrade", ("ETH",)),
        ("#BTC to the moon", ("BTC",)),
    ],
)
def test_coin_is_found_as_it_is_written(text: str, bases: tuple[str, ...]) -> None:
    assert mentioned(text) == bases


@pytest.mark.parametrize(
    "text",
    [
        "Crypto trades near its record; follow the link for more",
        "Near the top, crypto funds link arms",
        "CRYPTO NEAR A RECORD, LINK IN BIO",
        "Stellar results for a crypto exchange",
        "Crypto faces an Avalanche of liquidations",
        "A ripple effect across the cosmos of tokens",
        "The solar firm opens a dot com near a uni",
        "Mail btc@example.com",
        "Tron is a film of 1982 by Disney",
        "",
    ],
)
def test_word_that_looks_like_a_coin_is_none(text: str) -> None:
    assert mentioned(text) == ()


def test_word_of_a_coin_counts_beside_a_sign_of_coins_alone() -> None:
    assert mentioned("Payments firm Stellar opens an office") == ()
    assert mentioned("Payments token Stellar gains") == ("XLM",)


@given(st.text(max_size=300))
def test_any_text_has_coins_of_the_dictionary_only(text: str) -> None:
    assert set(mentioned(text)) <= set(COINS)
