"""How far trees are ahead of the linear baseline on the simulated market, as the gate compares them.

Run as ``PYTHONPATH=tests:. .venv/bin/python -m benchmarks.planted_signal SEED SIGNAL``: two months of minutes
of two coins, LightGBM as a search starts with it, scored on the final stretch of a first training.
"""

import sys
from datetime import UTC, datetime

import numpy as np
import polars as pl
from fakes.archives import embedded_candles

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.baselines import Linear
from cryptoai_assets.lib.models.forecaster_model import Predictions, rows_of
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings
from cryptoai_assets.lib.models.tree_rows import TreeRows
from cryptoai_assets.lib.scoring import paired_interval
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import SMALL, direction_loss, known_dataset, training_splits
from cryptoai_assets.sandbox.market import SandboxMarket
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.features.catalog import feature_frame, short_memory
from edge_bundle.windows import MarketWindow, window_grid

MARKET = market_preset("sandbox")
START, END = datetime(2019, 7, 1, tzinfo=UTC), datetime(2019, 9, 1, tzinfo=UTC)


def minutes(*, seed: int, signal: float) -> Dataset:
    """Features and outcomes of two months, of which only the last bar of each input is kept."""
    market = SandboxMarket(
        embedded_candles(), seed=seed, start=END, speed=0, clock=lambda: END, signal=signal
    )
    candles = pl.concat([market.bars(symbol, "1m", START, END) for symbol in MARKET.symbols])
    grid = window_grid(
        MarketWindow(candles), interval=MARKET.interval, max_missing_bars=MARKET.max_missing_bars
    )
    targets = target_frame(grid, horizons=MARKET.horizons)
    frame = feature_frame(grid, short_memory()).join(
        targets, on=["open_time", "symbol"], how="left", maintain_order="left"
    )
    return known_dataset(frame, short_memory(), MARKET, END)


def trees(train: Dataset, test: Dataset) -> Predictions:
    """Probabilities of LightGBM, a booster a horizon."""
    said, rows = Predictions.nothing(len(test), len(MARKET.horizons)), TreeRows(rows_of(train.values))
    for column, horizon in enumerate(MARKET.horizons):
        head = LightgbmSettings.start().grow(
            rows, train.target("up", horizon), objective="direction", seed=SMALL.seed
        )
        said.probability_up[:, column] = head.predict(test.values[:, -1])
    return said


def main(seed: int, signal: float) -> None:
    """Print the paired difference, and the accuracy of the trees by horizon."""
    data = minutes(seed=seed, signal=signal)
    stretch = training_splits(data, MARKET, SMALL).stretch
    train, test = data.between(None, stretch.train_end), data.between(stretch.test_start, stretch.test_end)
    times = test.keys["open_time"].cast(UTC_MICROSECONDS)
    line = Linear().fit(train, horizons=MARKET.horizons, seed=SMALL.seed).predict(test)
    tree = trees(train, test)
    found = paired_interval(
        direction_loss(line, test, MARKET.horizons),
        direction_loss(tree, test, MARKET.horizons),
        times,
        SMALL.bootstrap(MARKET),
    )
    sys.stdout.write(
        f"seed {seed}, signal {signal}: linear − LightGBM, mean log loss: {found.mean:.4f} "
        f"[{found.lower:.4f}, {found.upper:.4f}], {found.rows} rows\n"
    )
    for column, horizon in enumerate(MARKET.horizons):
        up, chance = test.target("up", horizon), tree.probability_up[:, column]
        moved = np.isfinite(up)
        right = ((chance > 0.5) == (up > 0.5))[moved].astype(float)
        share = paired_interval(right, np.zeros(moved.sum()), times.filter(moved), SMALL.bootstrap(MARKET))
        sys.stdout.write(
            f"  {horizon} minutes: accuracy {share.mean:.3f} [{share.lower:.3f}, {share.upper:.3f}]\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
