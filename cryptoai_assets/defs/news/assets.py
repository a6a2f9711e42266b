"""News of a market, scored, and the mood that features may read, each as it was known."""

from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from cryptoai_assets.defs.materialization import materialized, table
from cryptoai_assets.defs.news.recipes import (
    mood_path,
    news_mood_recipe,
    raw_news_recipe,
    scored_news_recipe,
    scored_path,
    visits_path,
)
from cryptoai_assets.defs.news.sources import REACH, news_sources
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.sentiment.methods import sentiment_choice
from cryptoai_assets.lib.news.moods import new_moods
from cryptoai_assets.lib.news.news_store import visits
from cryptoai_assets.lib.news.outlook import CAUTION, outlooks
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from edge_bundle.news.scored_news import SCORED_SCHEMA, with_scores
from edge_bundle.sentiment.outlook import Outlooks

GROUP = "news"


@dg.asset(group_name=GROUP, kinds={"parquet"}, pool="news")
def raw_news(market: MarketResource) -> dg.MaterializeResult[None]:
    """Articles and posts of each source that is configured, one row a version; asked every few minutes."""

    def make() -> dict[str, Any]:
        start = market.now() - REACH
        found = visits(market.home.news, news_sources(market), start=start, clock=market.now)
        write_parquet_atomically(found, visits_path(market))
        return {
            "dagster/row_count": market.home.news.read().height,
            "added_rows": int(found["added"].sum()),
            "put_aside": int(found["put_aside"].sum()),
            "sources": table(found, found.height),
        }

    return materialized(raw_news_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"onnx"}, deps=[raw_news])
def scored_news(market: MarketResource) -> dg.MaterializeResult[None]:
    """News with the number of their copies, and the sentiment that the configured method reads in them."""

    def make() -> dict[str, Any]:
        path = scored_path(market)
        held = read_stored_parquet(path) if path.is_file() else pl.DataFrame(schema=SCORED_SCHEMA)
        method = sentiment_choice(market).method()
        found = with_scores(market.home.news.read(), method, held)
        write_parquet_atomically(found, path)
        newest = found.tail(10).select("known_at", "source", "title", "coins", "copies", "score")
        return {
            "dagster/row_count": found.height,
            "method": f"{method.name} {method.version}",
            "method_set": market.sentiment,
            "mean_score": found["score"].mean(),
            "preview": table(newest),
        }

    return materialized(scored_news_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"parquet"}, deps=[scored_news])
def news_mood(market: MarketResource) -> dg.MaterializeResult[None]:
    """Sentiment, count, dispersion, momentum and novelty of the news by symbol and hour, as facts."""

    def make() -> dict[str, Any]:
        scored = read_stored_parquet(scored_path(market))
        coins = {symbol: market.settings.base(symbol) for symbol in market.settings.symbols}
        added = new_moods(scored, coins, market.home.facts, clock=market.now)
        newest = added.filter(pl.col("event_time") == pl.col("event_time").max())
        write_parquet_atomically(newest, mood_path(market))
        told = _told(market, newest, scored, market.now())
        return {
            "added_rows": added.height,
            "dagster/row_count": newest.height,
            "recommendations": {symbol: one.recommendation for symbol, one in told.symbols.items()},
            "market_recommendation": told.market.recommendation,
            "reasons": {symbol: "; ".join(one.reasons) for symbol, one in told.symbols.items()},
            "trending": [topic.words for topic in told.trending],
            "newest": table(newest, newest.height),
        }

    return materialized(news_mood_recipe(market), make)


def _told(market: MarketResource, newest: pl.DataFrame, scored: pl.DataFrame, now: datetime) -> Outlooks:
    """What the service reads, told anew with each slot; between two slots it stays."""
    held = Outlooks.read(market.home.outlooks)
    if held is not None and newest.is_empty():
        return held
    by = scored.select("method", "method_version").tail(1).rows()
    told = outlooks(
        newest,
        scored,
        newest["event_time"][0] if newest.height else now,
        live=market.settings.live,
        caution=CAUTION,
        method=by[0] if by else (market.sentiment, ""),
    )
    told.write(market.home.outlooks)
    return told


news_assets = [raw_news, scored_news, news_mood]
