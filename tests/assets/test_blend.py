"""The ensemble of all: who knows more weighs more, who disagrees is doubted, and one graph says it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from fakes.ridge_solver import RidgeSolver
from fakes.walk_rows import BAR, FEW_FEATURES, HORIZONS, walk_grid

from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.export import (
    AGREEMENT_TOLERANCE,
    ExportError,
    agreement,
    float32_rounding,
    forecaster_graph,
    session_outputs,
    session_predictions,
    verify_agreement,
)
from cryptoai_assets.lib.models.blend import Blend, BlendSettings, FittedBlend, Member
from cryptoai_assets.lib.models.ensemble import EnsembleSettings, fitted_alone
from cryptoai_assets.lib.models.networks.network import Network
from cryptoai_assets.lib.models.networks.settings import LstmSettings, TransformerSettings
from cryptoai_assets.lib.models.tree_heads import ForestSettings, LightgbmSettings, XgboostSettings
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.quantization import chosen_precision
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.tree_leaves import direction_heads
from edge_bundle.features.catalog import feature_frame
from edge_bundle.session import ModelSession

LSTM = replace(LstmSettings.start(), lookback=8, units=(24,))
TRANSFORMER = replace(TransformerSettings.start(), lookback=6, width=24, heads=2, layers=1, inner=24)
FOREST = replace(ForestSettings.start(), trees=10)


def told_by_an_earlier_bar(data: Dataset) -> Dataset:
    """Outcomes that the bar before the last tells, up to noise; trees read the last one only."""
    earlier = data.windows(8)[:, -2, FEW_FEATURES.index("close_location")] - 0.5
    ahead = (earlier.astype(np.float64) + np.random.default_rng(3).normal(size=len(data)) * 0.1) * 0.01
    targets = data.targets.with_columns(
        return_1=pl.Series(ahead), up_1=pl.Series((ahead > 0).astype(np.int8))
    )
    return replace(data, targets=targets)


@pytest.fixture(scope="module")
def data() -> Dataset:
    grid = walk_grid(("BTCUSD", "ETHUSD"), bars=3000, seed=12)
    features, targets = feature_frame(grid, FEW_FEATURES), target_frame(grid, horizons=HORIZONS)
    return told_by_an_earlier_bar(dataset(features, targets, FEW_FEATURES, lookback=8, bar=BAR))


@pytest.fixture(scope="module")
def members() -> Sequence[Member]:
    trees = (
        replace(XgboostSettings.start(), trees=20, learning_rate=0.1),
        replace(LightgbmSettings.start(), trees=20, learning_rate=0.1, rows_a_leaf=50),
        FOREST,
    )
    return [
        *(Trees(settings, threads=1) for settings in trees),
        *(Network(settings, RidgeSolver(), 1, lambda _: None) for settings in (LSTM, TRANSFORMER)),
    ]


@pytest.fixture(scope="module")
def fitted(data: Dataset, members: Sequence[Member]) -> FittedBlend:
    train = data.between(None, data.times[1700])
    return Blend(members, threads=1).fit(train, horizons=HORIZONS, seed=1)


@pytest.fixture(scope="module")
def test(data: Dataset) -> Dataset:
    return data.between(data.times[1710], None)


def test_members_that_know_more_weigh_more(fitted: FittedBlend) -> None:
    weights = dict(zip(fitted.members, fitted.direction_weights, strict=True))
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(fitted.volatility_weights) == pytest.approx(1)
    assert min(fitted.direction_weights) >= 0
    assert weights["lstm"] + weights["transformer"] > 0.7


def test_members_are_told_beside_the_whole_as_if_each_was_fitted_alone(
    fitted: FittedBlend, data: Dataset, test: Dataset
) -> None:
    train = data.between(None, data.times[1700])
    alone = Trees(FOREST, threads=1).fit(train, horizons=HORIZONS, seed=1).predict(test)
    said = fitted.predict(test)
    assert list(said.members) == ["xgboost", "lightgbm", "random_forest", "lstm", "transformer"]
    assert np.array_equal(said.members["random_forest"].probability_up, alone.probability_up)


def test_whole_is_nearly_as_right_as_its_best_member(fitted: FittedBlend, test: Dataset) -> None:
    said, up = fitted.predict(test), test.target("up", 1)

    def right(probability_up: np.ndarray) -> float:
        return float(((probability_up[:, 0] > 0.5) == (up > 0.5)).mean())

    best = max(right(member.probability_up) for member in said.members.values())
    assert right(said.probability_up) > max(best - 0.03, 0.6)


def test_members_that_disagree_bring_the_probability_nearer_to_one_half(
    fitted: FittedBlend, test: Dataset
) -> None:
    doubting = replace(fitted, confidence=replace(fitted.confidence, trust=(1.0,) * 3, doubt=(-3.0,) * 3))
    trusting = replace(doubting, confidence=replace(doubting.confidence, doubt=(0.0,) * 3))
    lead, doubted = (np.abs(one.predict(test).probability_up - 0.5) for one in (trusting, doubting))
    members = np.stack([one.probability_up for one in trusting.predict(test).members.values()])
    spread = members.std(axis=0)
    assert (doubted <= lead).all()
    kept = (doubted / np.maximum(lead, 1e-9))[:, 0]
    assert kept[spread[:, 0] > np.quantile(spread[:, 0], 0.9)].mean() < kept.mean()
    assert max(fitted.confidence.doubt) <= 0 <= min(fitted.confidence.trust)


def test_one_graph_says_what_the_ensemble_says(tmp_path: Path, fitted: FittedBlend, test: Dataset) -> None:
    spread = replace(fitted, confidence=replace(fitted.confidence, doubt=(-1.0, -2.0, -0.5)))
    onnx.save(forecaster_graph(spread), tmp_path / "model.onnx")
    session = ModelSession.open(tmp_path / "model.onnx")
    assert fitted.lookback == 8
    exported = session_predictions(session, test, fitted.lookback)
    said = spread.predict(test)
    found = agreement(said, exported, rounding=float32_rounding(spread, said))
    assert verify_agreement(found).largest_difference < AGREEMENT_TOLERANCE
    told = said.members
    assert list(exported.members) == list(told) == list(fitted.members)
    for kind, member in told.items():
        rounding = float32_rounding(spread.members[kind], member)
        own = agreement(member, exported.members[kind], rounding=rounding)
        assert verify_agreement(own).largest_difference < AGREEMENT_TOLERANCE
    out = session_outputs(session, test, fitted.lookback)
    half = [one.interval_factor for one in fitted.coupling] * out["expected_volatility_bps"]
    assert out["upper_bps"] - out["lower_bps"] == pytest.approx(2 * half, rel=1e-4)


def test_one_graph_says_what_trees_without_a_split_say_together(
    tmp_path: Path, fitted: FittedBlend, data: Dataset, test: Dataset
) -> None:
    train = data.between(None, data.times[1700])
    stumps = (
        replace(XgboostSettings.start(), min_child_weight=500.0),
        replace(LightgbmSettings.start(), rows_a_leaf=5000),
    )
    members = {one.kind: Trees(one, threads=1).fit(train, horizons=HORIZONS, seed=1) for one in stumps}
    # Slopes far beyond what is seen: the returns follow every digit of the probabilities.
    steep = tuple(replace(one, return_slope=3.0) for one in fitted.coupling)
    fitted = replace(
        fitted,
        members={kind: replace(member, coupling=steep) for kind, member in members.items()},
        direction_weights=(0.5, 0.5),
        volatility_weights=(0.5, 0.5),
        coupling=steep,
    )
    said = fitted.predict(test)
    assert said.probability_up.std(axis=0).max() < 1e-12, "a split was found"
    onnx.save(forecaster_graph(fitted), tmp_path / "model.onnx")
    exported = session_predictions(ModelSession.open(tmp_path / "model.onnx"), test, fitted.lookback)
    rounding = float32_rounding(fitted, said)
    verify_agreement(agreement(said, exported, rounding=rounding))
    other = replace(exported, probability_up=exported.probability_up + 2e-6)
    with pytest.raises(ExportError, match=r"on 0\.00%"):
        verify_agreement(agreement(said, other, rounding=rounding))


def test_members_of_an_ensemble_are_not_fitted_alone_as_well() -> None:
    trees = EnsembleSettings.of((FOREST,))
    blend = BlendSettings((FOREST, LSTM))
    assert fitted_alone([FOREST, LSTM, TRANSFORMER, trees, blend]) == [TRANSFORMER, trees, blend]


def test_networks_inside_are_quantized_as_by_themselves_and_trees_keep_their_leaves(
    fitted: FittedBlend, data: Dataset, tmp_path: Path
) -> None:
    rows = np.arange(2600)
    up = np.column_stack([data.target("up", horizon)[rows] for horizon in HORIZONS])
    found = chosen_precision(forecaster_graph(fitted), data.windows(8, rows), up)
    heads = direction_heads(found.graph, fitted)
    assert heads is not None
    onnx.save(found.graph, tmp_path / "model.onnx")
    windows = data.with_features(fitted.names).windows(8, rows[:50])
    outputs = ModelSession.open(tmp_path / "model.onnx").run(windows)
    own = heads.of_horizon(HORIZONS[0])
    assert list(own) == ["xgboost", "lightgbm", "random_forest"]
    for kind, head in own.items():
        margin = head.said(windows[:, -1])
        said = 1 / (1 + np.exp(-margin)) if head.log_odds else margin
        assert said == pytest.approx(outputs[f"{kind}/probability_up"][:, 0], abs=2e-6)
    dynamic = next(variant for variant in found.table if variant.name == "int8_dynamic")
    assert dynamic.rank_correlation > 0.9
    assert dynamic.megabytes < found.table[0].megabytes
