"""API keys: kept as hashes, valid until revoked, watched without a restart, and never open by a slip."""

import json
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryptoai_serving.errors import KeyFileError
from cryptoai_serving.keys import KeyRing, KeyWatch, main, revoke_key


def made(path: Path, *scopes: str, more: Sequence[str] = ()) -> str:
    told: list[str] = []
    arguments = ["make", "--label", "test", *(word for scope in scopes for word in ("--scope", scope)), *more]
    assert main(arguments, path=path, tell=told.append) == 0
    return told[0].splitlines()[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def test_key_is_found_by_what_was_shown_and_the_file_does_not_hold_it(path: Path) -> None:
    token = made(path, "read", "device")
    ring = KeyRing.read(path)
    assert ring is not None
    key = ring.found(token)
    assert key is not None
    assert key.scopes == ("device", "read")
    assert token not in path.read_text()
    assert token.split("_", 2)[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), str.upper]
)
def test_key_with_one_sign_changed_is_unknown(path: Path, change: object) -> None:
    token = made(path, "read")
    ring = KeyRing.read(path)
    assert ring is not None
    assert callable(change)
    assert ring.found(change(token)) is None


def test_revoked_key_is_gone_and_the_others_stay(path: Path) -> None:
    first, second = made(path, "read"), made(path, "admin")
    assert main(["revoke", first.split("_")[1]], path=path, tell=lambda _: None) == 0
    ring = KeyRing.read(path)
    assert ring is not None
    assert ring.found(first) is None
    assert ring.found(second) is not None
    assert main(["revoke", "00000000"], path=path, tell=lambda _: None) == 1


def test_list_shows_ids_and_no_key(path: Path) -> None:
    token = made(path, "read", more=("--requests-a-minute", "7"))
    told: list[str] = []
    assert main(["list"], path=path, tell=told.append) == 0
    assert told[0].startswith(f"{token.split('_')[1]} read 'test'")
    assert "7 requests a minute" in told[0]
    assert token not in told[0]


def test_keys_made_at_once_are_all_kept(path: Path) -> None:
    with ThreadPoolExecutor(8) as makers:
        tokens = list(makers.map(lambda _: made(path, "read"), range(16)))
    ring = KeyRing.read(path)
    assert ring is not None
    assert all(ring.found(token) for token in tokens)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        pytest.param("[" * 100_000, id="deep"),
        "[]",
        '{"schema_version": 2, "keys": []}',
        '{"schema_version": 1, "keys": [{"id": "x"}]}',
        json.dumps(
            {
                "schema_version": 1,
                "keys": [{"id": "x", "label": "", "scopes": ["root"], "sha256": "", "created_at": ""}],
            }
        ),
    ],
)
def test_file_that_is_none_of_ours_is_refused_by_name(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(KeyFileError, match=r"keys\.json cannot be read"):
        KeyRing.read(path)
    assert main(["list"], path=path, tell=lambda _: None) == 1


def test_watch_sees_keys_come_and_go(path: Path) -> None:
    watch = KeyWatch(path)
    watch.refresh()
    assert watch.ring is None
    token = made(path, "read")
    watch.refresh()
    assert watch.ring is not None
    assert watch.ring.found(token)
    revoke_key(path, token.split("_")[1])
    watch.refresh()
    assert watch.ring == KeyRing()


def test_file_that_breaks_or_vanishes_leaves_the_keys_as_they_were(path: Path) -> None:
    token = made(path, "read")
    watch = KeyWatch(path)
    watch.refresh()
    path.write_text("{")
    watch.refresh()
    assert watch.ring is not None
    assert watch.ring.found(token)
    path.unlink()
    watch.refresh()
    assert watch.ring is not None
    assert watch.ring.found(token)


def test_file_that_was_never_readable_closes_and_its_removal_opens_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    watch = KeyWatch(path)
    watch.refresh()
    with pytest.raises(KeyFileError):
        _ = watch.ring
    path.unlink()
    watch.refresh()
    with pytest.raises(KeyFileError):
        _ = watch.ring
    token = made(path, "read")
    watch.refresh()
    assert watch.ring is not None
    assert watch.ring.found(token)


def test_file_in_a_folder_that_may_not_be_read_closes(path: Path) -> None:
    path.parent.mkdir()
    path.mkdir()  # what cannot be read, also for root
    watch = KeyWatch(path)
    watch.refresh()
    with pytest.raises(KeyFileError):
        _ = watch.ring


def test_killed_writer_leaves_the_old_file(path: Path) -> None:
    token = made(path, "read")
    path.with_name(f".{path.name}.{os.getpid() + 1}.tmp").write_text("{")
    ring = KeyRing.read(path)
    assert ring is not None
    assert ring.found(token)
