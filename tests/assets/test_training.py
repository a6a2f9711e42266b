"""Training: what was known at a time, splits that leave the final stretch alone, and losses by row."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import FEW_FEATURES, HORIZONS, walk_grid

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.leaks import splits_are_purged
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.forecaster_model import Predictions
from cryptoai_assets.lib.models.zoo import UnknownKindError
from cryptoai_assets.lib.scoring import BootstrapSettings
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import (
    SMALL,
    direction_loss,
    known_dataset,
    model_scores,
    paired_accuracy,
    stacked_dataset,
    training_splits,
    volatility_loss,
)
from edge_bundle.features.catalog import feature_frame

MARKET = market_preset("sample")
BOOTSTRAP = BootstrapSettings(block_bars=24, resamples=100, seed=1, confidence=0.95)


def frame_of(grid: pl.DataFrame) -> pl.DataFrame:
    targets = target_frame(grid, horizons=HORIZONS)
    return feature_frame(grid, FEW_FEATURES).join(targets, on=["open_time", "symbol"], how="left")


@pytest.fixture(scope="module")
def grid() -> pl.DataFrame:
    return walk_grid(["BTCUSD", "ETHUSD"], bars=4600, seed=21)


@pytest.fixture(scope="module")
def data(grid: pl.DataFrame) -> Dataset:
    return known_dataset(frame_of(grid), FEW_FEATURES, MARKET, grid["open_time"].sort()[-1] + MARKET.bar)


def test_market_names_the_kinds_that_are_trained_in_place_of_the_training_s() -> None:
    assert SMALL.of_market(MARKET) == SMALL
    named = SMALL.of_market(replace(MARKET, models=("lightgbm", "blend")))
    assert named == replace(SMALL, kinds=("lightgbm", "blend"))
    with pytest.raises(UnknownKindError, match="'oracle' is not known"):
        SMALL.of_market(replace(MARKET, models=("oracle",)))


@pytest.mark.parametrize("late_minutes", [0, 29])
def test_dataset_as_of_a_time_is_that_of_candles_that_had_closed(
    grid: pl.DataFrame, late_minutes: int
) -> None:
    """The rebuilt past is that of the past: neither rows nor outcomes that came later are in it."""
    as_of = grid["open_time"][1000] + timedelta(minutes=late_minutes)
    later = known_dataset(frame_of(grid), FEW_FEATURES, MARKET, as_of)
    closed = grid.filter(pl.col("open_time") + MARKET.bar <= as_of)
    then = known_dataset(frame_of(closed), FEW_FEATURES, MARKET, as_of)
    assert later.keys.equals(then.keys)
    assert np.array_equal(later.values, then.values)
    assert later.targets.equals(then.targets, null_equal=True)


def test_folds_end_before_the_final_stretch_and_everything_is_purged(data: Dataset) -> None:
    splits = training_splits(data, MARKET, SMALL)
    assert len(splits.folds) == SMALL.folds
    assert max(fold.test_end for fold in splits.folds) <= splits.stretch.train_end
    for fold in (*splits.folds, splits.stretch):
        train, test = data.between(None, fold.train_end), data.between(fold.test_start, fold.test_end)
        found = splits_are_purged(
            train.keys["open_time"], test.keys["open_time"], horizon_bars=max(HORIZONS), bar=MARKET.bar
        )
        assert found.holds, found.sentence


def test_stacked_parts_are_the_whole(data: Dataset) -> None:
    middle = data.times[2000]
    again = stacked_dataset([data.between(None, middle), data.between(middle, None)])
    assert again.keys.equals(data.keys)
    assert np.array_equal(again.values, data.values)
    assert again.targets.equals(data.targets, null_equal=True)


def even(rows: int) -> Predictions:
    said = Predictions.nothing(rows, len(HORIZONS))
    said.probability_up[:] = 0.5
    said.expected_volatility[:] = 0.01
    return said


def test_direction_loss_of_even_odds_is_log_two_where_all_horizons_are_known(data: Dataset) -> None:
    losses = direction_loss(even(len(data)), data, HORIZONS)
    known = np.all([np.isfinite(data.target("up", horizon)) for horizon in HORIZONS], axis=0)
    assert losses[known] == pytest.approx(np.log(2))
    assert np.isnan(losses[~known]).all()
    assert not known[-2:].any()


def test_volatility_loss_is_the_qlike_of_what_was_realised(data: Dataset) -> None:
    losses = volatility_loss(even(len(data)), data, HORIZONS)
    ratios = [data.target("volatility", h)[5] / 0.01 for h in HORIZONS]
    wanted = np.mean([ratio - np.log(ratio) - 1 for ratio in ratios])
    assert losses[5] == pytest.approx(wanted)
    assert np.isnan(losses[-1])


def test_scores_of_a_model_leave_out_what_it_does_not_forecast(data: Dataset) -> None:
    names = {
        score.name for score in model_scores(even(len(data)), data, horizons=HORIZONS, bootstrap=BOOTSTRAP)
    }
    wanted = {"accuracy", "auc", "brier", "log_loss", "volatility_rank_ic", "qlike"}
    assert names == {f"h{horizon}/{metric}" for horizon in HORIZONS for metric in wanted}


def test_paired_accuracy_is_the_difference_of_two_accuracies(data: Dataset) -> None:
    up = data.target("up", 1)
    ours = np.where(np.nan_to_num(up) > 0.5, 0.9, 0.1)
    theirs = np.full(len(up), 0.9)
    found = paired_accuracy(ours, theirs, up, data.keys["open_time"], BOOTSTRAP)
    assert found.mean == pytest.approx(1 - np.nanmean(up))
    assert found.lower > 0
