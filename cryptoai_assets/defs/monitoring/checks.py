"""Sentences that should be true of what was served; where one is not, a person is told."""

import dagster as dg

from cryptoai_assets.defs.monitoring.assets import replayed_forecasts
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.replay import REPLAY_NAME, sentence
from cryptoai_assets.lib.store import read_stored_parquet


@dg.asset_check(asset=replayed_forecasts)
def served_forecasts_replay_the_same(market: MarketResource) -> dg.AssetCheckResult:
    """What was served is what the training path makes of the same bars."""
    found = read_stored_parquet(market.home.monitoring / REPLAY_NAME)
    differing = found.filter(status="differs").height
    return dg.AssetCheckResult(
        passed=not differing, description=sentence(found), metadata={"differing_forecasts": differing}
    )
