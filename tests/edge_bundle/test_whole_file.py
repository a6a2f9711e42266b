"""Files that are whole or not at all: errors, kills, threads at once, drafts that others left."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from edge_bundle.whole_file import _sync, create_file, replace_file, replace_folder, replacing

PROJECT = Path(__file__).parents[2]
OLD, NEW = b"old" * 3000, b"new" * 5000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "by it" / "channel [1].json"


def others(path: Path) -> list[Path]:
    return sorted(one for one in path.parent.iterdir() if one != path)


def test_text_and_bytes_are_written_into_a_folder_that_was_not_there(path: Path) -> None:
    replace_file(path, "größer")
    assert path.read_text("utf-8") == "größer"
    replace_file(path, NEW)
    assert path.read_bytes() == NEW
    assert others(path) == []


def test_error_inside_leaves_the_old_file_and_no_draft(path: Path) -> None:
    replace_file(path, OLD)

    def cut_off() -> None:
        with replacing(path) as file:
            file.write(NEW)
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        cut_off()
    assert path.read_bytes() == OLD
    assert others(path) == []


WRITE_WITH_TOO_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from edge_bundle.whole_file import create_file, replace_file
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills at the byte that is one too many
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[2])
content = b"new" * 5000
replace_file(path, content) if sys.argv[1] == "replace" else create_file(path, content, mode=0o600)
"""


@pytest.mark.parametrize("way", ["replace", "create"])
def test_kill_in_the_middle_leaves_what_was_there_and_its_draft_goes_with_the_next_write(
    path: Path, way: str
) -> None:
    path.parent.mkdir(parents=True)
    if way == "replace":
        replace_file(path, OLD)
    done = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_TOO_LITTLE_ROOM, way, str(path)],
        env={"PYTHONPATH": str(PROJECT)},
        check=False,
    )
    assert done.returncode == -signal.SIGXFSZ
    assert [draft.stat().st_size for draft in others(path)] == [4096]
    if way == "replace":
        assert path.read_bytes() == OLD
    else:
        assert not path.exists()
    assert create_file(path, NEW, mode=0o600) == (way == "create")
    assert others(path) == []


def test_draft_of_a_living_program_and_what_is_no_draft_stay(path: Path) -> None:
    path.parent.mkdir(parents=True)
    kept = [
        path.with_name(f".{path.name}.{os.getppid()}.0123abcd.tmp"),
        path.with_name(f".{path.name}.note.tmp"),
        path.with_name(f".other{path.name}.1.tmp"),
    ]
    for one in kept:
        one.write_bytes(b"half a fi")
    replace_file(path, NEW)
    assert others(path) == sorted(kept)


def test_file_is_for_whom_its_mode_says_and_otherwise_as_any_other(path: Path) -> None:
    replace_file(path, OLD)
    plain = path.with_name("plain")
    plain.write_bytes(OLD)
    assert path.stat().st_mode == plain.stat().st_mode
    replace_file(path, NEW, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    secret = path.with_name("secret")
    assert create_file(secret, NEW, mode=0o400)
    assert secret.stat().st_mode & 0o777 == 0o400


def test_reader_sees_one_of_many_writers_whole(path: Path) -> None:
    contents = {bytes([65 + writer]) * 20_000 for writer in range(8)}
    replace_file(path, next(iter(contents)))
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda content: [replace_file(path, content) for _ in range(25)], contents))
    finally:
        stop.set()
        reader.join()
    assert seen <= contents
    assert path.read_bytes() in contents
    assert others(path) == []


def test_of_many_who_create_a_file_one_is_first_and_its_content_stays(path: Path) -> None:
    begin = threading.Barrier(8)

    def create(writer: int) -> bytes | None:
        content = bytes([65 + writer]) * 20_000
        begin.wait()
        return content if create_file(path, content, mode=0o600) else None

    with ThreadPoolExecutor(8) as pool:
        [first] = [content for content in pool.map(create, range(8)) if content]
    assert path.read_bytes() == first
    assert others(path) == []


def test_folder_takes_the_place_of_another_one_with_all_its_files(tmp_path: Path) -> None:
    draft, folder = tmp_path / ".1.new", tmp_path / "1"
    for place, names in ((draft, ("a", "b")), (folder, ("a", "c"))):
        place.mkdir()
        for name in names:
            (place / name).write_text(place.name)
    replace_folder(draft, folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": ".1.new", "b": ".1.new"}
    assert not draft.exists()


def test_bytes_are_on_the_disk_before_they_take_their_place_and_the_name_after(path: Path) -> None:
    replace_file(path, OLD)
    calls: list[str] = []

    def watch(_frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("fsync", "replace", "link"):
            calls.append(called.__name__)

    def watched(write: Any) -> list[str]:
        calls.clear()
        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            write()
        finally:
            sys.setprofile(before)
        return list(calls)

    draft = path.with_name("draft")
    draft.mkdir()
    (draft / "file").write_bytes(NEW)
    assert watched(lambda: replace_file(path, NEW)) == ["fsync", "replace", "fsync"]
    assert watched(lambda: create_file(path.with_name("once"), NEW, mode=0o600)) == ["fsync", "link", "fsync"]
    assert watched(lambda: replace_folder(draft, path.with_name("folder"))) == [
        "fsync",
        "fsync",
        "replace",
        "fsync",
    ]


def test_folder_of_a_file_system_that_cannot_bring_it_to_the_disk_is_no_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _sync(tmp_path / "absent")
    _sync(Path("/proc"))  # which answers EINVAL
