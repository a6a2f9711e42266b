"""Release channels: what a reader takes, and what it refuses by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.releases import (
    ALARM_NAME,
    Channel,
    ReleasedVersion,
    channel_path,
    read_channel,
    read_leak_alarm,
    release_folder,
)

MODEL = "cryptoai-forecaster-sample"
CHANNEL = Channel(
    MODEL, champion=ReleasedVersion(3, "a" * 64), challenger=ReleasedVersion(4, "b" * 64, "signed")
)


def written(root: Path, content: str) -> Path:
    path = channel_path(root, MODEL)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return root


def test_channel_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_channel(written(tmp_path, json.dumps(CHANNEL.to_dict())), MODEL) == CHANNEL


def test_model_without_a_release_has_no_channel(tmp_path: Path) -> None:
    assert read_channel(tmp_path, MODEL) is None


def test_bundle_of_a_version_lies_in_its_own_folder(tmp_path: Path) -> None:
    assert release_folder(tmp_path, MODEL, 3) == tmp_path / MODEL / "versions" / "3"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "cannot be read"),
        ('{"schema_version": 1, "champ', "cannot be read"),
        pytest.param("[" * 100_000, "cannot be read", id="deep"),
        ("[1]", "not a JSON object"),
        (json.dumps(CHANNEL.to_dict() | {"schema_version": 2}), "schema version 2"),
        (json.dumps({"schema_version": 1, "model": MODEL}), "challenger, champion, experiment, shadow"),
        (json.dumps(CHANNEL.to_dict() | {"canary": None}), "canary"),
        (json.dumps(Channel("another").to_dict()), "of the model another"),
        (json.dumps(CHANNEL.to_dict() | {"model": 7}), "model is 7"),
    ],
)
def test_channel_that_is_not_one_is_refused_by_name(tmp_path: Path, content: str, named: str) -> None:
    with pytest.raises(ReleaseRefusedError, match=named):
        read_channel(written(tmp_path, content), MODEL)


@pytest.mark.parametrize(
    "champion",
    [
        "3",
        {"version": 3},
        {"version": "3", "sha256": "a", "signature": None},
        {"version": True, "sha256": "a", "signature": None},
        {"version": 0, "sha256": "a", "signature": None},
        {"version": 3, "sha256": 7, "signature": None},
        {"version": 3, "sha256": "a", "signature": None, "alias": "x"},
    ],
)
def test_role_without_a_version_and_a_hash_is_refused(tmp_path: Path, champion: Any) -> None:
    root = written(tmp_path, json.dumps(CHANNEL.to_dict() | {"champion": champion}))
    with pytest.raises(ReleaseRefusedError, match="champion is"):
        read_channel(root, MODEL)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, None),
        ('{"version": 3, "reason": "too good"}', "too good"),
        ('{"version": 4, "reason": "too good"}', None),
        ("{", "leak_alarm.json cannot be read: JSONDecodeError"),
        pytest.param("[" * 100_000, "leak_alarm.json cannot be read: RecursionError", id="deep"),
        ("[]", "leak_alarm.json cannot be read: TypeError"),
        ("{}", "leak_alarm.json cannot be read: KeyError"),
    ],
)
def test_leak_alarm_is_of_one_version_and_counts_when_it_cannot_be_read(
    tmp_path: Path, content: str | None, told: str | None
) -> None:
    (tmp_path / "m").mkdir()
    if content is not None:
        (tmp_path / "m" / ALARM_NAME).write_text(content)
    found = read_leak_alarm(tmp_path, "m", 3)
    assert found is None if told is None else (found or "").startswith(told)
