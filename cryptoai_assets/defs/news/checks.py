"""Sentences that should be true of the news; a source that is not configured is not judged."""

import dagster as dg
import polars as pl

from cryptoai_assets.defs.materialization import table
from cryptoai_assets.defs.news.assets import raw_news
from cryptoai_assets.defs.news.recipes import visits_path
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.store import read_stored_parquet


@dg.asset_check(asset=raw_news)
def sources_of_news_answer(market: MarketResource) -> dg.AssetCheckResult:
    """Every source that is configured answered, and with what can be read whole."""
    found = read_stored_parquet(visits_path(market))
    wrong = found.filter(
        (pl.col("state") == "no answer") | ((pl.col("state") == "answered") & pl.col("told").is_not_null())
    )
    return dg.AssetCheckResult(
        passed=wrong.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {told}" for name, told in wrong.select("source", "told").iter_rows())
        or None,
        metadata={"sources": table(found, found.height)},
    )


news_checks = [sources_of_news_answer]
