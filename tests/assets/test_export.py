"""Export: the graph says what the fitted model says on real rows, and one that does not is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from fakes.walk_rows import FEW_FEATURES, HORIZONS, rows_of_grid, walk_rows
from onnx import helper, numpy_helper

from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.export import (
    AGREEMENT_TOLERANCE,
    Agreement,
    ExportError,
    agreement,
    exported,
    float32_rounding,
    forecaster_graph,
    graph_agreement,
    graph_predictions,
    session_predictions,
    verify_agreement,
    write_bundle,
)
from cryptoai_assets.lib.graph_builder import BASIS_POINTS
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.ensemble import EnsembleHead, EnsembleSettings
from cryptoai_assets.lib.models.feature_choice import LEAST_ROWS_A_SYMBOL
from cryptoai_assets.lib.models.forecaster_model import Predictions
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmSettings,
    TreeSettings,
    XgboostSettings,
)
from cryptoai_assets.lib.models.trees import FittedTrees, Trees
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import candle_frame
from edge_bundle.explanation import Explainer, Explanation
from edge_bundle.features.catalog import feature_frame, fingerprint
from edge_bundle.features.sources import reads_candles_only
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.session import ModelSession
from edge_bundle.windows import MarketWindow, window_grid

MARKET = market_preset("sample")
AT = datetime(2019, 10, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def window() -> MarketWindow:
    """Real candles of two coins."""
    candles = candle_frame(pl.read_parquet(sample_file()))
    two = candles.filter(
        pl.col("symbol").is_in(["BTCUSD", "XRPUSD"])
        & (pl.col("open_time") > pl.datetime(2019, 5, 1, time_zone="UTC"))
    )
    return MarketWindow(two)


@pytest.fixture(scope="module")
def data(window: MarketWindow) -> Dataset:
    return rows_of_grid(
        window_grid(window, interval=MARKET.interval, max_missing_bars=MARKET.max_missing_bars)
    )


SETTINGS: tuple[TreeSettings, ...] = (
    replace(XgboostSettings.start(), trees=40, learning_rate=0.1),
    replace(LightgbmSettings.start(), trees=40, learning_rate=0.1, rows_a_leaf=100),
    replace(ForestSettings.start(), trees=15),
)
SETTINGS = (*SETTINGS, EnsembleSettings.of(SETTINGS))


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda settings: settings.kind)
def fitted(request: pytest.FixtureRequest, data: Dataset) -> FittedTrees:
    found = Trees(request.param, threads=1).fit(data, horizons=HORIZONS, seed=1)
    # A slope of zero, which few trees on few rows may come to, would leave one output without a difference.
    return replace(found, coupling=tuple(replace(one, return_slope=0.5) for one in found.coupling))


def written(folder: Path, fitted: FittedTrees, data: Dataset, window: MarketWindow) -> Forecaster:
    return write_bundle(
        folder,
        fitted,
        chosen=exported(fitted, data),
        market=MARKET,
        kind="xgboost",
        golden=data,
        window=window,
        trained_until=AT,
        as_of=AT,
        git_commit="0" * 40,
    )


@pytest.fixture(scope="module")
def forecaster(
    tmp_path_factory: pytest.TempPathFactory,
    fitted: FittedTrees,
    data: Dataset,
    window: MarketWindow,
) -> Forecaster:
    return written(tmp_path_factory.mktemp("bundle"), fitted, data, window)


def test_graph_agrees_with_its_original_on_real_rows(
    fitted: FittedTrees, forecaster: Forecaster, data: Dataset
) -> None:
    found = agreement(fitted.predict(data), graph_predictions(forecaster, data))
    assert found.rows == len(data) > 10_000
    assert found.share >= 0.999
    assert found.largest_difference <= AGREEMENT_TOLERANCE
    assert verify_agreement(found) is found


def test_bundle_knows_whose_bars_it_reads(tmp_path: Path, window: MarketWindow) -> None:
    """Rows of two coins, each many times over, so that there are enough to tell them apart."""
    names = (*FEW_FEATURES, "symbol_is_BTCUSD", "symbol_is_XRPUSD")
    grid = window_grid(window, interval=MARKET.interval, max_missing_bars=MARKET.max_missing_bars)
    features, targets = feature_frame(grid, names), target_frame(grid, horizons=HORIZONS)
    data = dataset(features, targets, names, lookback=1, bar=MARKET.bar)
    places = np.resize(np.arange(len(data)), 2 * LEAST_ROWS_A_SYMBOL)
    many = replace(data, keys=data.keys[places], values=data.values[places], targets=data.targets[places])
    few = replace(LightgbmSettings.start(), trees=20)
    fitted = Trees(few, threads=1).fit(many, horizons=HORIZONS, seed=1)
    assert fitted.names == names
    forecaster = written(tmp_path, fitted, data, window)
    verify_agreement(agreement(fitted.predict(data), graph_predictions(forecaster, data)))
    assert reads_candles_only(forecaster.manifest.features)

    bitcoin = window.candles.filter(pl.col("symbol") == "BTCUSD").tail(forecaster.manifest.bars_needed)
    said = [
        forecaster.forecast(MarketWindow(bitcoin.with_columns(symbol=pl.lit(symbol))))
        for symbol in MARKET.symbols
    ]
    probabilities = {one.symbol: one.horizons[0].probability_up for (one,) in said}
    assert probabilities["BTCUSD"] != probabilities["XRPUSD"], "the same bars, said to be another's"


def test_graph_tells_what_the_members_of_an_ensemble_say(
    fitted: FittedTrees, forecaster: Forecaster, data: Dataset
) -> None:
    native, said = fitted.predict(data).members, graph_predictions(forecaster, data).members
    assert list(said) == list(native)
    assert len(said) == (3 if isinstance(fitted.direction[0], EnsembleHead) else 0)
    for kind, member in native.items():
        found = agreement(member, said[kind])
        assert found.share >= 0.999
        assert found.largest_difference <= AGREEMENT_TOLERANCE


def test_bundle_explains_its_trees_exactly_and_an_ensemble_by_drawn_orders(
    fitted: FittedTrees, forecaster: Forecaster, data: Dataset
) -> None:
    explainer = Explainer.of(forecaster)
    window = data.with_features(fitted.names).values[500]
    said = forecaster.outputs(window[None])
    for horizon, column in ((HORIZONS[0], 0), (HORIZONS[-1], len(HORIZONS) - 1)):
        whole = explainer.explanation(window, horizon, part="", seed=1)
        assert (whole.orders is None) is (not fitted.members)
        for part in explainer.members:
            own = explainer.explanation(window, horizon, part=part, seed=1)
            assert own.orders is None
            assert _probability(own) == pytest.approx(said[f"{part}/probability_up"][0, column])
            assert abs(own.remainder) < 1e-5
        assert _probability(whole) == pytest.approx(said["probability_up"][0, column])
        assert abs(whole.remainder) < 1e-5
        assert sum(abs(one.contribution) for one in whole.contributions) > 1e-3


def _probability(explained: Explanation) -> float:
    said = explained.said
    return said if explained.unit == "probability" else float(1 / (1 + np.exp(-said)))


def test_bundle_carries_what_it_was_made_of_and_passes_its_selftest(forecaster: Forecaster) -> None:
    manifest = forecaster.manifest
    assert manifest.features == FEW_FEATURES
    assert manifest.feature_fingerprint == fingerprint(FEW_FEATURES)
    assert manifest.horizons == HORIZONS
    assert forecaster.selftest().passed


def test_interval_of_the_graph_lies_around_its_expected_return(
    fitted: FittedTrees, forecaster: Forecaster, data: Dataset
) -> None:
    out = forecaster.outputs(data.values[:500])
    half = (
        np.array([coupling.interval_factor for coupling in fitted.coupling]) * out["expected_volatility_bps"]
    )
    assert out["upper_bps"] - out["expected_return_bps"] == pytest.approx(half, rel=1e-4, abs=1e-3)
    assert out["expected_return_bps"] - out["lower_bps"] == pytest.approx(half, rel=1e-4, abs=1e-3)
    native = fitted.predict(data).expected_volatility[:500] * BASIS_POINTS
    assert out["expected_volatility_bps"] == pytest.approx(native, rel=1e-4)


def test_graph_counts_the_features_outside_the_training_range(
    fitted: FittedTrees, forecaster: Forecaster, data: Dataset
) -> None:
    rows = data.values[:2000].copy()
    rows[0, 0, :2] = 1e6
    wanted = ((rows[:, 0] < fitted.training_range.low) | (rows[:, 0] > fitted.training_range.high)).mean(
        axis=1
    )
    assert forecaster.outputs(rows)["outside_range"] == pytest.approx(wanted)


@pytest.mark.parametrize("constant", ["slopes", "floor", "one"])
def test_changed_graph_is_refused(tmp_path: Path, fitted: FittedTrees, data: Dataset, constant: str) -> None:
    graph = forecaster_graph(fitted)
    [changed] = [tensor for tensor in graph.graph.initializer if tensor.name == constant]
    changed.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(changed) + np.float32(0.01), constant))
    onnx.save(graph, tmp_path / GRAPH_NAME)
    run = ModelSession.open(tmp_path / GRAPH_NAME).run(data.values)
    out = {name: values.astype(np.float64) for name, values in run.items()}
    said = Predictions(
        out["expected_return_bps"] / BASIS_POINTS,
        out["probability_up"],
        out["expected_volatility_bps"] / BASIS_POINTS,
    )
    with pytest.raises(ExportError, match="the graph agrees with its original on"):
        verify_agreement(agreement(fitted.predict(data), said))


def agreement_of(graph: onnx.ModelProto, folder: Path, fitted: FittedTrees, data: Dataset) -> Agreement:
    """Agreement of any graph with a fitted model, as an export is judged."""
    onnx.save(graph, folder / GRAPH_NAME)
    session, said = ModelSession.open(folder / GRAPH_NAME), fitted.predict(data)
    exported = session_predictions(session, data.with_features(fitted.names), fitted.lookback)
    return agreement(said, exported, rounding=float32_rounding(fitted, said))


# As many trees as a training grows.
MANY: tuple[TreeSettings, ...] = (
    XgboostSettings.start(),
    LightgbmSettings.start(),
    ForestSettings.start(),
)


def by_kind(settings: TreeSettings) -> str:
    return settings.kind


@pytest.mark.parametrize("settings", [*MANY, EnsembleSettings.start()], ids=by_kind)
def test_graph_of_many_trees_agrees_on_every_real_row(
    tmp_path: Path, settings: TreeSettings, data: Dataset, window: MarketWindow
) -> None:
    fitted = Trees(settings, threads=1).fit(data, horizons=HORIZONS[:1], seed=1)
    found = verify_agreement(graph_agreement(written(tmp_path, fitted, data, window), fitted, data))
    assert found.rows > 10_000
    assert found.largest_difference < AGREEMENT_TOLERANCE


def test_graph_agrees_where_nothing_but_noise_moves_the_volatility(tmp_path: Path) -> None:
    """LightGBM's base lies in its leaves: every sum of them has the last digits of a number near one."""
    calm = walk_rows(bars=4600, seed=31)
    fitted = Trees(LightgbmSettings.start(), threads=1).fit(calm, horizons=HORIZONS, seed=1)
    said = fitted.predict(calm)
    assert (said.expected_volatility.std(axis=0) < 0.1 * said.expected_volatility.mean(axis=0)).all()
    verify_agreement(agreement_of(forecaster_graph(fitted), tmp_path, fitted, calm))


Tree = dict[str, Any]


def tree_of(graph: onnx.ModelProto, head: str) -> tuple[onnx.NodeProto, Tree]:
    [node] = [node for node in graph.graph.node if node.name == f"{head}_{HORIZONS[0]}_trees"]
    return node, {one.name: helper.get_attribute_value(one) for one in node.attribute}


def put_back(node: onnx.NodeProto, tree: Tree) -> None:
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in tree.items())


def weights_of(tree: Tree) -> str:
    return "class" if "class_weights" in tree else "target"


def change_a_leaf(tree: Tree) -> None:
    """By about a thousandth of the output's deviation; log odds count a fourth of a probability."""
    kind = weights_of(tree)
    tree[f"{kind}_weights"][0] += {"class": 2.4e-4, "target": 6e-5}[kind]


def move_a_split(tree: Tree) -> None:
    """Up, by a tenth of where it was."""
    tree["nodes_values"][0] *= 1.1


def leave_out_a_tree(tree: Tree) -> None:
    kind = weights_of(tree)
    trees, weights = tree[f"{kind}_treeids"], tree[f"{kind}_weights"]
    weights[:] = [0.0 if own == trees[-1] else weight for own, weight in zip(trees, weights, strict=True)]


def change_the_base(tree: Tree) -> None:
    """By two hundred-thousandths; LightGBM's lies in the leaves."""
    [base] = tree.get("base_values", [0.0])
    tree["base_values"] = [base + 2e-5]


def swap_two_features(tree: Tree) -> None:
    """Deviations over 60 and over 240 bars, each where the other was."""
    features = tree["nodes_featureids"]
    features[:] = [{6: 7, 7: 6}.get(feature, feature) for feature in features]


FAULTS = (change_a_leaf, move_a_split, leave_out_a_tree, change_the_base, swap_two_features)


@pytest.fixture(scope="module", params=MANY, ids=by_kind)
def of_many_trees(request: pytest.FixtureRequest, data: Dataset) -> FittedTrees:
    return Trees(request.param, threads=1).fit(data, horizons=HORIZONS[:1], seed=1)


@pytest.mark.parametrize("head", ["up", "volatility"])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_among_many_trees_is_refused(
    tmp_path: Path, of_many_trees: FittedTrees, data: Dataset, fault: Callable[[Tree], None], head: str
) -> None:
    graph = forecaster_graph(of_many_trees)
    node, tree = tree_of(graph, head)
    fault(tree)
    put_back(node, tree)
    with pytest.raises(ExportError, match="the graph agrees with its original on"):
        verify_agreement(agreement_of(graph, tmp_path, of_many_trees, data))


def test_split_on_the_wrong_side_of_the_rows_that_lie_on_it_is_refused(
    tmp_path: Path, of_many_trees: FittedTrees, data: Dataset
) -> None:
    """By one step of float32, at the root of one tree."""
    graph = forecaster_graph(of_many_trees)
    node, tree = tree_of(graph, "up")
    split = np.float32(tree["nodes_values"][0])
    below = tree["nodes_modes"][0] == b"BRANCH_LT"
    values = data.values.copy()
    values[:, -1, of_many_trees.selected[tree["nodes_featureids"][0]]] = split
    on_it = replace(data, values=values)
    verify_agreement(agreement_of(graph, tmp_path, of_many_trees, on_it))
    tree["nodes_values"][0] = float(np.nextafter(split, np.float32(np.inf if below else -np.inf)))
    put_back(node, tree)
    with pytest.raises(ExportError, match="the graph agrees with its original on"):
        verify_agreement(agreement_of(graph, tmp_path, of_many_trees, on_it))


@pytest.mark.parametrize("joined", ["probability_up", "relative_volatility"])
def test_outputs_of_two_horizons_that_are_swapped_are_refused(
    tmp_path: Path, fitted: FittedTrees, data: Dataset, joined: str
) -> None:
    graph = forecaster_graph(fitted)
    [node] = [node for node in graph.graph.node if node.name == joined]
    node.input[0], node.input[1] = node.input[1], node.input[0]
    with pytest.raises(ExportError, match="the graph agrees with its original on"):
        verify_agreement(agreement_of(graph, tmp_path, fitted, data))


WITHOUT_SPLIT: tuple[TreeSettings, ...] = (
    replace(XgboostSettings.start(), trees=80, min_child_weight=2000.0),
    replace(LightgbmSettings.start(), trees=80, rows_a_leaf=5000),
)
WITHOUT_SPLIT = (*WITHOUT_SPLIT, EnsembleSettings.of(WITHOUT_SPLIT))


@pytest.mark.parametrize("settings", WITHOUT_SPLIT, ids=by_kind)
def test_graph_of_a_head_that_finds_no_split_agrees_and_one_beside_it_is_refused(
    tmp_path: Path, settings: TreeSettings, data: Dataset
) -> None:
    fitted = Trees(settings, threads=1).fit(data, horizons=HORIZONS, seed=1)
    # A slope far beyond what is seen: the return follows every digit of the probability.
    fitted = replace(fitted, coupling=tuple(replace(one, return_slope=5.0) for one in fitted.coupling))
    said = fitted.predict(data)
    assert said.probability_up.std(axis=0).max() < 1e-12, "a split was found"
    found = agreement_of(forecaster_graph(fitted), tmp_path, fitted, data)
    assert verify_agreement(found).largest_difference < AGREEMENT_TOLERANCE
    other = replace(said, probability_up=said.probability_up + 2e-6)
    with pytest.raises(ExportError, match=r"on 0\.00%"):
        verify_agreement(agreement(said, other, rounding=float32_rounding(fitted, said)))


def test_graph_of_a_head_whose_trees_are_empty_says_its_base(tmp_path: Path, data: Dataset) -> None:
    """A leaf of more rows than there are: each tree is one, of zero."""
    settings = replace(XgboostSettings.start(), min_child_weight=1e6)
    fitted = Trees(settings, threads=1).fit(data, horizons=HORIZONS, seed=1)
    graph = forecaster_graph(fitted)
    _, tree = tree_of(graph, "up")
    assert set(tree["class_weights"]) == {0.0}
    verify_agreement(agreement_of(graph, tmp_path, fitted, data))


def test_window_with_too_short_runs_of_candles_is_refused(
    tmp_path: Path, fitted: FittedTrees, data: Dataset, window: MarketWindow
) -> None:
    torn = MarketWindow(window.candles.gather_every(2))
    with pytest.raises(ExportError, match="bars in a row"):
        written(tmp_path, fitted, data, torn)
