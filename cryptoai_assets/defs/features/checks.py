"""Sentences that should be true of features; where one is not, what is downstream stops."""

from collections.abc import Iterator

import dagster as dg

from cryptoai_assets.defs.features.assets import feature_audit, features
from cryptoai_assets.defs.features.recipes import audit_path, feature_names
from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.feature_audit import FORGETS, SEES, forgets_its_warmup, sees_the_future
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.leaks import Finding
from cryptoai_assets.lib.leaks import features_ignore_later_bars as later_bars_finding
from cryptoai_assets.lib.monthly_features import month_window
from cryptoai_assets.lib.store import read_stored_parquet

MOST_MONTHS = 8


@dg.asset_check(asset=features, blocking=True)
def features_ignore_later_bars(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> dg.AssetCheckResult:
    """Stored features equal those computed again from what was known when their bar closed.

    Asked of the middle of a few of the months that were made, evenly spread.
    """
    home = market.home
    made = _months(context, home)
    asked = made[:: -(-len(made) // MOST_MONTHS) or 1]
    findings = {f"{symbol} {month}": _finding(market, symbol, month) for symbol, month in asked}
    against = [found.sentence for found in findings.values() if not found.holds]
    return dg.AssetCheckResult(
        passed=not against,
        description="; ".join(against) or None,
        metadata={month: found.sentence for month, found in findings.items()},
    )


def _finding(market: MarketResource, symbol: str, month: str) -> Finding:
    home = market.home
    settings, frame = home.market, home.features.month(symbol, month)
    names = feature_names(market)
    complete = frame.drop_nulls()
    if complete.is_empty():
        return Finding("features_ignore_later_bars", True, "no row is complete yet")
    return later_bars_finding(
        frame,
        month_window(home, symbol, month, names),
        names,
        interval=settings.interval,
        max_missing_bars=settings.max_missing_bars,
        greatest_age=settings.greatest_age,
        cuts=[complete["open_time"][complete.height // 2] + settings.bar],
    )


def _months(context: dg.AssetCheckExecutionContext, home: Home) -> list[tuple[str, str]]:
    """Symbols and months of the run; all that are stored when the check runs alone, without partitions."""
    if context.has_partition_key or context.has_partition_key_range:
        return [symbol_and_month(key) for key in context.partition_keys]
    return [(symbol, month) for symbol in home.market.symbols for month in home.features.months(symbol)]


_MEANINGS = {
    SEES: "Every feature is the same from the bars known at a time and from the whole history.",
    FORGETS: "Every feature is the same from its warm-up and one bar as from the whole history.",
}


@dg.multi_asset_check(
    name="rules_of_the_catalog",
    specs=[
        dg.AssetCheckSpec(name, asset=feature_audit, blocking=True, description=meaning)
        for name, meaning in _MEANINGS.items()
    ],
)
def rules_of_the_catalog(
    context: dg.AssetCheckExecutionContext, market: MarketResource
) -> Iterator[dg.AssetCheckResult]:
    """Judge the newest audit, and name every feature that was added wrongly."""
    audit = read_stored_parquet(audit_path(market.home))
    for found in (sees_the_future(audit), forgets_its_warmup(audit)):
        context.log.info(found.sentence)
        yield dg.AssetCheckResult(
            check_name=found.check,
            passed=found.holds,
            description=found.sentence,
            metadata={"finding": found.sentence},
        )
