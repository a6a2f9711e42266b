"""Signing of releases, so that a device runs nothing that this platform has not released."""

import base64
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
from edge_bundle.stop_orders import StopOrder, stop_order_bytes
from edge_bundle.whole_file import create_file


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
        sequence = _later(at, after.signature if after else None)
        signature = self._signature(signed_bytes(model, released, sequence), sequence)
        return replace(released, signature=signature)

    def ordered(self, order: StopOrder, *, after: StopOrder | None, at: datetime) -> StopOrder:
        """Vouch for a stop order as the newest one of its model.

        Parameters
        ----------
        after
            Order until now, whose place in the row is passed.

        Raises
        ------
        SigningKeyError
            When the key cannot be read.
        """
        sequence = _later(at, after.signature if after else None)
        return replace(order, signature=self._signature(stop_order_bytes(order, sequence), sequence))

    def public_key(self) -> str:
        """Key that a device trusts: 32 bytes in base64.

        Raises
        ------
        SigningKeyError
            When the key cannot be read.
        """
        return base64.b64encode(_public(self._key())).decode()

    def _signature(self, signed: bytes, sequence: int) -> str:
        key = self._key()
        return Signature(_id(key), sequence, base64.urlsafe_b64encode(key.sign(signed)).decode()).text

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
        create_file(self.path, pem, mode=0o600)


def _later(at: datetime, signature: str | None) -> int:
    """Milliseconds since 1970, and beyond the place of the one before, if that can be read."""
    milliseconds = int(at.astimezone(UTC).timestamp() * 1000)
    try:
        passed = Signature.of(signature).sequence if signature else 0
    except ReleaseRefusedError:
        passed = 0
    return max(milliseconds, passed + 1)


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _id(key: Ed25519PrivateKey) -> str:
    return public_key_id(_public(key))
