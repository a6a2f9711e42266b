"""A registered version trained again from its record, in a process as a person starts it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS
from fakes.mortal_desk import MLFLOW_WARNINGS
from fakes.project_root import PROJECT

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.candidate import Candidate
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically

pytestmark = [*MLFLOW_WARNINGS, *EVIDENTLY_WARNINGS]
METRIC = "final_stretch/h1/accuracy"


@pytest.fixture
def root(trained: Any, tmp_path: Path) -> Path:
    copied: Path = trained.root.copied_to(tmp_path / "root").path
    return copied


def reproduced(root: Path, version: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryptoai_assets.reproduce", str(version)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_version_comes_out_again_with_the_same_graph_and_scores_until_its_record_is_another(
    root: Path,
) -> None:
    run = reproduced(root, 1)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "model.onnx" in run.stdout
    home = MarketResource(name="sample", root=str(root)).home
    candidate = Candidate.read(home.candidate)
    client = mlflow.MlflowClient(home.tracking.uri)
    value = client.get_run(candidate.run_id).data.metrics[METRIC]
    client.log_metric(candidate.run_id, METRIC, value + 1e-9)
    again = reproduced(root, 1)
    assert again.returncode == 1
    [line] = [line for line in again.stdout.splitlines() if "h1/accuracy" in line]
    assert line.endswith("DIFFERS")


def test_version_that_was_never_registered_or_whose_data_changed_is_refused_by_name(root: Path) -> None:
    absent = reproduced(root, 9)
    assert (absent.returncode, "9" in absent.stderr) == (2, True)
    dataset = MarketResource(name="sample", root=str(root)).home.training_dataset
    write_parquet_atomically(
        read_stored_parquet(dataset).with_columns(pl.col("return_1") * (1 + 1e-12)), dataset
    )
    changed = reproduced(root, 1)
    assert changed.returncode == 2
    assert "dataset" in changed.stderr
