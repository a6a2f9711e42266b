"""Walk-forward: each fold is predicted by what was fitted on its past alone."""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import BAR, HORIZONS, walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.leaks import splits_are_purged
from cryptoai_assets.lib.models.baselines import Majority
from cryptoai_assets.lib.models.ensemble import EnsembleSettings, fitted_alone
from cryptoai_assets.lib.models.forecaster_model import FittedModel, Predictions
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings, XgboostSettings
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.splits import Fold, walk_forward
from cryptoai_assets.lib.walk_forward import (
    FoldPredictions,
    out_of_sample,
    out_of_sample_by_kind,
    prediction_frame,
    scored_frame,
)

SYMBOLS = ("BTCUSD", "ETHUSD")


@dataclass(frozen=True)
class _Told:
    rows: int

    def predict(self, data: Dataset) -> Predictions:
        said = Predictions.nothing(len(data), len(HORIZONS))
        said.expected_return[:] = self.rows
        return said


@dataclass(frozen=True)
class Recorder:
    """A model that predicts how many rows it was given, and remembers them."""

    given: list[Dataset] = field(default_factory=list)
    kind: str = "recorder"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedModel:  # noqa: ARG002 — it learns nothing by chance
        self.given.append(data)
        return _Told(len(data))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return walk_rows(bars=900, seed=8, symbols=SYMBOLS)


@pytest.fixture(scope="module")
def folds(data: Dataset) -> list[Fold]:
    return walk_forward(data.times, bar=BAR, folds=3, test_share=0.5, horizon_bars=6, embargo_bars=4)


def test_model_is_given_the_purged_past_of_each_fold(data: Dataset, folds: list[Fold]) -> None:
    model = Recorder()
    results = out_of_sample(data, model, folds, horizons=HORIZONS, seed=1)
    for given, result in zip(model.given, results, strict=True):
        found = splits_are_purged(
            given.keys["open_time"], result.test.keys["open_time"], horizon_bars=6 + 4, bar=BAR
        )
        assert found.holds, found.sentence
        assert (result.predictions.expected_return == len(given)).all()


def test_every_row_of_the_last_half_is_predicted_once(data: Dataset, folds: list[Fold]) -> None:
    seen: list[FoldPredictions] = []
    results = out_of_sample(data, Recorder(), folds, horizons=HORIZONS, seed=1, after_fold=seen.append)
    assert seen == results
    frame = prediction_frame(results, HORIZONS)
    asked = data.between(folds[0].test_start, None)
    assert frame.height == len(asked) * len(HORIZONS)
    assert frame.select("open_time", "symbol", "horizon").is_unique().all()
    assert sorted(set(frame["open_time"])) == asked.times


def test_ensemble_is_fitted_once_and_tells_its_members_too(data: Dataset, folds: list[Fold]) -> None:
    members = tuple(replace(kind.start(), trees=3) for kind in (XgboostSettings, LightgbmSettings))
    models = fitted_alone([*members, EnsembleSettings.of(members)])
    assert [model.kind for model in models] == ["tree_ensemble"]
    told: list[str] = []
    results = out_of_sample_by_kind(
        data,
        [*(Trees(model, threads=1) for model in models), Majority()],
        folds,
        horizons=HORIZONS,
        seed=1,
        after_fold=lambda kind, _: told.append(kind),
    )
    assert list(results) == ["xgboost", "lightgbm", "tree_ensemble", "majority"]
    assert told == ["tree_ensemble"] * len(folds) + ["majority"] * len(folds)
    first, second, both = (
        [result.predictions.probability_up for result in results[kind]] for kind in list(results)[:3]
    )
    for one, other, mean in zip(first, second, both, strict=True):
        assert not np.array_equal(one, other)
        assert ((mean >= np.minimum(one, other) - 1e-12) & (mean <= np.maximum(one, other) + 1e-12)).all()


def test_predictions_lie_beside_the_outcome_of_their_own_row(data: Dataset, folds: list[Fold]) -> None:
    result = out_of_sample(data, Majority(), folds[:1], horizons=HORIZONS, seed=1)
    frame = prediction_frame(result, HORIZONS)
    wanted = data.keys.with_columns(data.targets).join(frame.filter(horizon=2), on=["open_time", "symbol"])
    assert wanted.height == len(result[0].test)
    assert wanted["return_2"].to_list() == wanted["return"].to_list()
    unfolded = scored_frame(result[0].test, result[0].predictions, HORIZONS)
    assert unfolded.equals(frame.drop("fold"), null_equal=True)


def test_changed_outcomes_of_the_test_rows_change_no_prediction(data: Dataset, folds: list[Fold]) -> None:
    start = folds[-1].test_start
    later = (data.keys["open_time"] >= start).to_numpy()
    turned = data.targets.with_columns(
        pl.when(pl.Series(later)).then(1 - pl.col("up_1")).otherwise(pl.col("up_1")).alias("up_1")
    )
    changed = Dataset(data.keys, data.values, data.names, turned)
    before, after = (
        out_of_sample(rows, Majority(), folds, horizons=HORIZONS, seed=1)[-1] for rows in (data, changed)
    )
    assert np.array_equal(before.predictions.probability_up, after.predictions.probability_up)
