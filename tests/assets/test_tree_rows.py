"""Rows that are binned once: what grows on them is what grows on rows of its own."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fakes.walk_rows import walk_rows

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmHead,
    LightgbmSettings,
    TreeSettings,
    XgboostHead,
    XgboostSettings,
)
from cryptoai_assets.lib.models.tree_rows import TreeRows, kept_tree_rows, selected_rows
from cryptoai_assets.lib.scoring import log_loss
from cryptoai_assets.lib.side_by_side import side_by_side
from edge_bundle.windows import Float32Array

LIBRARIES: tuple[TreeSettings, ...] = (
    replace(XgboostSettings.start(), trees=15, min_child_weight=5.0),
    replace(LightgbmSettings.start(), trees=15, rows_a_leaf=20),
    replace(ForestSettings.start(), trees=15),
)
ROWS, FEATURES = 3000, 6


@pytest.fixture(params=LIBRARIES, ids=lambda settings: settings.kind)
def library(request: pytest.FixtureRequest) -> TreeSettings:
    found: TreeSettings = request.param
    return found


@pytest.fixture(scope="module")
def values() -> Float32Array:
    """Whole numbers, of which there are fewer than bins: every value is one, whichever rows are looked at."""
    return np.random.default_rng(4).integers(0, 40, size=(ROWS, FEATURES)).astype(np.float32)


def target(values: Float32Array, feature: int) -> Float64Array:
    noise = np.random.default_rng(feature).normal(size=len(values)) * 10
    return (values[:, feature] + noise > 20).astype(np.float64)


def grown(library: TreeSettings, rows: TreeRows, up: Float64Array) -> Float64Array:
    return library.grow(rows, up, objective="direction", seed=3).predict(rows.values)


def test_head_is_the_same_after_others_and_beside_them(library: TreeSettings, values: Float32Array) -> None:
    alone = [grown(library, TreeRows(values), target(values, feature)) for feature in range(FEATURES)]
    rows = TreeRows(values)
    pieces = [partial(grown, library, rows, target(values, feature)) for feature in range(FEATURES)]
    for threads in (1, 3):
        for said, expected in zip(side_by_side(pieces, threads=threads), alone, strict=True):
            assert np.array_equal(said, expected)
    assert not np.array_equal(alone[0], alone[1])


def test_row_whose_target_is_not_known_is_as_if_it_were_not_there(
    library: TreeSettings, values: Float32Array
) -> None:
    """Without a draw of rows, which counts those that weigh nothing too."""
    if isinstance(library, XgboostSettings):
        library = replace(library, subsample=1.0)
    if isinstance(library, ForestSettings):
        library = replace(library, row_share=1.0)
    up = target(values, 1)
    hidden = np.random.default_rng(8).random(ROWS) < 0.6
    said = grown(library, TreeRows(values), np.where(hidden, np.nan, up))
    known = TreeRows(values[~hidden])
    expected = library.grow(known, up[~hidden], objective="direction", seed=3).predict(values)
    np.testing.assert_allclose(said, expected, atol=1e-5)
    assert np.corrcoef(said, up)[0, 1] > 0.3


def test_trees_split_by_symbol_before_it_gains_and_tell_its_gain_as_it_is() -> None:
    """Ups follow one feature, for one symbol the other way round."""
    random = np.random.default_rng(9)
    told = random.integers(0, 2, size=ROWS)
    values = np.column_stack([random.normal(size=(ROWS, FEATURES)), told]).astype(np.float32)
    turned = np.where(told == 1, 1.0, -0.5)
    up = (turned * values[:, 0] + random.normal(size=ROWS) > 0).astype(np.float64)
    names = (*(f"noise_{k}" for k in range(FEATURES)), "symbol_is_BTCUSD")
    data = replace(walk_rows(bars=700, seed=14), values=values[:, None, :], names=names)
    weighted = selected_rows(data, range(len(names)))
    plain = selected_rows(data, range(FEATURES))
    assert weighted.gain_weights is not None
    assert plain.gain_weights is plain.draw_weights is None

    library = replace(LightgbmSettings.start(), trees=15, rows_a_leaf=20, column_share=1.0)
    alike, asked = (
        library.grow(rows, up, objective="direction", seed=3) for rows in (TreeRows(values), weighted)
    )
    assert first_splits(asked).count(FEATURES) > first_splits(alike).count(FEATURES)

    one = replace(library, trees=1, leaves=2, subsample=1.0)
    same = [
        one.grow(rows, told * 1.0, objective="direction", seed=3) for rows in (TreeRows(values), weighted)
    ]
    np.testing.assert_allclose(same[1].gain(), same[0].gain(), rtol=1e-5, err_msg="told by its weight")
    assert same[0].gain()[FEATURES] > 0


def test_however_many_columns_tell_the_symbols_the_others_are_drawn_five_times_as_often(
    values: Float32Array,
) -> None:
    for symbols in (2, 50):
        told = np.eye(symbols, dtype=np.float32)[np.random.default_rng(2).integers(0, symbols, size=ROWS)]
        rows = TreeRows(np.hstack([values, told]), range(FEATURES, FEATURES + symbols))
        assert rows.draw_weights is not None
        assert rows.draw_weights[FEATURES:].sum() == pytest.approx(rows.draw_weights[:FEATURES].sum() / 5)
        library = replace(XgboostSettings.start(), trees=40, min_child_weight=5.0)
        head = library.grow(rows, target(values, 1), objective="direction", seed=3)
        alike = library.grow(TreeRows(rows.values), target(values, 1), objective="direction", seed=3)
        assert log_loss(head.predict(rows.values), target(values, 1)).mean() < 0.66
        more = [told_splits(one) for one in (alike, head)]
        assert more[1] < more[0] if symbols == 50 else more[1] > 0


def told_splits(head: XgboostHead) -> int:
    """How often trees split by what tells the symbols."""
    counts = head.booster.get_score(importance_type="weight")
    return int(sum(np.sum(count) for name, count in counts.items() if int(name[1:]) >= FEATURES))


def first_splits(head: LightgbmHead) -> list[int]:
    return [tree["tree_structure"]["split_feature"] for tree in head.booster.dump_model()["tree_info"]]


def test_rows_of_a_dataset_are_kept_with_it_and_not_with_a_part_of_it() -> None:
    data: Dataset = walk_rows(bars=700, seed=14)
    places, rows = kept_tree_rows(data)
    assert np.array_equal(rows.values, data.values[:, -1, places])
    assert kept_tree_rows(data)[1] is rows
    part = data.between(data.times[100], None)
    assert len(kept_tree_rows(part)[1]) == len(part)
