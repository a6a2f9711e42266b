"""What the chart assets read and write."""

from dataclasses import asdict, replace
from pathlib import Path

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.charts.plan import SMALL_CHARTS
from cryptoai_assets.lib.charts.weights import DATASET_CODE
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.planner import Recipe


def set_path(home: Home) -> Path:
    """Packed images and labels."""
    return home.data / "charts" / "images.npz"


def events_path(home: Home) -> Path:
    """Table of events."""
    return home.data / "charts" / "patterns.parquet"


def _recipe(market: MarketResource, written: Path, *code: str) -> Recipe:
    stores, settings = market.stores, market.settings
    return Recipe(
        reads=stores.clean_candles.files(settings.symbols) | stores.clean_facts.files(settings.symbols),
        writes=(written,),
        settings={
            "plan": {name: str(value) for name, value in SMALL_CHARTS.to_json().items()},
            "symbols": settings.symbols,
            "interval": settings.interval,
        },
        code=(*DATASET_CODE, "edge_bundle.candles", "cryptoai_assets.lib.charts.plan", *code),
    )


def chart_pattern_labels_recipe(market: MarketResource) -> Recipe:
    """Recipe of the events: all candles, and the rule."""
    return _recipe(market, events_path(market.home), "cryptoai_assets.lib.charts.events")


def chart_images_recipe(market: MarketResource) -> Recipe:
    """Recipe of the dataset: all candles, the rule, and what is chosen."""
    return _recipe(market, set_path(market.home))


def study_path(home: Home) -> Path:
    """Table of the event study."""
    return home.data / "charts" / "study.parquet"


def chart_pattern_study_recipe(market: MarketResource) -> Recipe:
    """Recipe of the event study: all candles, the rule, and what trading costs."""
    study = _recipe(market, study_path(market.home), "cryptoai_assets.lib.charts.study")
    return replace(study, settings={**study.settings, "costs": asdict(market.settings.costs)})


RECIPES = {
    "chart_pattern_labels": chart_pattern_labels_recipe,
    "chart_images": chart_images_recipe,
    "chart_pattern_study": chart_pattern_study_recipe,
}
