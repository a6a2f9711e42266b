"""Signing of releases, so that a device runs nothing that this platform has not released."""

import base64
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.releases import ReleasedVersion, Signature, public_key_id, signed_bytes


class SigningKeyError(Exception):
    """The private key cannot be read, or is of another kind."""


@dataclass(frozen=True, slots=True)
class ReleaseSigner:
    """An Ed25519 key in a PEM file that only its owner reads; it is made when there is none.

    Who has the file can release to every device that trusts it: it is never part of the project or of an
    archive.
    """

    path: Path

    def signed(
        self, model: str, released: ReleasedVersion, *, after: ReleasedVersion | None, at: datetime
    ) -> ReleasedVersion:
        """Vouch for a release as the newest one.

        Parameters
        ----------
        after
            Champion until now, whose place in the row is passed.
        at
            From which the place is made, in milliseconds since 1970.

        Raises
        ------
        SigningKeyError
            When the key cannot be read.
        """
        milliseconds = int(at.astimezone(UTC).timestamp() * 1000)
        sequence = max(milliseconds, _sequence(after) + 1)
        key = self._key()
        signed = key.sign(signed_bytes(model, released, sequence))
        signature = Signature(_id(key), sequence, base64.urlsafe_b64encode(signed).decode())
        return replace(released, signature=signature.text)

    def public_key(self) -> str:
        """Key that a device trusts: 32 bytes in base64.

        Raises
        ------
        SigningKeyError
            When the key cannot be read.
        """
        return base64.b64encode(_public(self._key())).decode()

    def _key(self) -> Ed25519PrivateKey:
        if not self.path.exists():
            self._make()
        try:
            key = load_pem_private_key(self.path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise SigningKeyError(f"{self.path} is no private key: {error}; restore it") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(f"{self.path} is no Ed25519 key; restore it")
        return key

    def _make(self) -> None:
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with open(draft, "wb", opener=_for_its_owner) as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, self.path)  # fails where another program was faster
        except FileExistsError:
            pass
        finally:
            draft.unlink()


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sequence(released: ReleasedVersion | None) -> int:
    if released is None or released.signature is None:
        return 0
    try:
        return Signature.of(released.signature).sequence
    except ReleaseRefusedError:
        return 0


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _id(key: Ed25519PrivateKey) -> str:
    return public_key_id(_public(key))
