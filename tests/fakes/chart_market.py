"""A market with clean candles of some real months of one symbol, made by Dagster."""

from pathlib import Path

import dagster as dg

from cryptoai_assets.defs.market_data.assets import clean_candles, raw_candles
from cryptoai_assets.defs.resources import MarketResource

SYMBOL = "BTCUSD"


def chart_market(folder: Path, instance: dg.DagsterInstance, *, first: str, last: str) -> MarketResource:
    """Market with the months from `first` to `last`, such as ``2018-01-01``."""
    market = MarketResource(name="sample", root=str(folder))
    months = {"start": first, "end": last}
    made = dg.materialize(
        [raw_candles, clean_candles],
        resources={"market": market},
        instance=instance,
        tags={f"dagster/asset_partition_range_{name}": f"{month}|{SYMBOL}" for name, month in months.items()},
    )
    assert made.success
    return market


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.MetadataValue]:
    """What an asset told of itself in a run."""
    [materialization] = result.asset_materializations_for_node(asset)
    return dict(materialization.metadata)
