"""Facts of blockchains and of the outside world, one asset a source, each version as it was known."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

import dagster as dg

from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.outside.recipes import asset_name, facts_recipe, summary_path
from cryptoai_assets.defs.outside.sources import SOURCES, fact_source, missing
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.figures import facts_figure
from cryptoai_assets.lib.outside_facts import LEAD, Collected, collected, fact_summary
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.store import write_parquet_atomically
from edge_bundle.facts import empty_facts

GROUP = "outside"
_ORIGINS: Mapping[str, str] = {
    "coin_metrics": "Daily on-chain metrics of each coin of the market, from Coin Metrics.",
    "mempool_space": "Bitcoin's fees and hash rate by day, and each new difficulty, from mempool.space.",
    "fear_greed": "The crypto Fear & Greed index, from alternative.me.",
    "google_trends": "Interest in search terms, from an export of Google Trends.",
    "fred": "Macro series with all their vintages, from FRED.",
    "vix": "Daily closes of the volatility index, from a CSV file.",
    "sp500": "Daily closes of the S&P 500, from a CSV file.",
    "dollar_index": "Daily closes of the dollar index, from a CSV file.",
}


def _facts(source: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=asset_name(source),
        group_name=GROUP,
        kinds={"parquet"},
        pool=source,
        description=f"{_ORIGINS[source]} One row per version of an event; asked for twice a day.",
    )
    def facts(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
        def make() -> dict[str, Any]:
            found = _answer(market, source)
            summary = fact_summary(found.stored)
            write_parquet_atomically(summary, summary_path(market, source))
            if found.missing is not None:
                context.log.info(f"{source} is not configured: {found.missing}")
                return {"state": "not configured", "missing": found.missing, "dagster/row_count": 0}
            return {
                "state": "configured",
                "dagster/row_count": found.stored.height,
                "added_rows": found.added.height,
                "freshness": table(summary, summary.height),
                "preview": table(found.stored.sort("known_at").tail(10)),
                "plot": picture(facts_figure(found.stored, title=source)),
            }

        return materialized(facts_recipe(source, market), make)

    return facts


def _answer(market: MarketResource, source: str) -> Collected:
    """What was collected; a source that does not answer is a failure that is told apart from any other."""
    try:
        return _collected(market, source)
    except SourceError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _collected(market: MarketResource, source: str) -> Collected:
    if (unset := missing(market, source)) is not None:
        return Collected(unset, empty_facts(), empty_facts())
    start = datetime.combine(market.settings.history_start, time(), UTC) - LEAD
    return collected(fact_source(market, source), market.home.facts, start=start, now=market.now())


FACT_ASSETS = {source: _facts(source) for source in SOURCES}
outside_assets = list(FACT_ASSETS.values())
