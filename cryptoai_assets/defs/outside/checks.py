"""Sentences that should be true of the facts of each source; what is not configured is not judged."""

from collections.abc import Iterator

import dagster as dg

from cryptoai_assets.defs.materialization import table
from cryptoai_assets.defs.outside.assets import FACT_ASSETS
from cryptoai_assets.defs.outside.recipes import summary_path
from cryptoai_assets.defs.outside.sources import SOURCES, fact_source, facts_given, missing
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.interpolation import interpolated_lookahead
from cryptoai_assets.lib.outside_facts import absent_facts, stale_series
from cryptoai_assets.lib.source_changes import replaced_sources
from cryptoai_assets.lib.store import read_stored_parquet

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
_MEANINGS = {
    "facts_are_fresh": "No series that features may read is older than its greatest age.",
    "facts_are_of_every_symbol": "What features may read is there, for every symbol or for the whole market.",
    "facts_keep_their_source": "No series that features may read has come from another source this week.",
    "facts_are_not_interpolated": "No value between two releases lies on a curve to the next one.",
}


def _check(source: str) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"rules_of_{source}_facts",
        specs=[
            # An interpolated series knows the future: nothing is made of it.
            dg.AssetCheckSpec(
                name,
                asset=FACT_ASSETS[source],
                blocking=name == "facts_are_not_interpolated",
                description=meaning,
            )
            for name, meaning in _MEANINGS.items()
        ],
    )
    def rules(market: MarketResource) -> Iterator[dg.AssetCheckResult]:
        if (unset := missing(market, source)) is not None:
            for name in _MEANINGS:
                yield dg.AssetCheckResult(
                    check_name=name, passed=True, metadata={"state": "not configured", "missing": unset}
                )
            return
        yield _fresh(market, source)
        yield _complete(market, source)
        yield _same_source(market, source)
        yield _not_interpolated(market, source)

    return rules


def _fresh(market: MarketResource, source: str) -> dg.AssetCheckResult:
    summary = read_stored_parquet(summary_path(market, source))
    stale = stale_series(summary, market.settings.greatest_age, now=market.now())
    told = ", ".join(
        f"{name} is {age.days} days old" for name, age in stale.select("name", "age").iter_rows()
    )
    return dg.AssetCheckResult(
        check_name="facts_are_fresh",
        passed=stale.is_empty(),
        severity=ERROR if market.settings.grows else WARN,
        description=told or None,
        metadata={"stale_series": stale.height, "series": table(summary, summary.height)},
    )


def _complete(market: MarketResource, source: str) -> dg.AssetCheckResult:
    summary = read_stored_parquet(summary_path(market, source))
    absent = absent_facts(facts_given(market, source), summary, market.settings.symbols)
    cure = "take them out of the market's greatest_ages, or every row lacks a feature"
    return dg.AssetCheckResult(
        check_name="facts_are_of_every_symbol",
        passed=not absent,
        severity=ERROR if "outside" in market.settings.beyond else WARN,
        description=f"not offered: {', '.join(absent)}; {cure}" if absent else None,
        metadata={"absent": absent},
    )


def _same_source(market: MarketResource, source: str) -> dg.AssetCheckResult:
    facts = market.home.facts.read(facts_given(market, source))
    replaced = replaced_sources(facts, now=market.now())
    told = [
        f"{name}{f' of {symbol}' if symbol else ''}: {by} since {since:%Y-%m-%d %H:%M}, {before} before"
        for name, symbol, before, by, since in replaced.rows()
    ]
    return dg.AssetCheckResult(
        check_name="facts_keep_their_source",
        passed=replaced.is_empty(),
        severity=ERROR if market.settings.grows else WARN,
        description="; ".join(told) or None,
        metadata={"replaced_series": replaced.height},
    )


def _not_interpolated(market: MarketResource, source: str) -> dg.AssetCheckResult:
    facts = market.home.facts.read(facts_given(market, source), source=fact_source(market, source).name)
    found = interpolated_lookahead(facts)
    return dg.AssetCheckResult(
        check_name="facts_are_not_interpolated",
        passed=not found,
        severity=ERROR,
        description="; ".join(series.sentence for series in found) or None,
        metadata={"interpolated_series": [series.name for series in found]},
    )


outside_checks = [_check(source) for source in SOURCES]
