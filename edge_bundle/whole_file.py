"""Files that are there whole or not at all, for readers, after a kill and after a loss of power.

Each is written as a draft beside its place, brought to the disk, and then takes that place. It knows nothing
about what the files hold.
"""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_bundle.processes import process_lives

# What a file system says that cannot bring a folder to the disk, such as some over a network.
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open the draft of a file, which takes its place when the block ends without an error.

    Its folder is made where there is none. What killed programs left of other drafts of it is removed.

    Parameters
    ----------
    mode
        Permissions of the file, less those that the process's mask takes away.

    Raises
    ------
    OSError
        When it cannot be written; then, as with any error of the block, the old file stays.
    """
    with _draft(path) as draft:
        with _opened(draft, mode) as file:
            yield file
            _to_disk(file)
        draft.replace(path)
    _sync(path.parent)


def replace_file(path: Path, content: bytes | str, *, mode: int = 0o666) -> None:
    """Write a file in the place of the old one, as `replacing` does; text as UTF-8."""
    with replacing(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def create_file(path: Path, content: bytes, *, mode: int) -> bool:
    """Write a file that is written once: of programs that do it at the same time one is first, for all.

    Returns
    -------
    bool
        False when it was there before, and is left as it is.
    """
    with _draft(path) as draft:
        with _opened(draft, mode) as file:
            file.write(content)
            _to_disk(file)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    _sync(path.parent)
    return True


def replace_folder(draft: Path, folder: Path) -> None:
    """Bring a folder of files to the disk, and give it the place of another one, which goes first."""
    for path in (*draft.iterdir(), draft):
        _sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
    _sync(folder.parent)


def remove_abandoned_drafts(path: Path) -> None:
    """Remove what killed programs left of a file; a draft of one that lives is not touched."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process, _, _ = draft.name.removeprefix(f".{path.name}.").partition(".")
        if process.isdecimal() and not process_lives(int(process)):
            draft.unlink(missing_ok=True)


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned_drafts(path)
    # By its token it is another one in each thread.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _opened(draft: Path, mode: int) -> BinaryIO:
    return open(draft, "xb", opener=lambda path, flags: os.open(path, flags, mode))


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(handle)
