"""Which features a market's models are offered: of candles, of whose they are, and what its settings add."""

from dataclasses import replace
from functools import cache

from cryptoai_assets.lib.market import CHARTS, Market
from edge_bundle.features.catalog import SHORT_MEMORY_BARS, catalog, family_of, short_memory, sourced_catalog


@cache
def trained_features(market: Market, facts: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the features in the training set, whose fingerprint says what was configured.

    Parameters
    ----------
    facts
        Names of the facts whose source is configured; features of others are absent.
    """
    offered = sourced_catalog(symbols=market.symbols, facts=facts, charts=CHARTS in market.beyond)
    families = {"identity", *market.beyond}
    beyond = [
        name
        for name, feature in offered.items()
        if name not in catalog() and feature.warmup <= SHORT_MEMORY_BARS and family_of(name) in families
    ]
    return (*short_memory(), *beyond)


def candle_features(market: Market) -> tuple[str, ...]:
    """Those that are offered whatever the settings add: of one symbol's candles, and of whose they are."""
    return trained_features(replace(market, beyond=()), ())
