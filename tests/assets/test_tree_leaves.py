"""Leaves of trees in a graph: they say what the graph says, and explain it as the libraries themselves do."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import xgboost
from fakes.every_coalition import shapley_by_definition
from fakes.walk_rows import walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.export import forecaster_graph
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmSettings,
    TreeSettings,
    XgboostHead,
    XgboostSettings,
)
from cryptoai_assets.lib.models.trees import FittedTrees, Trees
from cryptoai_assets.lib.tree_leaves import direction_heads
from edge_bundle.explanation import TreeHeads
from edge_bundle.session import ModelSession
from edge_bundle.windows import Float32Array

HORIZONS = (1, 2)
ALONE: tuple[TreeSettings, ...] = (
    replace(XgboostSettings.start(), trees=20, learning_rate=0.1, min_child_weight=5.0),
    replace(LightgbmSettings.start(), trees=20, learning_rate=0.1, rows_a_leaf=50),
    replace(ForestSettings.start(), trees=5),
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return walk_rows(bars=1500, horizons=HORIZONS, seed=5)


@pytest.fixture(scope="module")
def fitted(data: Dataset) -> FittedTrees:
    return Trees(EnsembleSettings.of(ALONE), threads=1).fit(data, horizons=HORIZONS, seed=1)


@pytest.fixture(scope="module")
def windows(fitted: FittedTrees, data: Dataset) -> Float32Array:
    return data.with_features(fitted.names).values


@pytest.fixture(scope="module")
def heads(fitted: FittedTrees) -> TreeHeads:
    found = direction_heads(forecaster_graph(fitted), fitted)
    assert found is not None
    return found


def test_leaves_say_what_the_graph_says(
    fitted: FittedTrees, heads: TreeHeads, windows: Float32Array, tmp_path: Path
) -> None:
    onnx.save(forecaster_graph(fitted), tmp_path / "model.onnx")
    # Rows that lie on the thresholds themselves, beside those that lie anywhere.
    windows = np.concatenate([windows, windows])
    for feature in range(windows.shape[-1]):
        own = heads.lows[heads.features == feature]
        bounds = own[np.isfinite(own)]
        half = len(windows) // 2
        if len(bounds):
            windows[:half, -1, feature] = np.resize(np.append(bounds, np.nextafter(bounds, -np.inf)), half)
    outputs = ModelSession.open(tmp_path / "model.onnx").run(windows)
    for column, horizon in enumerate(HORIZONS):
        own = heads.of_horizon(horizon)
        assert list(own) == ["xgboost", "lightgbm", "random_forest"]
        for part, head in own.items():
            said = head.said(windows[:, -1])
            probability = 1 / (1 + np.exp(-said)) if head.log_odds else said
            assert probability == pytest.approx(outputs[f"{part}/probability_up"][:, column], abs=2e-6)
            assert np.ptp(probability) > 0.01


def test_contributions_are_the_definition_s(heads: TreeHeads, windows: Float32Array) -> None:
    few = windows[::150]
    for part, head in heads.of_horizon(1).items():
        exact = shapley_by_definition(lambda mixed, head=head: head.said(mixed[:, -1]), few[0], few)
        found = head.shapley(few[0, -1], few[:, -1])
        assert found == pytest.approx(exact, abs=1e-9), part
        assert abs(exact).max() > 1e-3


def test_contributions_are_xgboost_s_own_where_features_are_independent(fitted: FittedTrees) -> None:
    """Its values follow the shares of training rows below each branch: on a full grid of levels, each counted
    once, these are the same as replacing a feature by those of all rows.

    Source: https://xgboost.readthedocs.io/en/stable/prediction.html
    """
    levels = np.array(list(product(range(5), repeat=4)), np.float32)
    rows = np.zeros((len(levels), len(fitted.names)), np.float32)
    rows[:, :4] = levels
    target = levels[:, 0] * levels[:, 1] - (levels[:, 2] > 2) * levels[:, 3] + np.sin(levels[:, 3])
    booster = xgboost.train(
        {"max_depth": 4, "eta": 0.5, "objective": "reg:squarederror", "nthread": 1, "tree_method": "exact"},
        xgboost.DMatrix(rows, label=target),
        num_boost_round=12,
    )
    own = replace(
        fitted, direction=(XgboostHead(booster),) * 2, members={}, selected=tuple(range(rows.shape[1]))
    )
    heads = direction_heads(forecaster_graph(own), own)
    assert heads is not None
    head = heads.of_horizon(1)[""]
    assert not head.log_odds
    told = booster.predict(xgboost.DMatrix(rows[:40:3]), pred_contribs=True)
    for row, contributions in zip(rows[:40:3], told, strict=True):
        assert head.shapley(row, rows) == pytest.approx(contributions[:-1], abs=2e-4)
        assert head.said(rows).mean() == pytest.approx(contributions[-1], abs=2e-4)
    assert np.abs(told[:, :4]).max(axis=0).min() > 0.1


def test_heads_are_read_back_as_they_were_written(
    heads: TreeHeads, windows: Float32Array, tmp_path: Path
) -> None:
    heads.write(tmp_path / "leaves.npz")
    again = TreeHeads.read(tmp_path / "leaves.npz")
    for horizon in HORIZONS:
        for part, head in heads.of_horizon(horizon).items():
            assert (again.of_horizon(horizon)[part].said(windows[:, -1]) == head.said(windows[:, -1])).all()
