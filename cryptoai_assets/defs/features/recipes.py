"""What each partition of the features reads and writes."""

from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.monthly_features import months_read
from cryptoai_assets.lib.planner import Recipe
from edge_bundle.features.catalog import fingerprint, short_memory

FEATURE_NAMES = short_memory()


def features_recipe(market: MarketResource, partition_key: str) -> Recipe:
    """Recipe of a month's features: its candles, those of the warm-up before it, and the catalog."""
    symbol, month = symbol_and_month(partition_key)
    stores, settings = market.stores, market.settings
    months = months_read(settings, month, FEATURE_NAMES)
    return Recipe(
        reads=stores.clean_candles.files([symbol], months) | stores.clean_facts.files([symbol], months),
        writes=(market.home.features.path(symbol, month),),
        settings={
            "interval": settings.interval,
            "max_missing_bars": settings.max_missing_bars,
            "catalog": fingerprint(FEATURE_NAMES),
        },
        code=(
            "edge_bundle.features",
            "edge_bundle.windows",
            "edge_bundle.candles",
            "cryptoai_assets.lib.monthly_features",
        ),
    )


RECIPES = {"features": features_recipe}
