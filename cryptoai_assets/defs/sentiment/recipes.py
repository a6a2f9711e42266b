"""What the comparison of sentiment methods, and the release of the best, read and write."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.sentiment.methods import compared_methods
from cryptoai_assets.lib.planner import Recipe
from cryptoai_assets.lib.sentiment_methods.labelled import labelled_files

_CODE = ("cryptoai_assets.lib.sentiment_methods.comparison", "edge_bundle.sentiment")


def comparison_path(market: MarketResource) -> Path:
    """What the comparison found."""
    return market.home.sentiment / "comparison.json"


def decision_path(market: MarketResource) -> Path:
    """What the gate said."""
    return market.home.sentiment / "decision.json"


def labelled_place(market: MarketResource) -> Path | None:
    """File or folder of labelled texts; None when none is set."""
    return Path(market.labelled_texts) if market.labelled_texts else None


def sentiment_comparison_recipe(market: MarketResource) -> Recipe:
    """Recipe of the comparison: the labelled texts, and the methods."""
    place = labelled_place(market)
    return Recipe(
        reads={file.name: file for file in labelled_files(place)} if place else {},
        writes=(comparison_path(market),),
        settings={"methods": list(compared_methods(market)), "configured": place is not None},
        code=(*_CODE, "cryptoai_assets.lib.sentiment_methods.labelled"),
    )


def released_sentiment_recipe(market: MarketResource) -> Recipe:
    """Recipe of the release: what the comparison found."""
    return Recipe(
        reads={"comparison": comparison_path(market)},
        writes=(decision_path(market),),
        settings={},
        code=(*_CODE, "cryptoai_assets.lib.gate", "cryptoai_assets.lib.releases"),
    )


RECIPES: Mapping[str, Callable[[MarketResource], Recipe]] = {
    "sentiment_comparison": sentiment_comparison_recipe,
    "released_sentiment": released_sentiment_recipe,
}
