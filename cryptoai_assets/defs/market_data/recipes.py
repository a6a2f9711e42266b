"""What each partition of the market data reads and writes, which says whether it is up to date."""

from dataclasses import asdict

from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.market import month_after, month_window
from cryptoai_assets.lib.planner import Recipe
from cryptoai_assets.lib.store import Place


def raw_candles_recipe(market: MarketResource, partition_key: str) -> Recipe:
    """Recipe of a month from the source; a month that is still running is stale with each bar that closes."""
    symbol, month = symbol_and_month(partition_key)
    settings, stores = market.settings, market.stores
    return Recipe(
        reads=market.source_files,
        writes=(stores.raw_candles.path(symbol, month), stores.raw_facts.path(symbol, month)),
        settings={
            "source": settings.source,
            "venue": settings.venue,
            "symbol": symbol,
            "interval": settings.interval,
            "window": month_window(settings, month, market.now()),
        },
        code=(
            "cryptoai_assets.lib.sources",
            "cryptoai_assets.lib.market_data",
            "cryptoai_assets.lib.market_month",
            "cryptoai_assets.lib.store",
        ),
    )


def clean_candles_recipe(market: MarketResource, partition_key: str) -> Recipe:
    """Recipe of a screened month: the raw month, the end of the one before it, and the rules."""
    symbol, month = symbol_and_month(partition_key)
    stores = market.stores
    return Recipe(
        reads=stores.raw_candles.files([symbol], [month_after(month, -1), month])
        | stores.raw_facts.files([symbol], [month])
        | stores.late_rejected.files([symbol], [month]),
        writes=tuple(
            store.path(symbol, month)
            for store in (stores.clean_candles, stores.clean_facts, stores.quarantine)
        ),
        settings={
            "interval": market.settings.interval,
            "max_rejected_share": market.settings.max_rejected_share,
            "plausibility": asdict(market.settings.plausibility),
        },
        code=(
            "cryptoai_assets.lib.quality",
            "cryptoai_assets.lib.market_data",
            "cryptoai_assets.lib.market_month",
            "cryptoai_assets.lib.store",
        ),
    )


def coverage_path(market: MarketResource) -> Place:
    """Table of the newest coverage."""
    return market.stores.folder / "coverage" / "coverage.parquet"


def candle_coverage_recipe(market: MarketResource) -> Recipe:
    """Recipe of the coverage: every clean month, and the table of gaps."""
    stores, settings = market.stores, market.settings
    return Recipe(
        reads=stores.clean_candles.files(settings.symbols)
        | stores.clean_facts.files(settings.symbols)
        | market.gaps.files(settings.symbols),
        writes=(coverage_path(market),),
        settings={"interval": settings.interval},
        code=("cryptoai_assets.lib.coverage", "cryptoai_assets.lib.figures"),
    )


RECIPES = {"raw_candles": raw_candles_recipe, "clean_candles": clean_candles_recipe}
