"""Which coins a text speaks of: names, tickers and aliases, told apart from the words that look like them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Coin:
    """How a coin is written.

    Parameters
    ----------
    names
        That mean nothing else, in any case.
    tickers
        In capitals; enough where no word is written alike.
    words
        Names and tickers that are words too: spelt so, they count beside another sign of coins, unless they
        begin a sentence or all of it is in capitals.
    """

    names: tuple[str, ...]
    tickers: tuple[str, ...]
    words: tuple[str, ...] = ()


COINS: Mapping[str, Coin] = {
    "ADA": Coin(("cardano",), ("ADA",)),
    "APT": Coin(("aptos",), (), ("APT",)),
    "ATOM": Coin((), (), ("Cosmos", "ATOM")),
    "AVAX": Coin(("avax",), ("AVAX",), ("Avalanche",)),
    "BCH": Coin(("bitcoin cash", "bcash"), ("BCH", "BCHUSD")),
    "BNB": Coin(("binance coin",), ("BNB",)),
    "BTC": Coin(("bitcoin", "bitcoins", "btc"), ("BTC", "XBT")),
    "DOGE": Coin(("dogecoin",), ("DOGE",)),
    "DOT": Coin(("polkadot",), (), ("DOT",)),
    "EOS": Coin(("eosio",), ("EOS",)),
    "ETC": Coin(("ethereum classic",), ()),
    "ETH": Coin(("ethereum", "ethers"), ("ETH",)),
    "LINK": Coin(("chainlink",), (), ("LINK",)),
    "LTC": Coin(("litecoin", "litecoins"), ("LTC",)),
    "NEAR": Coin(("near protocol", "nearprotocol"), (), ("NEAR",)),
    "SHIB": Coin(("shiba inu",), ("SHIB",)),
    "SOL": Coin(("solana",), (), ("SOL",)),
    "TON": Coin(("toncoin",), (), ("TON",)),
    "TRX": Coin(("tron network", "tronix"), ("TRX",), ("Tron", "TRON")),
    "UNI": Coin(("uniswap",), (), ("UNI",)),
    "XLM": Coin((), ("XLM",), ("Stellar",)),
    "XMR": Coin(("monero",), ("XMR",)),
    "XRP": Coin(("ripple labs",), ("XRP",), ("Ripple",)),
    "ZEC": Coin(("zcash",), ("ZEC",)),
}
# Besides a coin that is named for certain: what makes a word that looks like one into one.
_SIGNS = re.compile(
    r"\b(?:crypto\w*|blockchain|tokens?|coins?|altcoins?|staking|defi|mainnet|stablecoins?|wallets?)\b",
    re.IGNORECASE,
)
_LONGER_NAMES = ("bitcoin cash", "bitcoin sv", "bitcoin gold", "ethereum classic", "bitcoin magazine")


def mentioned(text: str) -> tuple[str, ...]:
    """Bases of the coins that a text speaks of, in order of the alphabet.

    A ticker that is a word in capitals, such as NEAR or LINK, counts with a dollar sign (``$NEAR``), as a
    pair (``NEAR/USD``), in brackets, and in a sentence on coins; the words *near* and *link* never do.
    """
    sure = {base for base, coin in COINS.items() if _surely(text, base, coin)}
    if not sure and not _SIGNS.search(text):
        return ()
    perhaps = {base for base, coin in COINS.items() if _inside(text, coin.words)}
    return tuple(sorted(sure | perhaps))


def _surely(text: str, base: str, coin: Coin) -> bool:
    signed = rf"\${base}\b|#{base}\b(?![a-z])|\b{base}[/-](?:USDT?|EUR|BTC|ETH)\b|\b{base}USDT?\b|\({base}\)"
    if re.search(signed, text):
        return True
    if any(re.search(rf"(?<![\w.@/-]){ticker}(?![\w@])", text) for ticker in coin.tickers):
        return True
    lower = text.lower()
    for longer in _LONGER_NAMES:
        if longer not in coin.names:
            lower = lower.replace(longer, " ")
    return any(re.search(rf"(?<![\w@]){name}(?![\w@])", lower) for name in coin.names)


def _inside(text: str, words: Sequence[str]) -> bool:
    if not words or text.upper() == text:
        return False
    begun = r"(?<!^)(?<![.!?:] )(?<![\w@])"
    return any(re.search(rf"{begun}{word}(?!\w)(?! of\b)", text) for word in words)
