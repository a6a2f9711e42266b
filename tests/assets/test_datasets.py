"""Datasets: each input beside the outcome of its own bar."""

from datetime import timedelta

import numpy as np
import polars as pl
from fakes.walk_rows import BAR, FEW_FEATURES, HORIZONS, rows_of_grid, walk_grid, walk_rows

from cryptoai_assets.lib.datasets import dataset
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import feature_frame, largest_warmup

SYMBOLS = ("BTCUSD", "ETHUSD")


def test_rows_are_sorted_by_time_and_hold_the_features_and_outcomes_of_their_bar() -> None:
    grid = walk_grid(SYMBOLS, bars=400, seed=2)
    data = rows_of_grid(grid)
    assert data.keys.equals(data.keys.sort("open_time", "symbol"))
    assert data.values.shape == (len(data), 1, len(FEW_FEATURES))
    assert data.values.dtype == np.float32
    assert np.isfinite(data.values).all()
    wide = feature_frame(grid, FEW_FEATURES).join(
        target_frame(grid, horizons=HORIZONS), on=["open_time", "symbol"]
    )
    for row in (0, 1, 17, len(data) - 1):
        [bar] = wide.filter(
            (pl.col("open_time") == data.keys["open_time"][row])
            & (pl.col("symbol") == data.keys["symbol"][row])
        ).to_dicts()
        assert np.allclose(data.values[row, 0], [bar[name] for name in FEW_FEATURES], rtol=1e-6)
        assert data.targets["return_1"][row] == bar["return_1"]


def test_first_row_comes_after_the_longest_warm_up() -> None:
    grid = walk_grid(["BTCUSD"], bars=400, seed=2)
    assert rows_of_grid(grid).times[0] == grid["open_time"][largest_warmup(FEW_FEATURES)]


def test_outcomes_that_are_not_known_are_kept_as_nan() -> None:
    data = walk_rows(bars=400, seed=2)
    assert np.isnan(data.target("return", 6)[-6:]).all()
    assert np.isfinite(data.target("return", 6)[:-6]).all()


def test_bar_without_a_trade_is_no_row_but_lies_inside_inputs() -> None:
    grid = walk_grid(["BTCUSD"], bars=400, seed=2).with_row_index("bar")
    quiet = grid.with_columns(traded=pl.col("bar") != 350).drop("bar")
    features, targets = feature_frame(quiet, FEW_FEATURES), target_frame(quiet, horizons=[1])
    data = dataset(features, targets, FEW_FEATURES, lookback=3, bar=BAR)
    missing = quiet["open_time"][350]
    assert missing not in data.times
    assert {missing - BAR, missing + BAR} <= set(data.times)


def test_between_takes_the_start_and_leaves_the_end() -> None:
    data = walk_rows(bars=400, seed=2, symbols=SYMBOLS)
    times = data.times
    part = data.between(times[10], times[20])
    assert part.times == times[10:20]
    assert len(part) == 20
    assert np.array_equal(part.values, data.values[20:40])
    assert part.targets.equals(data.targets[20:40])
    assert len(data.between(None, None)) == len(data)
    assert len(data.between(times[-1] + timedelta(days=1), None)) == 0


def test_column_and_symbols_are_found_by_name() -> None:
    data = walk_rows(bars=400, seed=2, symbols=SYMBOLS)
    own = data.of_symbols(["ETHUSD"])
    assert set(own.keys["symbol"]) == {"ETHUSD"}
    assert np.array_equal(own.column("close_location"), own.values[:, 0, 2].astype(np.float64))
