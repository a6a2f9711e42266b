"""Datasets: each input beside the outcome of its own bar."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import BAR, FEW_FEATURES, HORIZONS, rows_of_grid, walk_grid, walk_rows

from cryptoai_assets.lib.datasets import Dataset, LookbackError, dataset
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import feature_frame, largest_warmup
from edge_bundle.windows import model_input

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


def longer(symbols: tuple[str, ...], *, lookback: int) -> tuple[pl.DataFrame, Dataset]:
    grid = walk_grid(symbols, bars=400, seed=2)
    features, targets = feature_frame(grid, FEW_FEATURES), target_frame(grid, horizons=HORIZONS)
    return features, dataset(features, targets, FEW_FEATURES, lookback=lookback, bar=BAR)


def test_windows_are_what_the_device_reads_whatever_was_cut_away_before() -> None:
    features, data = longer(SYMBOLS, lookback=4)
    names = (FEW_FEATURES[5], FEW_FEATURES[0], FEW_FEATURES[3])
    part = data.between(data.times[20], data.times[60]).of_symbols(["ETHUSD"]).with_features(names)
    read = model_input(features, names, lookback=4, bar=BAR)
    asked = read.keys.with_row_index("row").join(part.keys, on=["open_time", "symbol"])["row"]
    assert len(part) == len(asked) == 40
    assert np.array_equal(part.windows(4), read.values[asked.to_numpy()])
    assert np.array_equal(part.windows(4)[:, -1:], part.values)
    assert np.array_equal(part.windows(2, np.array([3, 1])), part.windows(4)[[3, 1], 2:])
    assert np.array_equal(part.windows(1), part.values)


def test_datasets_share_the_bars_of_their_windows() -> None:
    _, data = longer(SYMBOLS, lookback=60)
    part = data.between(data.times[20], None).with_features(FEW_FEATURES[:2])
    assert data.history is not None
    assert part.history is not None
    assert part.history.bars is data.history.bars


def test_window_longer_than_what_is_held_is_refused_with_the_cure() -> None:
    with pytest.raises(LookbackError, match="1 bars a row are held, 60 needed: raise the lookback"):
        walk_rows(bars=400, seed=2).windows(60)
    with pytest.raises(LookbackError, match="4 bars a row are held"):
        longer(SYMBOLS, lookback=4)[1].windows(5)
