"""What the facts of each source are made from, which says whether they are up to date."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cryptoai_assets.defs.outside.sources import SOURCES, facts_given, missing, source_files
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.planner import Recipe


def asset_name(source: str) -> str:
    """Asset of a source's facts."""
    return f"{source}_facts"


def source_of(asset: str) -> str:
    """Source whose facts an asset holds."""
    return asset.removesuffix("_facts")


def summary_path(market: MarketResource, source: str) -> Path:
    """Table of what was last collected of a source."""
    return market.home.data / "fact_summaries" / f"{source}.parquet"


def facts_recipe(source: str, market: MarketResource) -> Recipe:
    """Recipe of a source's facts: its files, or the day on which it is asked."""
    unset = missing(market, source)
    return Recipe(
        reads=source_files(market, source),
        writes=(summary_path(market, source),),
        settings={
            "missing": unset,
            "day": None if unset else f"{market.now():%Y-%m-%d}",
            "facts": facts_given(market, source),
        },
        code=("cryptoai_assets.lib.sources", "cryptoai_assets.lib.outside_facts"),
    )


RECIPES: Mapping[str, Callable[[MarketResource], Recipe]] = {
    asset_name(source): partial(facts_recipe, source) for source in SOURCES
}
