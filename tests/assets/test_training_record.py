"""What MLflow is told of a training: its trials below it, each once, whoever was killed in between."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import mlflow
import pytest
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, tracking_at

from cryptoai_assets.lib.models.blend import BlendSettings
from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings
from cryptoai_assets.lib.search import Tried
from cryptoai_assets.lib.tracking import Tracking
from cryptoai_assets.lib.training import SMALL
from cryptoai_assets.lib.training_record import shown_settings, training_run, trial_recorder, version_tags

pytestmark = MLFLOW_WARNINGS
AT = datetime(2019, 10, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """One registry for all tests, whose trainings have keys of their own."""
    return tracking_at(tmp_path_factory.mktemp("registry"))


def tried(number: int, *, pruned: bool = False) -> Tried:
    losses = (0.692,) if pruned else (0.692, 0.691)
    parameters = {"trees": 80 + number, "l2": 0.5004999}
    return Tried(
        "xgboost", "xgboost 1a 2b", number, parameters, losses, pruned, AT, AT + timedelta(seconds=90)
    )


def nested(tracking: Tracking, parent: str) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(tracking.uri)
    found = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    return sorted(found, key=lambda run: str(run.info.run_name))


def test_trials_lie_below_their_training_with_parameters_losses_and_times(tracking: Tracking) -> None:
    parent = training_run(tracking, MODEL, AT, key="told")
    record = trial_recorder(tracking, parent)
    record(tried(0))
    record(tried(1, pruned=True))
    first, second = nested(tracking, parent)
    assert (first.info.run_name, second.info.run_name) == ("xgboost trial 1", "xgboost trial 2")
    assert first.data.params == {"model/trees": "80", "model/l2": "0.5005"}
    assert first.data.metrics["search/log_loss"] == 0.691
    assert "search/log_loss" not in second.data.metrics, "one that was given up has no loss over all folds"
    assert second.data.metrics == {"search/log_loss_after_fold_1": 0.692}
    assert first.info.end_time - first.info.start_time == 90_000
    assert first.info.status == "FINISHED"


def test_training_that_was_killed_goes_on_in_its_run_and_records_no_trial_twice(tracking: Tracking) -> None:
    parent = training_run(tracking, MODEL, AT, key="killed")
    trial_recorder(tracking, parent)(tried(0))
    client = mlflow.MlflowClient(tracking.uri)
    experiment = client.get_run(parent).info.experiment_id
    half = client.create_run(experiment, tags={"mlflow.parentRunId": parent, "trial": "xgboost 1a 2b 1"})
    assert training_run(tracking, MODEL, AT, key="killed") == parent
    again = trial_recorder(tracking, parent)
    for number in range(3):
        again(tried(number))
    finished = [run for run in nested(tracking, parent) if run.info.status == "FINISHED"]
    assert [run.info.run_name for run in finished] == [f"xgboost trial {k}" for k in (1, 2, 3)]
    assert client.get_run(half.info.run_id).info.status == "KILLED"


def test_training_after_one_that_made_a_version_and_of_something_else_has_a_run_of_its_own(
    tracking: Tracking,
) -> None:
    first = training_run(tracking, MODEL, AT, key="again")
    other = training_run(tracking, MODEL, AT, key="else")
    tracking.log(first, tags=version_tags(1, MODEL, kind="xgboost"))
    name = mlflow.MlflowClient(tracking.uri).get_run(first).info.run_name
    assert name == f"{MODEL} version 1, xgboost"
    second = training_run(tracking, MODEL, AT, key="again")
    assert len({first, other, second}) == 3


def test_settings_of_members_stand_in_columns_of_their_own_and_no_cell_holds_a_structure() -> None:
    trees = LightgbmSettings.start()
    network = LstmSettings.start()
    shown = shown_settings(SMALL, BlendSettings((replace(trees, l2=1 / 3), network)))
    assert shown["model/kind"] == "blend"
    assert shown["model/lightgbm/l2"] == "0.3333"
    assert shown["model/lstm/units"] == "128, 64, 32"
    assert shown["model/lstm/training/epochs"] == str(network.training.epochs)
    assert shown["training/kinds"] == "xgboost, lightgbm, tree_ensemble"
    assert "training/search_minutes" not in shown, "what has no value has no column"
    assert not [name for name, cell in shown.items() if len(cell) > 60 or set(cell) & set("{[(")]
