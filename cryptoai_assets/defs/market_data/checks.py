"""Sentences that should be true of clean candles; those that concern rows stop what is downstream."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import polars as pl

from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.materialization import table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.coverage import coverage
from cryptoai_assets.lib.market import month_window
from cryptoai_assets.lib.market_data import awaited_bars
from cryptoai_assets.lib.quality import SENTENCES, absent_bars, verdicts
from cryptoai_assets.lib.source_changes import bars_by_source, foreign_shares
from edge_bundle.facts import no_trade_slots

SHOWN_ROWS = 100
# Some venues send nothing for a slot without a trade, and a bar that just closed may be on its way.
LONGEST_WAIT = timedelta(minutes=15)
_MEANINGS = {
    "candles_are_sorted": "Within a symbol, each stored bar opens after the one before it.",
    "candles_are_unique": "The source gave no bar twice with different values.",
    "candles_are_on_the_grid": "Each bar opens at a multiple of the market's interval.",
    "bars_are_plausible": "No price is far from the bars before it, and no volume is in the quote currency.",
    "prices_are_consistent": "Values are finite, prices positive, and high and low enclose open and close.",
}


@dg.multi_asset_check(
    name="rules_of_clean_candles",
    specs=[
        dg.AssetCheckSpec(name, asset=clean_candles, blocking=True, description=_MEANINGS[name])
        for name in SENTENCES
    ],
)
def rules_of_clean_candles(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> Iterator[dg.AssetCheckResult]:
    """Judge stored and rejected rows by the Pandera schema of candles."""
    stores, settings = market.stores, market.settings
    months = _months(context, market)
    stored = pl.concat(stores.clean_candles.month(*month) for month in months)
    rejected = pl.concat(stores.quarantine.month(*month) for month in months)
    for verdict in verdicts(
        stored, rejected, interval=settings.interval, max_rejected_share=settings.max_rejected_share
    ):
        yield dg.AssetCheckResult(
            check_name=verdict.name,
            passed=verdict.holds,
            severity=dg.AssetCheckSeverity.ERROR if verdict.stops else dg.AssetCheckSeverity.WARN,
            metadata={
                "rows_checked": stored.height,
                "rows_against": verdict.rows.height,
                "rows": table(verdict.rows, SHOWN_ROWS),
                "quarantine": dg.MetadataValue.path(str(stores.quarantine.root)),
            },
        )


@dg.asset_check(asset=clean_candles)
def candles_are_complete(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> dg.AssetCheckResult:
    """In no month is a larger share of the bars due missing than the market's setting allows."""
    settings, now = market.settings, market.now()
    covered = coverage(market.stores, settings, now, _months(context, market))
    share = pl.col("missing") / pl.col("due")
    against = covered.filter(share > settings.max_missing_share)
    return dg.AssetCheckResult(
        passed=against.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "months_checked": covered.height,
            "months_against": against.height,
            "missing_bars": int(covered["missing"].sum()),
            "months": table(against.with_columns(share=share).sort("share", descending=True), SHOWN_ROWS),
        },
    )


@dg.asset_check(asset=clean_candles)
def candles_are_fresh(context: dg.AssetCheckExecutionContext, market: MarketResource) -> dg.AssetCheckResult:
    """Of no symbol have the newest bars failed to come for a quarter of an hour, where a market grows.

    Bars received against bars due, at the last look, whatever the venue's answers look like.
    """
    stores, settings, now = market.stores, market.settings, market.now()
    running = [place for place in _months(context, market) if place[1] == f"{now:%Y-%m}"]
    awaited = [
        awaited_bars(stores.raw_candles.month(*place), stores.raw_facts.month(*place)) for place in running
    ]
    most = max(LONGEST_WAIT // settings.bar, 1)
    stale = pl.concat(awaited).filter(pl.col("bars") > most) if awaited else pl.DataFrame()
    told = [f"{bars} bars of {symbol} since {since:%Y-%m-%d %H:%M}" for symbol, since, bars in stale.rows()]
    return dg.AssetCheckResult(
        passed=stale.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{settings.venue} does not give what is due: {', '.join(told)}" if told else None,
        metadata={"symbols_checked": len(running), "stale_symbols": stale.height},
    )


@dg.asset_check(asset=clean_candles)
def candles_keep_their_source(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> dg.AssetCheckResult:
    """The newest bars of each symbol are of the market's own source, but for single ones that were mended."""
    stores, settings, now = market.stores, market.settings, market.now()
    if not settings.grows:
        return dg.AssetCheckResult(passed=True, metadata={"state": "the market ends with its data"})
    source = market.source().name
    running = [place for place in _months(context, market) if place[1] == f"{now:%Y-%m}"]
    bars = [
        bars_by_source(
            stores.clean_candles.month(*place), stores.clean_facts.month_or_empty(*place), source=source
        )
        for place in running
    ]
    foreign = foreign_shares(pl.concat(bars), source=source) if bars else pl.DataFrame()
    told = [
        f"{share:.0%} of the bars of {symbol} in {hours} h are of {other}, not of {source}"
        for symbol, other, hours, _, share in foreign.rows()
    ]
    return dg.AssetCheckResult(
        passed=foreign.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(told) or None,
        metadata={"symbols_checked": len(running), "sources": table(foreign, SHOWN_ROWS)},
    )


@dg.asset_check(asset=clean_candles)
def candles_have_no_unexplained_gap(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> dg.AssetCheckResult:
    """Every absent bar is a no-trade bar: the venue answered and nobody traded."""
    stores, settings = market.stores, market.settings
    found = []
    for symbol, month in _months(context, market):
        start, end = month_window(settings, month, market.now())
        candles, facts = stores.clean_candles.month(symbol, month), stores.clean_facts.month(symbol, month)
        found.append(
            absent_bars(
                candles,
                symbols=[symbol],
                interval=settings.interval,
                no_trade=no_trade_slots(facts),
                start=start,
                end=end,
            )
        )
    gaps = pl.concat(found).sort("kind", "symbol", "from")
    missing, quiet = (gaps.filter(pl.col("kind") == kind) for kind in ("missing", "no_trade"))
    return dg.AssetCheckResult(
        passed=missing.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "missing_bars": int(missing["bars"].sum()),
            "no_trade_bars": int(quiet["bars"].sum()),
            "longest_gap_bars": max(missing["bars"].to_list(), default=0),
            "gaps": table(gaps, SHOWN_ROWS),
        },
    )


def _months(context: dg.AssetCheckExecutionContext, market: MarketResource) -> list[tuple[str, str]]:
    """Symbols and months of the run; all that are stored when the checks run alone, without partitions."""
    if context.has_partition_key or context.has_partition_key_range:
        return [symbol_and_month(key) for key in context.partition_keys]
    store = market.stores.clean_candles
    return [(symbol, month) for symbol in market.settings.symbols for month in store.months(symbol)]
