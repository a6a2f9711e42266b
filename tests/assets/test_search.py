"""The search: it validates on later rows than it trains on, and reads none but its own."""

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.blend import BlendSettings
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings, XgboostSettings
from cryptoai_assets.lib.search import Found, _gathered, _is_better, search_kinds, search_settings

TRIALS = 3


@pytest.fixture(scope="module")
def data() -> Dataset:
    return walk_rows(bars=1800, seed=14)


def search(data: Dataset, *, seed: int = 1, trials: int = TRIALS) -> Found:
    return search_settings(
        data, XgboostSettings, horizon=2, trials=trials, seed=seed, after_trial=lambda *_: None
    )


def test_later_rows_do_not_change_what_is_found(data: Dataset) -> None:
    cut = data.times[1200]
    later = (data.keys["open_time"] >= cut).to_numpy()
    values = data.values.copy()
    values[later] = np.random.default_rng(1).normal(size=values[later].shape)
    changed = Dataset(data.keys, values, data.names, data.targets)
    assert search(data.between(None, cut)) == search(changed.between(None, cut))


def test_first_trial_is_that_of_the_start_settings_and_the_best_is_found(data: Dataset) -> None:
    told: list[tuple[int, float]] = []
    found = search_settings(
        data,
        XgboostSettings,
        horizon=2,
        trials=TRIALS,
        seed=1,
        after_trial=lambda trial, loss: told.append((trial, loss)),
    )
    assert [trial for trial, _ in told] == list(range(TRIALS))
    assert tuple(loss for _, loss in told) == found.losses
    only = search(data, trials=1)
    assert only.settings == XgboostSettings.start()
    assert only.losses == found.losses[:1]


def test_labels_between_training_and_validation_are_not_read(data: Dataset) -> None:
    """The last labels before validation reach into it: changing them changes nothing."""
    times = data.times
    cut = int(len(times) * 0.75)
    purged = data.keys["open_time"].is_between(times[cut - 2], times[cut - 1])
    turned = data.targets.with_columns(
        pl.when(purged).then(1 - pl.col("up_2")).otherwise(pl.col("up_2")).alias("up_2")
    )
    changed = Dataset(data.keys, data.values, data.names, turned)
    assert search(data, trials=1) == search(changed, trials=1)
    read = data.keys["open_time"].is_between(times[cut - 9], times[cut - 3])
    others = data.targets.with_columns(
        pl.when(read).then(1 - pl.col("up_2")).otherwise(pl.col("up_2")).alias("up_2")
    )
    assert search(data, trials=1) != search(Dataset(data.keys, data.values, data.names, others), trials=1)


def test_kinds_are_searched_on_the_same_rows_and_the_least_loss_is_chosen(data: Dataset) -> None:
    told: list[tuple[str, int, float]] = []
    kinds = ("lightgbm", "xgboost", "tree_ensemble")
    searched = search_kinds(
        data,
        kinds,
        horizon=2,
        trials=2,
        seed=1,
        threads=1,
        after_trial=lambda *trial: told.append(trial),
    )
    assert [(kind, trial) for kind, trial, _ in told] == [
        *((kind, k) for kind in kinds[:2] for k in range(2)),
        ("tree_ensemble", 0),
    ]
    ensemble = searched.found["tree_ensemble"].settings
    assert isinstance(ensemble, EnsembleSettings)
    assert ensemble.members == (searched.found["lightgbm"].settings, searched.found["xgboost"].settings)
    assert searched.found["xgboost"] == search(data, trials=2)
    assert isinstance(searched.found["lightgbm"].settings, LightgbmSettings)
    best = min(searched.found, key=lambda kind: searched.found[kind].loss)
    assert searched.chosen == searched.found[best].settings
    assert all(found.loss in found.losses for found in searched.found.values())


def test_ensemble_alone_has_all_members_and_beside_others_those() -> None:
    found = {kind.kind: kind.start() for kind in (LightgbmSettings, LstmSettings, EnsembleSettings)}
    assert _gathered(BlendSettings.start(), {}) == BlendSettings.start()
    assert _gathered(EnsembleSettings.start(), {}) == EnsembleSettings.start()
    assert _gathered(LstmSettings.start(), found) == LstmSettings.start()
    trees = EnsembleSettings.of((LightgbmSettings.start(),))
    assert _gathered(EnsembleSettings.start(), found) == trees
    assert _gathered(BlendSettings.start(), found) == BlendSettings((found["lightgbm"], found["lstm"]))


def test_trial_that_is_only_lucky_does_not_replace_the_start_and_one_that_is_better_does() -> None:
    draws = np.random.default_rng(1)
    start = draws.normal(0.69, 0.1, 4000)
    assert not _is_better(start, start, trials=TRIALS)
    lucky = sum(
        any(_is_better(start + draws.normal(0, 0.05, 4000), start, trials=TRIALS) for _ in range(TRIALS))
        for _ in range(200)
    )
    # One in twenty searches, with room for chance: 20 or more of 200 has a probability of 0.003.
    assert lucky < 20
    assert _is_better(start + draws.normal(-0.004, 0.05, 4000), start, trials=TRIALS)
