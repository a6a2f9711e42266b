"""MLflow as its users meet it: experiments and runs, a version that predicts, aliases, the bundle's bytes."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, tracking_at
from fakes.tiny_bundle import walk_candles, write_tiny_bundle
from matplotlib.figure import Figure

from cryptoai_assets.lib.tracking import CHALLENGER, CHAMPION, Tracking, TrackingError
from edge_bundle.forecast import VALUE_NAMES
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import bundle_digest
from edge_bundle.windows import MarketWindow

pytestmark = MLFLOW_WARNINGS

SYMBOLS = ("BTCUSD", "ETHUSD")


@pytest.fixture
def root(copied_registry: Callable[[], Path]) -> Path:
    return copied_registry()


@pytest.fixture
def tracking(root: Path) -> Tracking:
    return tracking_at(root)


def client(root: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


def pandas_candles(bars: int) -> pd.DataFrame:
    candles = walk_candles(SYMBOLS, bars=bars, interval="30m", seed=9)
    times = candles["open_time"].dt.epoch("ms").alias("open_time_ms")
    return candles.drop("open_time").insert_column(0, times).to_pandas()


def test_experiment_opens_on_training_runs_and_keeps_its_artifacts_under_the_root(registry: Path) -> None:
    experiment = client(registry).get_experiment_by_name("cryptoai")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.artifact_location == (registry / "mlruns" / "cryptoai").as_uri()


def test_folds_are_nested_under_the_run_of_their_training(root: Path, tracking: Tracking) -> None:
    with tracking.run("training", tags={"dagster/run_id": "abc"}) as parent:
        tracking.log(parent, parameters={f"p{i}": i for i in range(150)}, metrics={"procedure/h1/auc": 0.55})
        with tracking.run("fold 1", tags={}, nested=True) as fold:
            tracking.log(fold, metrics={f"fold/m{i}": i / 7 for i in range(250)}, tags={"rows": "7"})
    with tracking.resumed(parent), tracking.run("fold 2", tags={}, nested=True) as later:
        pass
    runs = {run: client(root).get_run(run) for run in (parent, fold, later)}
    assert runs[parent].data.tags["dagster/run_id"] == "abc"
    assert len(runs[parent].data.params) == 150
    assert runs[parent].data.metrics == {"procedure/h1/auc": 0.55}
    assert runs[fold].data.metrics["fold/m249"] == 249 / 7
    assert runs[fold].data.tags["rows"] == "7"
    assert {runs[run].data.tags["mlflow.parentRunId"] for run in (fold, later)} == {parent}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_run_that_fails_is_marked_failed_and_leaves_none_active(root: Path, tracking: Tracking) -> None:
    seen = []

    def fail() -> None:
        with tracking.run("training", tags={}) as run_id:
            seen.append(run_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert client(root).get_run(seen[0]).info.status == "FAILED"
    assert mlflow.active_run() is None


def test_figures_and_records_lie_beside_their_run(root: Path, tracking: Tracking) -> None:
    with tracking.run("training", tags={}) as run_id:
        tracking.log_figure(run_id, Figure(), "calibration")
        tracking.log_record(run_id, {"folds": [1, 2]}, "folds")
    paths = {
        entry.path for folder in ("", "figures") for entry in client(root).list_artifacts(run_id, folder)
    }
    assert {"figures/calibration.png", "folds.json"} <= paths
    shutil.rmtree(Path(client(root).get_run(run_id).info.artifact_uri.removeprefix("file://")))


def test_registered_version_is_the_challenger_and_carries_its_tags_and_digest(registry: Path) -> None:
    tracking = tracking_at(registry)
    newest = tracking.alias(MODEL, CHALLENGER)
    assert newest is not None
    assert newest == tracking.versions(MODEL)[-1] == tracking.version(MODEL, 3)
    assert newest.tags["kind"] == "tiny_linear"
    assert newest.bundle_sha256 == bundle_digest(registry / "bundles" / "3")
    run = client(registry).get_run(newest.run_id)
    assert run.data.tags["market"] == "sample"


def test_pyfunc_answers_as_the_bundle_does_bit_by_bit(registry: Path) -> None:
    forecaster = Forecaster.load(registry / "bundles" / "3")
    frame = pandas_candles(forecaster.manifest.bars_needed)
    mlflow.set_tracking_uri(tracking_at(registry).uri)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@{CHALLENGER}")
    answers = model.predict(frame)
    window = MarketWindow(walk_candles(SYMBOLS, bars=len(frame) // 2, interval="30m", seed=9))
    expected = [
        (forecast.symbol, horizon.horizon_bars, *(getattr(horizon, name) for name in VALUE_NAMES))
        for forecast in forecaster.forecast(window)
        for horizon in forecast.horizons
    ]
    columns = ["symbol", "horizon_bars", *VALUE_NAMES]
    assert list(answers[columns].itertuples(index=False, name=None)) == expected
    assert len(answers) == len(SYMBOLS) * len(forecaster.manifest.horizons)
    assert set(answers["abstention"]) == {""}


def test_pyfunc_that_abstains_gives_nan_and_the_reason(registry: Path) -> None:
    mlflow.set_tracking_uri(tracking_at(registry).uri)
    answers = mlflow.pyfunc.load_model(f"models:/{MODEL}/3").predict(pandas_candles(2))
    assert set(answers["abstention"]) == {"too_few_bars"}
    assert np.isnan(answers[list(VALUE_NAMES)].to_numpy(dtype=np.float64)).all()


def test_pyfunc_refuses_a_frame_that_its_signature_does_not_state(registry: Path) -> None:
    mlflow.set_tracking_uri(tracking_at(registry).uri)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/3")
    assert model.metadata.signature.inputs.input_names()[:2] == ["open_time_ms", "symbol"]
    zoned = pandas_candles(5).assign(open_time_ms=pd.Timestamp("2019-10-01", tz="UTC"))
    with pytest.raises(mlflow.exceptions.MlflowException, match="open_time_ms"):
        model.predict(zoned)


def test_model_holds_no_pickle_and_states_its_requirements(registry: Path) -> None:
    files = [path for path in (registry / "mlruns").rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix in (".pkl", ".pickle", ".joblib")] == []
    (requirements,) = {path.read_text() for path in files if path.name == "requirements.txt"}
    assert "cryptoai[platform]==" in requirements
    assert len(requirements.split()) == 2, "MLflow adds itself, and guesses nothing"


def test_copied_bundle_has_the_registered_bytes(registry: Path, tmp_path: Path) -> None:
    tracking = tracking_at(registry)
    copied = tracking.copy_bundle(MODEL, 2, tmp_path / "bundle")
    assert bundle_digest(copied) == tracking.version(MODEL, 2).bundle_sha256
    assert Forecaster.load(copied).selftest().passed


def test_alias_is_moved_read_and_taken_away(tracking: Tracking) -> None:
    tracking.set_alias(MODEL, CHAMPION, 2)
    holder = tracking.alias(MODEL, CHAMPION)
    assert holder is not None
    assert holder.version == 2
    tracking.remove_alias(MODEL, CHAMPION)
    assert tracking.alias(MODEL, CHAMPION) is None
    tracking.remove_alias(MODEL, CHAMPION)


def test_what_mlflow_does_not_hold_is_named(tracking: Tracking, tmp_path: Path) -> None:
    assert tracking.alias("unknown-model", CHAMPION) is None
    with pytest.raises(TrackingError, match="no version 9"):
        tracking.version(MODEL, 9)
    with pytest.raises(TrackingError, match="version 9"):
        tracking.copy_bundle(MODEL, 9, tmp_path / "bundle")


def test_database_that_cannot_be_read_is_no_absent_alias(root: Path, tracking: Tracking) -> None:
    assert tracking.alias(MODEL, CHAMPION) is not None
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("DROP TABLE registered_model_aliases")
    database.close()
    with pytest.raises(mlflow.exceptions.MlflowException):
        tracking.alias(MODEL, CHAMPION)


def test_version_keeps_tags_that_are_added_later(tracking: Tracking) -> None:
    tracking.tag_version(MODEL, 2, {"gate/door": "superior"})
    assert tracking.version(MODEL, 2).tags["gate/door"] == "superior"


def test_bundle_of_a_folder_that_is_none_is_not_registered(root: Path, tracking: Tracking) -> None:
    bundle = write_tiny_bundle(root / "bundle", seed=7)
    (bundle / "manifest.json").unlink()
    with tracking.run("training", tags={}) as run_id, pytest.raises(FileNotFoundError):
        tracking.register(run_id, bundle, model=MODEL, tags={})
    assert len(tracking.versions(MODEL)) == 3
