"""A candidate: its record comes back as it was, and its bundle is scored on rows it never saw."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.candidates import candidate_by_hand
from fakes.walk_rows import FEW_FEATURES, HORIZONS, walk_grid

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import candidate_rows
from cryptoai_assets.defs.training.recipes import feature_names
from cryptoai_assets.lib.candidate import Candidate, bundle_folder, gate_evidence, score_stretch
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.gate import Evidence, platform_policy
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.tree_heads import XgboostSettings
from cryptoai_assets.lib.scoring import Score
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import SMALL, Splits, known_dataset, training_splits
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.features.catalog import feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest
from edge_bundle.windows import MarketWindow

MARKET = replace(market_preset("sample"), lookback=8)
AS_OF = datetime(2020, 6, 1, 2, tzinfo=timezone(timedelta(hours=2)))
TREES = replace(XgboostSettings.start(), trees=20, min_child_weight=20.0)
LSTM = LstmSettings.start()
NETWORK = replace(LSTM, lookback=8, units=(12,), training=replace(LSTM.training, epochs=2, batch=64))
SETTINGS = replace(SMALL, threads=1, resamples=50)


@pytest.fixture(scope="module")
def grid() -> pl.DataFrame:
    return walk_grid(["BTCUSD"], bars=4600, seed=31)


def rows_known(grid: pl.DataFrame) -> Dataset:
    frame = feature_frame(grid, FEW_FEATURES).join(
        target_frame(grid, horizons=HORIZONS), on=["open_time", "symbol"], how="left"
    )
    return known_dataset(frame, FEW_FEATURES, MARKET, AS_OF)


@pytest.fixture(scope="module")
def data(grid: pl.DataFrame) -> Dataset:
    return rows_known(grid)


@pytest.fixture(scope="module")
def splits(data: Dataset) -> Splits:
    return training_splits(data, MARKET, SETTINGS)


def trained(
    folder: Path,
    data: Dataset,
    splits: Splits,
    grid: pl.DataFrame,
    model: ForecasterSettings = TREES,
    precision: str | None = None,
) -> Candidate:
    candidate = candidate_by_hand(
        folder,
        data,
        splits,
        model,
        MarketWindow(grid.select(list(CANDLE_SCHEMA))),
        market=MARKET,
        settings=SETTINGS,
        as_of=AS_OF,
        precision=precision,
    )
    candidate.write(folder)
    return candidate


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, data: Dataset, splits: Splits, grid: pl.DataFrame
) -> Path:
    folder = tmp_path_factory.mktemp("candidate")
    trained(folder, data, splits, grid)
    return folder


def test_record_comes_back_as_it_was_written(folder: Path, tmp_path: Path) -> None:
    candidate = Candidate.read(folder)
    assert (candidate.settings, candidate.model_settings, candidate.as_of) == (SETTINGS, TREES, AS_OF)
    assert candidate.version is None
    registered = candidate.registered(3, "run")
    registered.write(tmp_path)
    assert Candidate.read(tmp_path) == registered
    assert [path.name for path in tmp_path.iterdir()] == ["candidate.json"]


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame, Dataset, Splits]:
    """A small network's candidate, of enough bars to choose a precision by."""
    grid = walk_grid(["BTCUSD"], bars=6000, seed=32)
    data = rows_known(grid)
    folder, splits = tmp_path_factory.mktemp("network"), training_splits(data, MARKET, SETTINGS)
    trained(folder, data, splits, grid, NETWORK)
    return folder, grid, data, splits


def test_network_that_is_trained_again_has_the_same_bundle_to_the_byte(
    longer: tuple[Path, pl.DataFrame, Dataset, Splits], tmp_path: Path
) -> None:
    folder, grid, data, splits = longer
    first = Candidate.read(folder)
    method = Manifest.read(bundle_folder(folder)).quantization["method"]
    again = trained(tmp_path, data, splits, grid, NETWORK, precision=method)
    assert again.bundle_digest == first.bundle_digest
    assert [variant.name for variant in first.precisions] == ["fp32", "int8_dynamic", "int8_static"]
    assert all(variant.milliseconds > 0 for variant in first.precisions)
    assert first.agreement.share == 1


def test_trees_and_a_network_are_compared_on_the_same_rows_whoever_was_first(
    longer: tuple[Path, pl.DataFrame, Dataset, Splits], folder: Path
) -> None:
    network_folder, _, data, splits = longer
    network, trees = (Forecaster.load(bundle_folder(one)) for one in (network_folder, folder))
    assert (network.manifest.lookback, trees.manifest.lookback) == (8, 1)
    result = score_stretch(network, data, splits, market=MARKET, settings=SETTINGS)
    assert [share.value for share in result.coverage] == pytest.approx([0.8] * len(HORIZONS), abs=0.08)
    theirs = graph_predictions(trees, result.test)
    assert theirs.probability_up.shape == result.predictions.probability_up.shape
    assert np.isfinite(theirs.probability_up).all()


def test_record_from_before_searches_had_a_limit_has_none(folder: Path) -> None:
    candidate = Candidate.read(folder)
    record = candidate.to_json()
    del record["settings"]["search_minutes"]
    assert Candidate.from_dict(record) == candidate


def test_record_names_the_bytes_of_its_bundle(folder: Path) -> None:
    candidate, forecaster = Candidate.read(folder), Forecaster.load(bundle_folder(folder))
    assert candidate.bundle_digest == forecaster.digest
    assert candidate.feature_fingerprint == forecaster.manifest.feature_fingerprint
    assert datetime.fromisoformat(forecaster.manifest.trained_until) < candidate.stretch_start


def test_rows_of_the_final_stretch_do_not_change_the_graph(
    folder: Path, tmp_path: Path, data: Dataset, splits: Splits, grid: pl.DataFrame
) -> None:
    """Noise from the last training row on: the version stays the same, to the byte of its graph."""
    later = (data.keys["open_time"] >= splits.stretch.train_end).to_numpy()
    values = data.values.copy()
    values[later] = np.random.default_rng(1).normal(size=values[later].shape)
    turned = data.targets.with_columns(
        pl.when(pl.Series(later))
        .then(-pl.col(f"return_{h}"))
        .otherwise(pl.col(f"return_{h}"))
        .alias(f"return_{h}")
        for h in HORIZONS
    )
    changed = trained(tmp_path, Dataset(data.keys, values, data.names, turned), splits, grid)
    assert changed.bundle_digest == Candidate.read(folder).bundle_digest


def test_loaded_bundle_is_scored_on_the_final_stretch_beside_the_baselines(
    folder: Path, data: Dataset, splits: Splits
) -> None:
    forecaster = Forecaster.load(bundle_folder(folder))
    result = score_stretch(forecaster, data, splits, market=MARKET, settings=SETTINGS)
    assert result.test.times[0] >= splits.stretch.test_start
    assert set(result.baselines) == {"zero", "majority", "last_sign_reversal", "linear", "har", "garch"}
    accuracy = next(score for score in result.scores if score.name == "h1/accuracy")
    assert accuracy.lower < 0.5 < accuracy.upper
    assert [share.value for share in result.coverage] == pytest.approx([0.8] * len(HORIZONS), abs=0.08)
    assert max(error.value for error in result.calibration) < 0.15


def decided_on(
    folder: Path, data: Dataset, splits: Splits, grid: pl.DataFrame, champion: Forecaster | str | None
) -> Evidence:
    forecaster = Forecaster.load(bundle_folder(folder))
    return gate_evidence(
        Candidate.read(folder),
        forecaster,
        score_stretch(forecaster, data, splits, market=MARKET, settings=SETTINGS),
        champion,
        MarketWindow(grid.select(list(CANDLE_SCHEMA)).tail(200)),
        market=MARKET,
        policy=platform_policy(SETTINGS.bootstrap(MARKET)),
        acknowledged_by=None,
        sharpe=Score("sharpe", 0.0, -1.0, 1.0, 100),
    )


def test_champion_is_compared_in_the_loss_of_each_baseline_on_rows_after_both_trainings(
    folder: Path, data: Dataset, splits: Splits, grid: pl.DataFrame
) -> None:
    evidence = decided_on(folder, data, splits, grid, Forecaster.load(bundle_folder(folder)))
    assert evidence.champion_unable is None
    for name, losses in evidence.baselines.items():
        assert losses.champion is not None
        np.testing.assert_array_equal(losses.champion, losses.challenger, err_msg=name)
    assert np.nanmean(evidence.baselines["har"].challenger) != np.nanmean(
        evidence.baselines["zero"].challenger
    )
    assert evidence.champion is not None
    np.testing.assert_array_equal(evidence.champion.other, evidence.baselines["zero"].challenger)
    assert decided_on(folder, data, splits, grid, None).baselines["har"].champion is None


@pytest.mark.parametrize(
    ("promised", "why"),
    [
        ({"horizons": (1, 2)}, "it forecasts 1, 2 bars ahead, and the market now 1, 2, 6"),
        ({"horizons": (1, 2, 48)}, "it forecasts 1, 2, 48 bars ahead, and the market now 1, 2, 6"),
        ({"features": ("trend_of_old",)}, "it reads trend_of_old, which the training data does not hold"),
    ],
)
def test_champion_of_another_contract_is_not_compared_with(
    folder: Path,
    data: Dataset,
    splits: Splits,
    grid: pl.DataFrame,
    promised: dict[str, tuple[object, ...]],
    why: str,
) -> None:
    champion = Forecaster.load(bundle_folder(folder))
    champion = replace(champion, manifest=replace(champion.manifest, **promised))
    evidence = decided_on(folder, data, splits, grid, champion)
    assert (evidence.champion, evidence.champion_unable) == (None, why)


def test_champion_that_cannot_be_loaded_any_more_is_not_compared_with(
    folder: Path, data: Dataset, splits: Splits, grid: pl.DataFrame
) -> None:
    evidence = decided_on(folder, data, splits, grid, "it was made by other features")
    assert (evidence.champion, evidence.champion_unable) == (None, "it was made by other features")


def test_stretch_of_a_version_stays_where_it_was_when_older_months_come(
    folder: Path, data: Dataset, splits: Splits, tmp_path: Path
) -> None:
    candidate = Candidate.read(folder)
    assert candidate.stretch(MARKET) == splits.stretch
    resource = MarketResource(name="sample", root=str(tmp_path))
    older = walk_grid(["BTCUSD"], bars=24_000, seed=31).with_columns(
        pl.col("open_time") - (24_000 - 4600) * MARKET.bar
    )
    frame = older.join(target_frame(older, horizons=HORIZONS), on=["open_time", "symbol"], how="left")
    offered = {name: pl.lit(1.0) for name in feature_names(resource)}
    write_parquet_atomically(frame.with_columns(**offered), resource.home.training_dataset)
    rows, found = candidate_rows(resource, candidate)
    assert rows.times[0] < data.times[0]
    assert training_splits(rows, MARKET, SETTINGS).stretch != splits.stretch
    assert found.stretch == splits.stretch
