"""Heads of trees: what one says is the sum of its leaves, to more digits than the library's own sum has."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
import xgboost
from fakes.walk_rows import rows_of_grid
from scipy.special import expit, logit

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.coupling import relative_volatility
from cryptoai_assets.lib.models.forecaster_model import rows_of
from cryptoai_assets.lib.models.tree_heads import ForestSettings, Objective, XgboostHead, XgboostSettings
from cryptoai_assets.lib.models.tree_rows import TreeRows
from cryptoai_assets.lib.sources.sample import sample_file
from edge_bundle.candles import candle_frame
from edge_bundle.windows import Float32Array, MarketWindow, window_grid

MARKET = market_preset("sample")
START = (XgboostSettings.start(), ForestSettings.start())
# Half a unit in the last place of a number from one half to one.
HALF_STEP = 2.0**-25


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Real bars of one coin."""
    candles = candle_frame(pl.read_parquet(sample_file()))
    one = candles.filter(
        pl.col("symbol") == "BTCUSD", pl.col("open_time") > pl.datetime(2019, 5, 1, time_zone="UTC")
    )
    return rows_of_grid(
        window_grid(MarketWindow(one), interval=MARKET.interval, max_missing_bars=MARKET.max_missing_bars)
    )


@pytest.fixture(scope="module")
def rows(data: Dataset) -> Float32Array:
    return rows_of(data.values)


def leaf_weights(node: dict[str, Any]) -> dict[int, float]:
    """Weights of the leaves below a node by their numbers."""
    if "leaf" in node:
        return {node["nodeid"]: float(np.float32(node["leaf"]))}
    return {number: w for child in node["children"] for number, w in leaf_weights(child).items()}


def summed_precisely(head: XgboostHead, rows: Float32Array, base: float) -> Float64Array:
    """The base and the leaf of every tree in which the library sees a row, summed in float64."""
    places = head.booster.predict(xgboost.DMatrix(rows), pred_leaf=True).astype(int)  # (rows, trees)
    total = np.full(len(rows), base)
    for told, own in zip(head.booster.get_dump(dump_format="json"), places.T, strict=True):
        weights = leaf_weights(json.loads(told))
        total += np.array([weights[place] for place in own])
    return total


@pytest.mark.parametrize("objective", ["direction", "volatility"])
@pytest.mark.parametrize("settings", START, ids=lambda settings: settings.kind)
def test_head_of_many_trees_says_the_sum_of_its_leaves(
    settings: XgboostSettings | ForestSettings, objective: Objective, data: Dataset, rows: Float32Array
) -> None:
    target = data.target("up", 1) if objective == "direction" else relative_volatility(data, 1)
    head = settings.grow(TreeRows(rows), target, objective=objective, seed=1)
    said, native = head.predict(rows), head.booster.inplace_predict(rows)
    is_log_odds = objective == "direction" and isinstance(settings, XgboostSettings)
    mean = float(np.nanmean(target))
    leaves = summed_precisely(head, rows, logit(mean) if is_log_odds else mean)
    exact = expit(leaves) if is_log_odds else leaves
    assert np.abs(said - exact).max() < 3e-6 * exact.std()
    # From the same base; the library's own sum is as far off as a rounding at each tree may bring it.
    assert np.abs(said - native).max() < settings.trees * HALF_STEP * max(1.0, np.abs(exact).max())


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_head_of_one_and_the_same_outcome_is_as_sure_as_the_library_is(
    outcome: float, rows: Float32Array
) -> None:
    head = XgboostSettings.start().grow(
        TreeRows(rows), np.full(len(rows), outcome), objective="direction", seed=1
    )
    assert head.predict(rows) == pytest.approx(head.booster.inplace_predict(rows), abs=2.0**-23)
    assert 0 < head.predict(rows).min() <= head.predict(rows).max() < 1
