"""The search: it validates on later rows than it trains on, reads none but its own, and outlives a kill."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
from fakes.mortal_search import SEED, TRIALS, searched_rows
from fakes.postgresql_server import postgresql_address
from optuna.trial import TrialState

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.blend import BlendSettings
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings, XgboostSettings
from cryptoai_assets.lib.search import (
    FOLDS,
    TRIALS_BEFORE_PRUNING,
    Found,
    Searched,
    Tried,
    _gathered,
    _is_better,
    search_kinds,
    search_settings,
    validation_folds,
    validation_losses,
)
from cryptoai_assets.lib.studies import IN_MEMORY, Studies, rows_fingerprint, trials_on

DRIVER = Path(__file__).parents[1] / "fakes" / "mortal_search.py"
PROJECT = Path(__file__).parents[2]
FEW = 3


@pytest.fixture(scope="module")
def data() -> Dataset:
    return searched_rows()


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.fixture(params=["sqlite", "postgresql"])
def everywhere(request: pytest.FixtureRequest, studies: Studies) -> Iterator[Studies]:
    """Studies in each database that is supported."""
    if request.param == "sqlite":
        yield studies
        return
    with postgresql_address() as address:
        yield Studies(address)


def search(
    data: Dataset, *, seed: int = SEED, trials: int = FEW, studies: Studies = IN_MEMORY
) -> tuple[Found, list[Tried]]:
    told: list[Tried] = []
    found = search_settings(
        data, XgboostSettings, horizon=2, trials=trials, seed=seed, after_trial=told.append, studies=studies
    )
    return found, told


def trials_in(studies: Studies, data: Dataset) -> int:
    with studies.opened() as storage:
        return trials_on(storage, rows_fingerprint(data))


def turned(data: Dataset, first: int, last: int) -> Dataset:
    """Other labels between two places in time."""
    between = data.keys["open_time"].is_between(data.times[first], data.times[last])
    targets = data.targets.with_columns(
        pl.when(between).then(1 - pl.col("up_2")).otherwise(pl.col("up_2")).alias("up_2")
    )
    return Dataset(data.keys, data.values, data.names, targets)


def test_later_rows_do_not_change_what_is_found(data: Dataset) -> None:
    cut = data.times[1200]
    later = (data.keys["open_time"] >= cut).to_numpy()
    values = data.values.copy()
    values[later] = np.random.default_rng(1).normal(size=values[later].shape)
    changed = Dataset(data.keys, values, data.names, data.targets)
    assert search(data.between(None, cut))[0] == search(changed.between(None, cut))[0]


def test_first_trial_is_that_of_the_start_settings_and_the_best_is_found(data: Dataset) -> None:
    found, told = search(data)
    assert [tried.number for tried in told] == list(range(FEW))
    assert tuple(tried.losses[-1] for tried in told) == found.losses
    assert all(len(tried.losses) == FOLDS and not tried.pruned for tried in told)
    only, _ = search(data, trials=1)
    assert only.settings == XgboostSettings.start()
    assert only.losses == found.losses[:1]


@pytest.mark.parametrize(("fold", "share"), [(0, 0.5), (1, 0.75)])
def test_labels_between_training_and_validation_are_not_read(data: Dataset, fold: int, share: float) -> None:
    """The last labels before a fold reach into it: changing them changes nothing of that fold."""

    def losses(rows: Dataset) -> Float64Array:
        return list(
            validation_losses(
                validation_folds(rows, horizon=2), XgboostSettings.start(), horizon=2, seed=SEED
            )
        )[fold]

    cut = int(len(data.times) * share)
    assert np.array_equal(losses(turned(data, cut - 2, cut - 1)), losses(data))
    assert not np.array_equal(losses(turned(data, cut - 9, cut - 3)), losses(data))


def test_every_row_of_the_later_half_is_validated_once(data: Dataset) -> None:
    folds = list(
        validation_losses(validation_folds(data, horizon=2), XgboostSettings.start(), horizon=2, seed=SEED)
    )
    assert len(folds) == FOLDS
    later = data.between(data.times[len(data.times) // 2], None)
    assert sum(map(len, folds)) == np.isfinite(later.target("up", 2)).sum()


def test_kinds_are_searched_on_the_same_rows_and_the_least_loss_is_chosen(
    data: Dataset, studies: Studies
) -> None:
    told: list[Tried] = []
    kinds = ("lightgbm", "xgboost", "tree_ensemble")
    searched = search_kinds(
        data, kinds, horizon=2, trials=2, seed=SEED, threads=1, after_trial=told.append, studies=studies
    )
    assert [(tried.kind, tried.number) for tried in told] == [
        *((kind, k) for kind in kinds[:2] for k in range(2)),
        ("tree_ensemble", 0),
    ]
    ensemble = searched.found["tree_ensemble"].settings
    assert isinstance(ensemble, EnsembleSettings)
    assert ensemble.members == (searched.found["lightgbm"].settings, searched.found["xgboost"].settings)
    assert searched.found["xgboost"] == search(data, trials=2)[0]
    assert isinstance(searched.found["lightgbm"].settings, LightgbmSettings)
    best = min(searched.found, key=lambda kind: searched.found[kind].loss)
    assert searched.chosen == searched.found[best].settings
    assert all(found.loss in found.losses for found in searched.found.values())
    assert searched.trials_on_rows == 5


def test_ensemble_alone_has_all_members_and_beside_others_those() -> None:
    found = {kind.kind: kind.start() for kind in (LightgbmSettings, LstmSettings, EnsembleSettings)}
    assert _gathered(BlendSettings.start(), {}) == BlendSettings.start()
    assert _gathered(EnsembleSettings.start(), {}) == EnsembleSettings.start()
    assert _gathered(LstmSettings.start(), found) == LstmSettings.start()
    trees = EnsembleSettings.of((LightgbmSettings.start(),))
    assert _gathered(EnsembleSettings.start(), found) == trees
    assert _gathered(BlendSettings.start(), found) == BlendSettings((found["lightgbm"], found["lstm"]))


def killed(studies: Studies, heads: int) -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(studies.address), str(heads)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def told_of(tried: Sequence[Tried]) -> list[tuple[object, ...]]:
    """Everything but the times and the name of the study."""
    return [(one.number, one.parameters, one.losses, one.pruned) for one in tried]


def test_search_that_was_killed_twice_finds_what_it_would_have_found_and_counts_each_trial_once(
    data: Dataset, everywhere: Studies
) -> None:
    """Killed in the first trial, whose settings are the start's, and between the folds of a later one."""
    undisturbed, wanted = search(data, trials=TRIALS)
    assert any(tried.pruned for tried in wanted), "the kills come before a trial that is given up"
    assert len({str(tried.parameters) for tried in wanted}) == TRIALS, "no trial suggests what another did"
    killed(everywhere, heads=2)
    assert trials_in(everywhere, data) == 0
    killed(everywhere, heads=6)
    assert trials_in(everywhere, data) == 2
    found, told = search(data, trials=TRIALS, studies=everywhere)
    assert found == undisturbed
    assert told_of(told) == told_of(wanted)
    assert len({tried.study for tried in told}) == 1
    assert search(data, trials=TRIALS, studies=everywhere)[0] == undisturbed
    assert trials_in(everywhere, data) == TRIALS
    with everywhere.opened() as storage:
        study = optuna.load_study(study_name=told[0].study, storage=storage)
        assert len(study.get_trials(states=(TrialState.FAIL,))) == 2


def test_trial_worse_than_the_middle_one_after_a_fold_is_given_up_and_never_found(data: Dataset) -> None:
    found, told = search(data, trials=TRIALS)
    for tried in told:
        whole = [one.losses[0] for one in told[: tried.number] if not one.pruned]
        assert tried.pruned == (len(whole) >= TRIALS_BEFORE_PRUNING and tried.losses[0] > np.median(whole))
        assert (found.losses[tried.number] is None) == tried.pruned == (len(tried.losses) < FOLDS)


def test_more_trials_go_on_with_the_same_study_and_other_rows_inputs_or_seeds_have_their_own(
    data: Dataset, studies: Studies
) -> None:
    few, more = search(data, trials=1, studies=studies)[1], search(data, trials=2, studies=studies)[1]
    assert told_of(more)[:1] == told_of(few)
    louder = Dataset(data.keys, data.values * np.float32(1.01), data.names, data.targets)
    others = [
        search(louder, trials=1, studies=studies)[1],
        search(data, trials=1, seed=SEED + 1, studies=studies)[1],
    ]
    assert trials_in(studies, data) == 4, "whatever was tried on these rows is counted"
    elsewhere = turned(data, 3, 3)
    search(elsewhere, trials=1, studies=studies)
    assert trials_in(studies, elsewhere) == 1
    assert trials_in(studies, data) == 4
    assert len({tried[0].study for tried in (more, *others)}) == 3


def timed(data: Dataset, minutes: float, kinds: Sequence[str]) -> Searched:
    """Search with a clock that is a second later each time that it is read."""
    return search_kinds(
        data,
        kinds,
        horizon=2,
        trials=50,
        seed=SEED,
        threads=1,
        after_trial=lambda _: None,
        minutes=minutes,
        clock=map(float, itertools.count()).__next__,
    )


def test_no_trial_begins_after_the_minutes_which_the_kinds_share_and_each_has_one_trial(
    data: Dataset,
) -> None:
    [alone] = timed(data, 3 / 60, ["xgboost"]).found.values()
    assert len(alone.losses) == 3
    shared = timed(data, 4 / 60, ["xgboost", "lightgbm"]).found.values()
    assert [len(found.losses) for found in shared] == [2, 2]
    none_left = timed(data, 0.0, ["xgboost", "lightgbm"]).found.values()
    assert [len(found.losses) for found in none_left] == [1, 1]


def test_trial_that_is_only_lucky_does_not_replace_the_start_and_one_that_is_better_does() -> None:
    draws = np.random.default_rng(1)
    start = draws.normal(0.69, 0.1, (20, 200))

    def better(others: Float64Array) -> bool:
        return _is_better((start + others).mean(axis=1), start.mean(axis=1), trials=FEW)

    assert not better(np.zeros((20, 200)))
    lucky = sum(any(better(draws.normal(0, 0.05, (20, 200))) for _ in range(FEW)) for _ in range(200))
    # One in twenty searches, with room for chance: 20 or more of 200 has a probability of 0.003.
    assert lucky < 20
    assert better(draws.normal(-0.004, 0.05, (20, 200)))
