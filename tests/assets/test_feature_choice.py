"""The choice of features: those that tell something are found, on training rows alone."""

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import HORIZONS, walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.feature_choice import LEAST_ROWS_A_SYMBOL, MOST_FEATURES, chosen_features
from cryptoai_assets.lib.models.tree_heads import XgboostSettings
from cryptoai_assets.lib.models.trees import Trees

USEFUL, FLAT, ANCHOR = "noise_150", "noise_7", "return_deviation_60"


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Eight features of a walk and 200 of noise, of which one knows the next direction."""
    rows = walk_rows(bars=4000, seed=5)
    noise = np.random.default_rng(6).normal(size=(len(rows), 1, 200)).astype(np.float32)
    up = np.nan_to_num(rows.target("up", 1), nan=0.5)
    noise[:, 0, 150] += (4 * (up - 0.5)).astype(np.float32)
    noise[:, 0, 7] = 3.0
    names = (*rows.names, *(f"noise_{k}" for k in range(200)))
    return Dataset(rows.keys, np.concatenate([rows.values, noise], axis=2), names, rows.targets)


def choice(data: Dataset) -> tuple[str, ...]:
    return chosen_features(data, horizons=HORIZONS, always=ANCHOR, seed=1, threads=1)


def test_useful_feature_is_found_among_noise_and_a_flat_one_is_not(data: Dataset) -> None:
    chosen = choice(data)
    assert len(chosen) == MOST_FEATURES
    assert {USEFUL, ANCHOR} <= set(chosen)
    assert FLAT not in chosen
    assert list(chosen) == [name for name in data.names if name in chosen]
    assert choice(data) == chosen


def test_choice_among_what_was_chosen_is_the_same(data: Dataset) -> None:
    chosen = choice(data)
    assert choice(data.with_features(chosen)) == chosen


def test_model_reads_its_choice_alone_and_rows_of_the_future_do_not_change_it(data: Dataset) -> None:
    cut = data.times[3000]
    later = (data.keys["open_time"] >= cut).to_numpy()
    values = data.values.copy()
    values[later, :, 8:] = np.where(np.isnan(data.target("up", 1)[later]), 0.5, data.target("up", 1)[later])[
        :, None, None
    ]
    changed = Dataset(data.keys, values, data.names, data.targets)
    fits = [
        Trees(XgboostSettings.start(), threads=1).fit(part.between(None, cut), horizons=(1,), seed=1)
        for part in (data, changed)
    ]
    assert fits[0].names == fits[1].names
    unread = [name for name in data.names if name not in fits[0].names]
    columns = [data.names.index(name) for name in unread]
    values = data.values.copy()
    values[:, :, columns] = 9.0
    other = Dataset(data.keys, values, data.names, data.targets)
    said, same = (fits[0].predict(part).probability_up for part in (data, other))
    np.testing.assert_array_equal(said, same)


@pytest.mark.parametrize(("rows", "kept"), [(LEAST_ROWS_A_SYMBOL, True), (LEAST_ROWS_A_SYMBOL - 1, False)])
def test_what_tells_the_symbols_apart_is_kept_where_each_has_rows_enough(rows: int, kept: bool) -> None:
    bars = walk_rows(bars=400, seed=5)
    places = np.resize(np.arange(len(bars)), rows)
    told = np.ones((rows, 1, 1), dtype=np.float32)
    names = (*bars.names, "symbol_is_BTCUSD")
    values = np.concatenate([bars.values[places], told], axis=2)
    data = Dataset(bars.keys[places], values, names, bars.targets[places])
    assert choice(data) == (names if kept else bars.names)
    assert choice(data.with_features(choice(data))) == choice(data)


def test_what_tells_the_symbols_apart_takes_no_place_of_the_others(data: Dataset) -> None:
    """It tells the next direction too, and would be among the best."""
    places = np.resize(np.arange(len(data)), LEAST_ROWS_A_SYMBOL)
    many = Dataset(data.keys[places], data.values[places], data.names, data.targets[places])
    told = np.nan_to_num(many.target("up", 1), nan=0.5).astype(np.float32)[:, None, None]
    names = (*many.names, "symbol_is_BTCUSD")
    more = Dataset(many.keys, np.concatenate([many.values, told], axis=2), names, many.targets)
    assert choice(more) == (*choice(many), "symbol_is_BTCUSD")


def test_few_features_are_all_kept(data: Dataset) -> None:
    few = data.with_features(data.names[:MOST_FEATURES])
    assert choice(few) == few.names
    assert few.with_features(few.names) is few
    assert pl.DataFrame(few.values[:, 0, :]).shape[1] == MOST_FEATURES
