"""The manifest: read as written, refused by name when it or a file is not what was promised."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.tiny_bundle import write_tiny_bundle

from edge_bundle.errors import BundleRefusedError
from edge_bundle.manifest import (
    GOLDEN_NAME,
    GRAPH_NAME,
    MANIFEST_NAME,
    Manifest,
    bundle_digest,
    file_sha256,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", seed=1)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return folder


def test_manifest_is_read_as_it_was_written(folder: Path) -> None:
    manifest = Manifest.read(folder)
    assert manifest.symbols == ("BTCUSD", "ETHUSD")
    manifest.write(folder)
    assert Manifest.read(folder) == manifest


def test_same_promise_is_the_same_bytes_and_another_is_another_digest(folder: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(folder)
    manifest.write(tmp_path)
    assert bundle_digest(tmp_path) == bundle_digest(folder) == file_sha256(folder / MANIFEST_NAME)
    replace(manifest, range_limit=0.2).write(tmp_path)
    assert bundle_digest(tmp_path) != bundle_digest(folder)


def test_writing_leaves_nothing_beside_the_manifest(folder: Path) -> None:
    before = sorted(folder.iterdir())
    Manifest.read(folder).write(folder)
    assert sorted(folder.iterdir()) == before


def test_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match=rf"holds no {MANIFEST_NAME}: it is not a bundle"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "is not JSON"),
        (b'{"schema_version": 1, "mod', "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        pytest.param(b"[" * 100_000, "is not JSON", id="deep"),
        (b"[1]", "schema version None"),
        (b'{"schema_version": 2}', "schema version 2, this code reads 1"),
    ],
)
def test_manifest_that_is_none_is_refused_by_name(folder: Path, content: bytes, named: str) -> None:
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(BundleRefusedError, match=named):
        Manifest.read(folder)


def test_absent_and_unknown_entries_are_named(folder: Path) -> None:
    rewritten(folder, lambda record: {**{k: v for k, v in record.items() if k != "venue"}, "colour": "red"})
    with pytest.raises(BundleRefusedError, match="absent or unknown entries: colour, venue"):
        Manifest.read(folder)


@pytest.mark.parametrize("name", [GRAPH_NAME, GOLDEN_NAME])
def test_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleRefusedError, match=f"{name} has SHA-256"):
        Manifest.read(folder).verify_files(folder)


def test_absent_file_is_refused_by_name(folder: Path) -> None:
    (folder / GOLDEN_NAME).unlink()
    with pytest.raises(BundleRefusedError, match=f"lacks {GOLDEN_NAME}, which its manifest lists"):
        Manifest.read(folder).verify_files(folder)


def test_file_outside_the_folder_is_no_file_of_the_bundle(folder: Path) -> None:
    outside = folder.parent / "outside.txt"
    outside.write_text("x")
    manifest = Manifest.read(folder)
    listed = replace(manifest, files={**manifest.files, "../outside.txt": file_sha256(outside)})
    with pytest.raises(BundleRefusedError, match=r"lacks \.\./outside\.txt"):
        listed.verify_files(folder)


@pytest.mark.parametrize("name", [GRAPH_NAME, GOLDEN_NAME])
def test_file_that_nothing_vouches_for_is_refused_by_name(folder: Path, name: str) -> None:
    manifest = Manifest.read(folder)
    files = {listed: sha256 for listed, sha256 in manifest.files.items() if listed != name}
    with pytest.raises(BundleRefusedError, match=f"lists no {name}"):
        replace(manifest, files=files).verify_files(folder)
