"""Sentences that should be true of what is recorded of books and trades."""

from datetime import timedelta

import dagster as dg

from cryptoai_assets.defs.orderbook.assets import microstructure_bars
from cryptoai_assets.defs.resources import MarketResource

# A recorder that hears nothing for a third of a minute connects anew; a venue is never silent for longer.
GREATEST_SILENCE = timedelta(minutes=2)


@dg.asset_check(asset=microstructure_bars)
def books_are_recorded(market: MarketResource) -> dg.AssetCheckResult:
    """Something was added to a recording in the last two minutes, where a market that grows is recorded."""
    added = market.home.recordings.last_added(market.settings.symbols)
    if added is None or not market.settings.grows:
        return dg.AssetCheckResult(passed=True, metadata={"state": "not recorded"})
    silence = max(market.clock() - added, timedelta(0))
    passed = silence <= GREATEST_SILENCE
    cure = "see build/up/record.log, or start make record"
    told = f"nothing was recorded since {added:%Y-%m-%d %H:%M:%S} UTC: {cure}"
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None if passed else told,
        metadata={"seconds_since_the_last_message": round(silence.total_seconds())},
    )
