"""Candles as the source gave them, candles that passed every rule, and what is absent between them."""

from typing import Any

import dagster as dg

from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH, VENUE_POOL, symbol_and_month
from cryptoai_assets.defs.market_data.recipes import (
    candle_coverage_recipe,
    clean_candles_recipe,
    coverage_path,
    raw_candles_recipe,
)
from cryptoai_assets.defs.materialization import materialized, materialized_partitions, picture, table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.coverage import coverage
from cryptoai_assets.lib.figures import coverage_figure
from cryptoai_assets.lib.market_month import MarketMonth
from cryptoai_assets.lib.repair import RepairPolicy
from cryptoai_assets.lib.store import write_parquet_atomically

# Of the stored part, fetched again in search of late and revised bars.
OVERLAP_BARS = 30
# The venue is asked hourly: for a day alone, then with another one beside it, for three days in all.
REPAIR_POLICY = RepairPolicy(own_tries=24, max_tries=72, bars_a_request=1000)
ONE_RUN = dg.BackfillPolicy.single_run()


def _place(market: MarketResource, key: str) -> MarketMonth:
    return MarketMonth(market.settings, market.stores, market.gaps, *symbol_and_month(key))


@dg.asset(
    partitions_def=SYMBOL_MONTH,
    backfill_policy=ONE_RUN,
    group_name="market_data",
    kinds={"parquet"},
    pool=VENUE_POOL,
)
def raw_candles(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and closed bar, as the source gave it, with what it said about empty slots.

    From the market's source. A market that ends with its data is read a whole month at a time; of one that
    grows, what came since the last stored bar is added, and a bar that changed since is told as a revision.
    """
    source = market.source()

    def ingest(key: str) -> dict[str, Any]:
        place, now = _place(market, key), market.now()
        added = place.take(source, overlap_bars=OVERLAP_BARS, now=now)
        stored = place.stores.raw_candles.month(place.symbol, place.month)
        start, end = place.window(now)
        return {
            "dagster/row_count": stored.height,
            "added_rows": added.candles.height,
            "added_facts": added.facts.height,
            "source": source.name,
            "span": f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
            "preview": table(stored.tail(10)),
        }

    return materialized_partitions(context, lambda key: raw_candles_recipe(market, key), ingest)


@dg.asset(
    partitions_def=SYMBOL_MONTH,
    backfill_policy=ONE_RUN,
    group_name="market_data",
    kinds={"parquet"},
    deps=[raw_candles],
    pool=VENUE_POOL,
)
def repaired_gaps(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per run of bars that the venue did not give: its cause, how often it was asked for, its state.

    Works off what cleaning found absent: the venue is asked again, then another one; what comes lies in the
    raw tables as a refill, known now. The venue alone is asked for bars that a fallback gave, and revises
    them. Cleaning comes after it. Nothing is asked where the market ends with its data.
    """
    source = market.exchange() if market.settings.grows else None

    def work_off(key: str) -> dict[str, Any]:
        place, failures = _place(market, key), tuple[str, ...]()
        if source is not None:
            second = market.second_source()
            failures = place.repair(source, second, REPAIR_POLICY, now=market.now()).failures
        found = place.gaps.current([place.symbol], interval=place.market.interval, month=place.month)
        return {
            "dagster/row_count": found.height,
            "runs_by_state": dict(found["state"].value_counts().sort("state").rows()),
            "failures": list(failures),
            "preview": table(found.tail(10)),
        }

    for key in context.partition_keys:
        context.add_asset_metadata(work_off(key), partition_key=key)
    return dg.MaterializeResult()


@dg.asset(
    partitions_def=SYMBOL_MONTH,
    backfill_policy=ONE_RUN,
    group_name="market_data",
    kinds={"parquet"},
    deps=[raw_candles, repaired_gaps],
)
def clean_candles(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and closed bar that passed every rule, sorted and unique, and the no-trade facts.

    From `raw_candles`. Rejected rows lie in ``data/<market>/quarantine`` with a reason; nothing is mended.
    What is absent without an explanation, or of a fallback, is entered into the table of gaps.
    """

    def clean(key: str) -> dict[str, Any]:
        place = _place(market, key)
        told, found = place.clean(), place.find_gaps(now=market.now())
        return {
            "dagster/row_count": told.accepted.height,
            "rejected_rows": told.rejected.height,
            "rows_by_finding": told.counts,
            "new_gaps": found.height,
            "quarantine": dg.MetadataValue.path(str(place.stores.quarantine.path(place.symbol, place.month))),
            "preview": table(told.accepted),
        }

    return materialized_partitions(context, lambda key: clean_candles_recipe(market, key), clean)


@dg.asset(group_name="market_data", kinds={"parquet"}, deps=[clean_candles])
def candle_coverage(market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and month: bars due, present, without a trade, and missing; with the table of gaps.

    From `clean_candles` and what `repaired_gaps` made of the absent bars.
    """

    def make() -> dict[str, Any]:
        settings, now = market.settings, market.now()
        covered = coverage(market.stores, settings, now)
        if covered.is_empty():
            raise dg.Failure(f"no candles of {settings.name} are stored yet: materialize clean_candles")
        write_parquet_atomically(covered, coverage_path(market))
        gaps = market.gaps.current(settings.symbols, interval=settings.interval)
        states = gaps["state"].value_counts(name="runs").sort("state")
        return {
            "dagster/row_count": covered.height,
            "missing_bars": int(covered["missing"].sum()),
            "gaps_by_state": table(states, states.height),
            "gaps": table(gaps.sort("from", descending=True)),
            "preview": table(covered.sort("missing", descending=True)),
            "coverage": picture(
                coverage_figure(covered, title=f"Bars of {settings.venue}, {settings.interval}")
            ),
        }

    return materialized(candle_coverage_recipe(market), make)
