"""The sentiment methods of a market's settings: the one that scores, and those that are compared."""

from collections.abc import Callable
from dataclasses import replace

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.sentiment_methods.choice import MethodChoice
from edge_bundle.sentiment.method import SentimentMethod

COMPARED = ("keywords", "vader", "textblob", "transformer", "ollama")


def sentiment_choice(market: MarketResource) -> MethodChoice:
    """Method that scores the news."""
    return MethodChoice(market.sentiment, market.home.releases, market.ollama)


def compared_methods(market: MarketResource) -> dict[str, Callable[[], SentimentMethod]]:
    """Methods that are compared, by name: the usual ones, and those that are set."""
    names = dict.fromkeys((*COMPARED, *market.sentiment_compared))
    return {name: replace(sentiment_choice(market), names=name).method for name in names}
