"""What the news are made from, which says whether they are up to date."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from cryptoai_assets.defs.news.sources import news_sources
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.news.outlook import CAUTION
from cryptoai_assets.lib.planner import Recipe
from edge_bundle.news.mood import WEIGHING
from edge_bundle.releases import channel_path
from edge_bundle.sentiment.release import MODEL

_CODE = ("cryptoai_assets.lib.news", "edge_bundle.news", "edge_bundle.sentiment")


def visits_path(market: MarketResource) -> Path:
    """Table of what the last visits brought."""
    return market.home.data / "news_visits.parquet"


def scored_path(market: MarketResource) -> Path:
    """Table of scored news."""
    return market.home.data / "scored_news.parquet"


def mood_path(market: MarketResource) -> Path:
    """Table of the newest mood."""
    return market.home.data / "news_mood.parquet"


def raw_news_recipe(market: MarketResource) -> Recipe:
    """Recipe of the visits: the sources, and the quarter of an hour in which they are asked."""
    now = market.now()
    return Recipe(
        reads={},
        writes=(visits_path(market),),
        settings={
            "sources": [source.name for source in news_sources(market)],
            "asked": f"{now.replace(minute=now.minute // 15 * 15):%Y-%m-%d %H:%M}",
        },
        code=("cryptoai_assets.lib.news", "edge_bundle.news", "cryptoai_assets.lib.sources"),
    )


def scored_news_recipe(market: MarketResource) -> Recipe:
    """Recipe of the scores: every stored article, and the method that is set or released."""
    articles = market.home.news.articles
    return Recipe(
        reads=articles.files(articles.symbols())
        | {"released_method": channel_path(market.home.releases, MODEL)},
        writes=(scored_path(market),),
        settings={"method": market.sentiment},
        code=(*_CODE, "cryptoai_assets.lib.sentiment_methods.choice"),
    )


def news_mood_recipe(market: MarketResource) -> Recipe:
    """Recipe of the mood: the scores, the weights, and the hour that has begun."""
    return Recipe(
        reads={"scored_news": scored_path(market)},
        writes=(mood_path(market), market.home.outlooks),
        settings={
            "until": f"{market.now():%Y-%m-%d %H}",
            "channels": dict(WEIGHING.channels),
            "half_life_hours": WEIGHING.half_life.total_seconds() / 3600,
            "caution": asdict(CAUTION),
            "symbols": list(market.settings.symbols),
        },
        code=_CODE,
    )


RECIPES: Mapping[str, Callable[[MarketResource], Recipe]] = {
    "raw_news": raw_news_recipe,
    "scored_news": scored_news_recipe,
    "news_mood": news_mood_recipe,
}
