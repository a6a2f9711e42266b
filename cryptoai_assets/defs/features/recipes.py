"""What the features of each partition, their audit and their report read and write."""

from dataclasses import asdict
from pathlib import Path

from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.feature_report import TABLES
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.monthly_features import months_read
from cryptoai_assets.lib.planner import Recipe
from cryptoai_assets.lib.training import SMALL
from edge_bundle.features.catalog import fingerprint, short_memory, sourced_catalog

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


def audited_names(market: MarketResource) -> tuple[str, ...]:
    """Every feature that the stored candles allow, whether a model is trained on it or not."""
    return tuple(sourced_catalog(symbols=market.settings.symbols, facts=()))


def audit_path(home: Home) -> Path:
    """Table of the newest audit."""
    return home.data / "feature_audit" / "audit.parquet"


def report_paths(home: Home) -> dict[str, Path]:
    """Tables of the newest report by name."""
    return {name: home.data / "feature_report" / f"{name}.parquet" for name in TABLES}


def feature_audit_recipe(market: MarketResource) -> Recipe:
    """Recipe of the audit: all stored candles, and the catalog."""
    stores, settings = market.stores, market.settings
    return Recipe(
        reads=stores.clean_candles.files(settings.symbols) | stores.clean_facts.files(settings.symbols),
        writes=(audit_path(market.home),),
        settings={
            "interval": settings.interval,
            "max_missing_bars": settings.max_missing_bars,
            "catalog": fingerprint(audited_names(market)),
        },
        code=(
            "edge_bundle.features",
            "edge_bundle.windows",
            "edge_bundle.candles",
            "cryptoai_assets.lib.feature_audit",
        ),
    )


def feature_report_recipe(market: MarketResource) -> Recipe:
    """Recipe of the report: the training dataset, and the folds of a small training."""
    home = market.home
    return Recipe(
        reads={"training_dataset": home.training_dataset},
        writes=tuple(report_paths(home).values()),
        settings={
            "market": asdict(market.settings),
            "training": asdict(SMALL),
            "catalog": fingerprint(FEATURE_NAMES),
        },
        code=(
            "cryptoai_assets.lib.datasets",
            "cryptoai_assets.lib.feature_figures",
            "cryptoai_assets.lib.feature_report",
            "cryptoai_assets.lib.scoring",
            "cryptoai_assets.lib.splits",
            "cryptoai_assets.lib.training",
            "cryptoai_monitoring.drift",
        ),
    )


RECIPES = {"features": features_recipe}
