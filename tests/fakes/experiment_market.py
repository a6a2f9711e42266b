"""A market whose registry and training data are there, so that an experiment can begin on it."""

from datetime import UTC, datetime
from pathlib import Path

from fakes.tiny_bundle import START, TINY_FEATURES, walk_candles

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import bar_grid
from edge_bundle.features.catalog import feature_frame

AT = datetime(2019, 10, 1, 12, tzinfo=UTC)
HORIZONS = (1, 2, 6)
CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=1500, interval="30m", seed=3, start=START)


def experiment_market(root: Path) -> MarketResource:
    """Market in a root that holds a registry, with the training data of `CANDLES`."""
    resource = MarketResource(name="sample", root=str(root), time=AT.isoformat())
    grid = bar_grid(CANDLES, interval="30m", max_missing_bars=3)
    frame = feature_frame(grid, TINY_FEATURES).join(
        target_frame(grid, horizons=HORIZONS), on=["open_time", "symbol"], maintain_order="left"
    )
    resource.home.training.mkdir(parents=True, exist_ok=True)
    write_parquet_atomically(frame, resource.home.training_dataset)
    return resource
