"""API keys: made and revoked by a command, kept as hashes in one file, which the service watches.

``python -m cryptoai_serving.keys make --scope read --label dashboard`` prints a key, once. No file means no
keys: the service then answers its own machine alone.
"""

import argparse
import fcntl
import hashlib
import hmac
import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from cryptoai_serving.errors import KeyFileError, without_place
from cryptoai_serving.settings import ServingSettings
from edge_bundle.whole_file import replace_file

Scope = Literal["read", "admin", "device"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
SCHEMA_VERSION = 1
_TOKEN = re.compile(r"cai_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key.

    Parameters
    ----------
    id
        Part of the key that may be shown, and that logs name.
    scopes
        What it opens; none includes another.
    sha256
        Of the whole key. Its 256 random bits cannot be guessed, so a slow hash would protect nothing more.
    requests_a_minute
        None for what the service allows by itself.
    """

    id: str
    label: str
    scopes: tuple[Scope, ...]
    sha256: str
    created_at: str
    requests_a_minute: int | None = None


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that are valid."""

    keys: tuple[ApiKey, ...] = ()

    def found(self, token: str) -> ApiKey | None:
        """Key that a token is, or None."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        digest = _digest(token)
        return next(
            (key for key in self.keys if key.id == match[1] and hmac.compare_digest(key.sha256, digest)), None
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Keys of a file; None when there is no file.

        Raises
        ------
        KeyFileError
            When it cannot be read, or is not what `write` wrote.
        """
        try:
            record = json.loads(path.read_bytes())
            if record["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {record['schema_version']!r}, {SCHEMA_VERSION} needed")
            return cls(tuple(_key(entry) for entry in record["keys"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise KeyFileError(
                f"{path.name} cannot be read: {type(error).__name__}: {without_place(error)}",
                cure="put the last good file back, or remove it and make the keys anew",
            ) from error

    def write(self, path: Path) -> None:
        """Replace the file, whole, readable for its owner alone."""
        record = {"schema_version": SCHEMA_VERSION, "keys": [asdict(key) for key in self.keys]}
        replace_file(path, json.dumps(record, indent=1), mode=0o600)


class KeyWatch:
    """The keys of a file as they are now; `refresh` looks for a change of the file.

    A file that became unreadable or vanished leaves the keys that were read last: nobody is locked out by a
    slip, and nothing opens. One that was never readable closes the service.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._ring: KeyRing | None = None
        self._failure: KeyFileError | None = None

    @property
    def ring(self) -> KeyRing | None:
        """Valid keys; None while there is no file.

        Raises
        ------
        KeyFileError
            When there is a file that was never readable.
        """
        if self._ring is None and self._failure is not None:
            raise self._failure
        return self._ring

    def refresh(self) -> None:
        """Read the file when it changed."""
        seen = _signature(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            ring = KeyRing.read(self._path)
        except KeyFileError as error:
            self._failure = error
            logger.exception("keys stay as they were")
            return
        if ring is None:
            logger.error("%s vanished: keys stay as they were until the service is started again", self._path)
            return
        self._ring, self._failure = ring, None
        logger.info("%d keys are valid", len(ring.keys))


def new_key(
    *, label: str, scopes: Sequence[Scope], created_at: datetime, requests_a_minute: int | None
) -> tuple[str, ApiKey]:
    """Random key: the token that its owner keeps, and what the service keeps of it."""
    name = secrets.token_hex(4)
    token = f"cai_{name}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        name, label, tuple(sorted(set(scopes))), _digest(token), created_at.isoformat(), requests_a_minute
    )
    return token, key


def add_key(path: Path, key: ApiKey) -> None:
    """Put a key into the file, which is made when it is absent.

    Raises
    ------
    KeyFileError
        When the file cannot be read.
    """
    with _changing(path):
        ring = KeyRing.read(path) or KeyRing()
        replace(ring, keys=(*ring.keys, key)).write(path)


def revoke_key(path: Path, name: str) -> bool:
    """Take a key out of the file by its id; False when it holds no such key.

    Raises
    ------
    KeyFileError
        When the file cannot be read.
    """
    with _changing(path):
        ring = KeyRing.read(path) or KeyRing()
        kept = tuple(key for key in ring.keys if key.id != name)
        if len(kept) == len(ring.keys):
            return False
        KeyRing(kept).write(path)
        return True


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """One change at a time: what another command writes meanwhile would be lost, a revocation too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0, 0)  # there is something that cannot be read, and reading it will say why
    return found.st_mtime_ns, found.st_size, found.st_ino


def _key(entry: dict[str, Any]) -> ApiKey:
    key = ApiKey(**entry | {"scopes": tuple(entry["scopes"])})
    if unknown := sorted(set(key.scopes) - set(SCOPES)):
        raise ValueError(f"key {key.id} has unknown scopes: {', '.join(unknown)}")
    if key.requests_a_minute is not None and key.requests_a_minute < 1:
        raise ValueError(f"key {key.id} may make {key.requests_a_minute} requests a minute, 1 at least")
    return key


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def main(
    arguments: Sequence[str] | None = None,
    *,
    path: Path | None = None,
    tell: Callable[[str], object] = sys.stdout.write,
) -> int:
    """Parse, build, hand over, translate one error."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_serving.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="make a key and print it, once")
    make.add_argument("--scope", action="append", choices=SCOPES, required=True, dest="scopes")
    make.add_argument("--label", required=True, help="whose it is")
    make.add_argument("--requests-a-minute", type=_positive, help="a limit of its own")
    revoke = commands.add_parser("revoke", help="end a key")
    revoke.add_argument("id")
    commands.add_parser("list", help="show what is kept of the keys")
    options = parser.parse_args(arguments)
    path = ServingSettings.from_environment().keys if path is None else path
    try:
        return _done(options, path, tell)
    except KeyFileError as error:
        tell(f"{error.problem}: {error.cure}\n")
        return 1


def _done(options: argparse.Namespace, path: Path, tell: Callable[[str], object]) -> int:
    match options.command:
        case "make":
            token, key = new_key(
                label=options.label,
                scopes=options.scopes,
                created_at=datetime.now(UTC),
                requests_a_minute=options.requests_a_minute,
            )
            add_key(path, key)
            tell(f"{token}\nIt is shown this once; {path} keeps its hash.\n")
        case "revoke":
            if not revoke_key(path, options.id):
                tell(f"{path} holds no key {options.id}\n")
                return 1
            tell(f"{options.id} is revoked\n")
        case _:
            for key in (KeyRing.read(path) or KeyRing()).keys:
                limit = f", {key.requests_a_minute} requests a minute" if key.requests_a_minute else ""
                tell(f"{key.id} {','.join(key.scopes)} {key.label!r} of {key.created_at}{limit}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
