"""The precision of a graph: INT8 where it agrees and is not slower, FP32 where it does not."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import onnx
import pytest
from fakes.untrained_network import untrained_network
from fakes.walk_rows import FEW_FEATURES, HORIZONS, walk_grid

from cryptoai_assets.lib.datasets import Dataset, Float64Array, dataset
from cryptoai_assets.lib.export import forecaster_graph
from cryptoai_assets.lib.models.networks.fitted import FittedNetwork
from cryptoai_assets.lib.models.networks.settings import TransformerSettings
from cryptoai_assets.lib.quantization import (
    KEPT_IN_FP32,
    ChosenPrecision,
    QuantizationError,
    _fitting,
    chosen_precision,
    integer_operators,
)
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import feature_frame
from edge_bundle.windows import Float32Array

SETTINGS = replace(TransformerSettings.start(), lookback=16, width=64, heads=2, layers=1, inner=256)


@pytest.fixture(scope="module")
def data() -> Dataset:
    grid = walk_grid(("BTCUSD",), bars=2700, seed=4)
    features, targets = feature_frame(grid, FEW_FEATURES), target_frame(grid, horizons=HORIZONS)
    return dataset(features, targets, FEW_FEATURES, lookback=16, bar=timedelta(minutes=30))


@pytest.fixture(scope="module")
def fitted(data: Dataset) -> FittedNetwork:
    return untrained_network(SETTINGS, data, horizons=HORIZONS, seed=3)


@pytest.fixture(scope="module")
def windows(data: Dataset) -> Float32Array:
    return data.windows(16)


@pytest.fixture(scope="module")
def up(data: Dataset) -> Float64Array:
    return np.column_stack([data.target("up", horizon) for horizon in HORIZONS])


@pytest.fixture(scope="module")
def chosen(fitted: FittedNetwork, windows: Float32Array, up: Float64Array) -> ChosenPrecision:
    return chosen_precision(forecaster_graph(fitted), windows, up)


def test_table_names_each_precision_and_the_smallest_that_fits_wins(chosen: ChosenPrecision) -> None:
    plain, *others = chosen.table
    assert (plain.name, plain.rank_correlation, plain.same_side, plain.accuracy_lost) == ("fp32", 1, 1, 0)
    assert plain.agrees
    assert [variant.name for variant in others] == ["int8_dynamic", "int8_static"]
    assert all(variant.megabytes < plain.megabytes / 2 for variant in others)
    assert all(0.9 < variant.rank_correlation < 1 for variant in others)
    assert all(variant.agrees == (variant.why == "") for variant in chosen.table)
    quick = [variant for variant in chosen.table if variant.milliseconds <= 1.05 * plain.milliseconds]
    best = min((variant for variant in quick if variant.agrees), key=lambda variant: variant.megabytes)
    assert chosen.name == best.name
    record = json.loads(json.dumps(chosen.record()))
    assert record["precision"] == ("fp32" if chosen.name == "fp32" else "int8")
    assert record["windows"] >= 2000


def test_repetition_keeps_what_was_decided_and_promises_the_same_to_the_byte(
    fitted: FittedNetwork, windows: Float32Array, up: Float64Array
) -> None:
    """However long each precision takes this time: no time is in what the bundle's digest is made of."""
    found = [
        chosen_precision(forecaster_graph(fitted), windows, up, decided=name)
        for name in ("int8_static", "int8_static", "fp32")
    ]
    assert [one.name for one in found] == ["int8_static", "int8_static", "fp32"]
    assert found[0].graph.SerializeToString() == found[1].graph.SerializeToString()
    assert "QuantizeLinear" in integer_operators(found[0].graph)
    promised = [json.dumps(one.record()) for one in found]
    assert promised[0] == promised[1]
    assert found[0].table != found[1].table
    entry = found[0].record()["table"][1]
    assert {"name", "megabytes", "rank_correlation", "same_side"} < set(entry)
    assert "milliseconds" not in entry


def test_slower_variant_is_not_kept_and_still_said_to_agree(chosen: ChosenPrecision) -> None:
    slow = [
        replace(variant, agrees=True, milliseconds=milliseconds)
        for variant, milliseconds in zip(chosen.table, (1.0, 1.2, 1.04), strict=True)
    ]
    assert [variant.name for variant in _fitting(slow)] == ["fp32", "int8_static"]


def test_only_a_graph_with_integer_operators_is_called_int8(
    chosen: ChosenPrecision, fitted: FittedNetwork
) -> None:
    assert bool(integer_operators(chosen.graph)) == (chosen.record()["precision"] == "int8")
    assert integer_operators(forecaster_graph(fitted)) == frozenset()


def test_last_layer_and_regression_beside_it_stay_in_fp32(chosen: ChosenPrecision) -> None:
    kinds = {node.name: node.op_type for node in chosen.graph.graph.node}
    kept = {name: kinds[name] for name in KEPT_IN_FP32 if name in kinds}
    assert kept == {"heads.product": "MatMul", "last_bar.product": "MatMul"}


def test_weights_that_eight_bits_cannot_hold_keep_the_graph_in_fp32(
    fitted: FittedNetwork, windows: Float32Array, up: Float64Array
) -> None:
    """One weight a thousand times the others', of a feature that is not read, eats all eight bits."""
    weights = dict(fitted.weights)
    outlier = weights["embedding.weight"].copy()
    outlier[:, 0] = 3000
    inverse = fitted.scaling.inverse.copy()
    inverse[0] = 0
    blind = replace(
        fitted,
        weights={**weights, "embedding.weight": outlier},
        scaling=replace(fitted.scaling, inverse=inverse),
    )
    found = chosen_precision(forecaster_graph(blind), windows, up)
    assert found.name == "fp32"
    assert found.record()["precision"] == "fp32"
    assert all("rank correlation under" in variant.why for variant in found.table[1:])
    onnx.checker.check_model(found.graph)


def test_too_few_windows_to_compare_on_are_refused(
    fitted: FittedNetwork, windows: Float32Array, up: Float64Array
) -> None:
    with pytest.raises(QuantizationError, match="windows are left to compare precisions on, 2000 needed"):
        chosen_precision(forecaster_graph(fitted), windows[:1500], up[:1500])
