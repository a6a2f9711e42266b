"""An experiment's file: read back as it was written, and refused by name when it was changed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.experiments import MODEL, PLAN, write_experiment

from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.experiment import (
    Experiment,
    experiment_path,
    parsed_experiment,
    read_experiment,
    running_path,
)


def test_running_experiment_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_experiment(tmp_path, MODEL) is None
    write_experiment(tmp_path, PLAN)
    assert read_experiment(tmp_path, MODEL) == PLAN


def test_experiment_that_was_changed_after_it_began_is_refused(tmp_path: Path) -> None:
    write_experiment(tmp_path, PLAN)
    experiment_path(tmp_path, MODEL, PLAN.name).write_bytes(replace(PLAN, times_needed=100).content)
    with pytest.raises(ReleaseRefusedError, match="changed after it began"):
        read_experiment(tmp_path, MODEL)


def test_changed_experiment_has_another_key() -> None:
    assert replace(PLAN, times_needed=100).key != PLAN.key
    assert Experiment.from_dict(PLAN.to_dict()).key == PLAN.key


@pytest.mark.parametrize(
    "changed",
    [
        {"challenger_share": 0.0},
        {"mode": "shadow"},
        {"mode": "neither"},
        {"metric": "luck"},
        {"times_needed": 0},
        {"name": "../else"},
        {"challenger": PLAN.to_dict()["control"]},
        {"control": {"version": 1}},
        {"began_at": "never"},
        {"schema_version": 2},
        {"another": 1},
    ],
    ids=str,
)
def test_experiment_that_cannot_be_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ReleaseRefusedError):
        Experiment.from_dict(PLAN.to_dict() | changed)


@pytest.mark.parametrize(
    "content",
    [
        "",
        pytest.param("[" * 100_000, id="deep"),
        "[]",
        "{}",
        '{"name": "../channel", "sha256": "0"}',
        '{"name": 3}',
    ],
)
def test_pointer_that_cannot_be_read_is_refused_with_the_cure(tmp_path: Path, content: str) -> None:
    write_experiment(tmp_path, PLAN)
    running_path(tmp_path, MODEL).write_text(content)
    with pytest.raises(ReleaseRefusedError, match="end the experiment"):
        read_experiment(tmp_path, MODEL)


def test_experiment_without_its_file_or_of_another_model_is_refused(tmp_path: Path) -> None:
    write_experiment(tmp_path, replace(PLAN, model="another"))
    with pytest.raises(ReleaseRefusedError, match="is on another"):
        read_experiment(tmp_path, MODEL)
    experiment_path(tmp_path, MODEL, PLAN.name).unlink()
    with pytest.raises(ReleaseRefusedError, match="has no file"):
        read_experiment(tmp_path, MODEL)


@pytest.mark.parametrize("content", [b"", pytest.param(b"[" * 100_000, id="deep"), b"[]"])
def test_file_that_is_no_json_object_is_no_experiment(content: bytes) -> None:
    with pytest.raises(ReleaseRefusedError, match="no JSON"):
        parsed_experiment(content)


def test_experiment_is_plain_json() -> None:
    assert json.loads(PLAN.content) == PLAN.to_dict()
