"""What the features of each partition, their audit and their report read and write."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.outside.sources import facts_offered
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.feature_report import TABLES
from cryptoai_assets.lib.feature_set import trained_features
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import CHARTS, Market, month_after, month_start
from cryptoai_assets.lib.monthly_features import months_read, symbols_read
from cryptoai_assets.lib.planner import Recipe
from cryptoai_assets.lib.store import Place
from cryptoai_assets.lib.training import SMALL
from edge_bundle.features.catalog import fingerprint, sourced_catalog
from edge_bundle.features.microstructure import FACTS, PREFIX
from edge_bundle.features.sources import facts_read

# After every month.
NEWEST = "9999-12"


def feature_names(market: MarketResource) -> tuple[str, ...]:
    """Features that this market's models are offered; those of sources that are not configured are absent."""
    return trained_features(market.settings, facts_of_features(market))


def facts_of_features(market: MarketResource) -> tuple[str, ...]:
    """Facts that features read: those of configured sources, of the families that the market has."""
    beyond = market.settings.beyond
    return (
        *(facts_offered(market) if "outside" in beyond else ()),
        *(PREFIX + name for name in FACTS if "microstructure" in beyond),
    )


def facts_files(
    market: MarketResource, names: Sequence[str], months: Sequence[str] | None = None
) -> dict[str, Place]:
    """Stored facts that the named features may read, for bars of these months, or of all when None."""
    home, read = market.home, facts_read(names)
    span = (month_start(months[0]), month_start(month_after(months[-1]))) if months else (None, None)
    book = any(name.startswith(PREFIX) for name in read)
    outside = not all(name.startswith(PREFIX) for name in read)
    return {
        **(home.facts.files(months[-1] if months else NEWEST) if outside else {}),
        **(home.microstructure.files(home.market.symbols, *span) if book else {}),
    }


def features_recipe(market: MarketResource, partition_key: str) -> Recipe:
    """Recipe of a month's features: its candles, those of the warm-up before it, and the catalog."""
    symbol, month = symbol_and_month(partition_key)
    stores, settings = market.stores, market.settings
    names = feature_names(market)
    months, symbols = months_read(settings, month, names), symbols_read(settings, symbol, names)
    return Recipe(
        reads=stores.clean_candles.files(symbols, months)
        | stores.clean_facts.files(symbols, months)
        | facts_files(market, names, months),
        writes=(market.home.features.path(symbol, month),),
        settings={
            "interval": settings.interval,
            "max_missing_bars": settings.max_missing_bars,
            "catalog": fingerprint(names),
            "greatest_age": {fact: settings.greatest_age[fact] for fact in facts_read(names)},
        },
        code=(
            *_feature_code(settings),
            "edge_bundle.windows",
            "edge_bundle.candles",
            "edge_bundle.facts",
            "cryptoai_assets.lib.monthly_features",
        ),
    )


def _feature_code(market: Market) -> tuple[str, ...]:
    charts = ("edge_bundle.chart", "edge_bundle.chart_rule") if CHARTS in market.beyond else ()
    return ("edge_bundle.features", *charts)


def audited_names(market: MarketResource) -> tuple[str, ...]:
    """Every feature that the market's sources allow, whether a model is trained on it or not."""
    settings, facts = market.settings, facts_of_features(market)
    return tuple(sourced_catalog(symbols=settings.symbols, facts=facts, charts=CHARTS in settings.beyond))


def audit_path(home: Home) -> Path:
    """Table of the newest audit."""
    return home.data / "feature_audit" / "audit.parquet"


def report_paths(home: Home) -> dict[str, Path]:
    """Tables of the newest report by name."""
    return {name: home.data / "feature_report" / f"{name}.parquet" for name in TABLES}


def feature_audit_recipe(market: MarketResource) -> Recipe:
    """Recipe of the audit: all stored candles, and the catalog."""
    stores, settings, names = market.stores, market.settings, audited_names(market)
    return Recipe(
        reads=stores.clean_candles.files(settings.symbols)
        | stores.clean_facts.files(settings.symbols)
        | facts_files(market, names),
        writes=(audit_path(market.home),),
        settings={
            "interval": settings.interval,
            "max_missing_bars": settings.max_missing_bars,
            "catalog": fingerprint(names),
        },
        code=(
            *_feature_code(settings),
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
            "catalog": fingerprint(feature_names(market)),
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
