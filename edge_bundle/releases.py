"""The release folder as its readers see it: which version of a model may run, and where its bundle lies.

``<root>/<model>/channel.json`` is replaced as a whole with every promotion; the files of a version lie in
``<root>/<model>/versions/<version>/`` and never change. It knows nothing about how a release comes to be.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from edge_bundle.errors import ReleaseRefusedError

CHANNEL_NAME = "channel.json"
VERSIONS_NAME = "versions"
ALARM_NAME = "leak_alarm.json"
STOP_NAME = "stop.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ReleasedVersion:
    """A version that may run.

    Parameters
    ----------
    sha256
        Of the bundle's manifest, as `edge_bundle.manifest.bundle_digest` gives it.
    signature
        Text of a `Signature`; None while releases are not signed.
    """

    version: int
    sha256: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """What may run of one model, by role; a role that is None is not filled."""

    model: str
    champion: ReleasedVersion | None = None
    challenger: ReleasedVersion | None = None
    shadow: ReleasedVersion | None = None
    experiment: ReleasedVersion | None = None

    def to_dict(self) -> dict[str, Any]:
        """Content of the channel file."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises
        ------
        ReleaseRefusedError
            When the schema version is unknown, or an entry is absent, unknown or of another type.
        """
        if (version := record.get("schema_version")) != SCHEMA_VERSION:
            raise ReleaseRefusedError(f"schema version {version!r}, this code reads {SCHEMA_VERSION}")
        if differing := sorted({field.name for field in fields(cls)} ^ (set(record) - {"schema_version"})):
            raise ReleaseRefusedError(f"absent or unknown entries: {', '.join(differing)}")
        if not isinstance(record["model"], str):
            raise ReleaseRefusedError(f"model is {record['model']!r}, a name needed")
        roles = {name: entry for name, entry in record.items() if name not in ("schema_version", "model")}
        return cls(record["model"], **{name: _released(name, entry) for name, entry in roles.items()})


def channel_path(root: Path, model: str) -> Path:
    """File that names what may run of a model."""
    return root / model / CHANNEL_NAME


def leak_alarm_path(root: Path, model: str) -> Path:
    """File that is there while the scores of a version that runs are taken for a leak."""
    return root / model / ALARM_NAME


def stop_path(root: Path, model: str) -> Path:
    """File that is there while a version that is released has to be silent."""
    return root / model / STOP_NAME


def release_folder(root: Path, model: str, version: int) -> Path:
    """Folder that holds the bundle of a released version."""
    return root / model / VERSIONS_NAME / str(version)


def read_channel(root: Path, model: str) -> Channel | None:
    """Read what may run of a model; None when nothing of it was ever released.

    Raises
    ------
    ReleaseRefusedError
        When the channel file is no JSON object, of another schema or of another model.
    """
    path = channel_path(root, model)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = json.loads(content)
        if not isinstance(record, dict):
            raise ReleaseRefusedError("not a JSON object")
        channel = Channel.from_dict(record)
    except (ValueError, RecursionError, ReleaseRefusedError) as error:
        raise ReleaseRefusedError(f"{path} cannot be read: {error}; promote or roll back again") from error
    if channel.model != model:
        raise ReleaseRefusedError(f"{path} is of the model {channel.model}, {model} needed")
    return channel


def read_leak_alarm(root: Path, model: str, version: int) -> str | None:
    """Read why the scores of a released version are taken for a leak; None when they are believed.

    `leak_alarm_path` holds ``version`` and ``reason`` while an alarm is unanswered. One that cannot be read
    counts as an alarm: what it said is not known.
    """
    return _read_reason(leak_alarm_path(root, model), version)


def read_stop(root: Path, model: str, version: int) -> str | None:
    """Read why a released version has to be silent; None while it may speak.

    `stop_path` holds ``version`` and ``reason``; one that cannot be read stops.
    """
    return _read_reason(stop_path(root, model), version)


def _read_reason(path: Path, version: int) -> str | None:
    try:
        record = json.loads(path.read_bytes())
        return str(record["reason"]) if record["version"] == version else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        return f"{path.name} cannot be read: {type(error).__name__}: {error}"


def _released(role: str, entry: object) -> ReleasedVersion | None:
    match entry:
        case None:
            return None
        case {
            "version": int(version),
            "sha256": str(sha256),
            "signature": str() | None as signature,
            **rest,
        } if not rest and version is not True and version > 0:
            return ReleasedVersion(version, sha256, signature)
        case _:
            raise ReleaseRefusedError(f"{role} is {entry!r}: version, sha256 and signature needed")


@dataclass(frozen=True, slots=True)
class Signature:
    """Who vouches for a release, and which one of all: ``ed25519.<key>.<sequence>.<signed>`` as text.

    Parameters
    ----------
    key
        First 16 hexadecimal digits of the SHA-256 of the public key.
    sequence
        Grows with every release of a model, a rollback included: an older release is known by it.
    signed
        Ed25519 over `signed_bytes`, in URL-safe base64.
    """

    key: str
    sequence: int
    signed: str

    @property
    def text(self) -> str:
        """As it stands in a channel."""
        return f"ed25519.{self.key}.{self.sequence}.{self.signed}"

    @classmethod
    def of(cls, text: str) -> Self:
        """Read what `text` gave.

        Raises
        ------
        ReleaseRefusedError
            When it is of another form.
        """
        match = re.fullmatch(r"ed25519\.([0-9a-f]{16})\.([0-9]{1,18})\.([A-Za-z0-9_-]{86}==)", text)
        if match is None:
            raise ReleaseRefusedError(f"{text[:40]!r} is no signature of a release")
        return cls(match[1], int(match[2]), match[3])


def signed_bytes(model: str, released: ReleasedVersion, sequence: int) -> bytes:
    """What a signature is over: the model, its version, the bundle that it is, and the place in the row."""
    return f"cryptoai release\n{model}\n{released.version}\n{released.sha256}\n{sequence}\n".encode()


def public_key_id(public_key: bytes) -> str:
    """Name of a public key of 32 bytes."""
    return hashlib.sha256(public_key).hexdigest()[:16]
