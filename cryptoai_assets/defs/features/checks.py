"""A sentence that should be true of stored features; where it is not, what is downstream stops."""

import dagster as dg

from cryptoai_assets.defs.features.assets import features
from cryptoai_assets.defs.features.recipes import FEATURE_NAMES
from cryptoai_assets.defs.market_data.partitions import symbol_and_month
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.leaks import Finding
from cryptoai_assets.lib.leaks import features_ignore_later_bars as later_bars_finding
from cryptoai_assets.lib.market import month_after, month_start
from cryptoai_assets.lib.monthly_features import months_read
from edge_bundle.windows import MarketWindow

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
    findings = {f"{symbol} {month}": _finding(home, symbol, month) for symbol, month in asked}
    return dg.AssetCheckResult(
        passed=all(found.holds for found in findings.values()),
        metadata={month: found.sentence for month, found in findings.items()},
    )


def _finding(home: Home, symbol: str, month: str) -> Finding:
    market, frame = home.market, home.features.month(symbol, month)
    complete = frame.drop_nulls()
    if complete.is_empty():
        return Finding("features_ignore_later_bars", True, "no row is complete yet")
    first = month_start(months_read(market, month, FEATURE_NAMES)[0])
    own, end = [symbol], month_start(month_after(month))
    stores = home.stores
    return later_bars_finding(
        frame,
        MarketWindow(stores.clean_candles.read(own, first, end), stores.clean_facts.read(own, first, end)),
        FEATURE_NAMES,
        interval=market.interval,
        max_missing_bars=market.max_missing_bars,
        cuts=[complete["open_time"][complete.height // 2] + market.bar],
    )


def _months(context: dg.AssetCheckExecutionContext, home: Home) -> list[tuple[str, str]]:
    """Symbols and months of the run; all that are stored when the check runs alone, without partitions."""
    if context.has_partition_key or context.has_partition_key_range:
        return [symbol_and_month(key) for key in context.partition_keys]
    return [(symbol, month) for symbol in home.market.symbols for month in home.features.months(symbol)]
