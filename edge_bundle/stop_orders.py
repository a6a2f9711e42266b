"""Stop orders: word to the devices that a released bundle has to be silent, or may speak again, signed.

``<root>/<model>/stop_order.json`` holds the newest order of a model. It is replaced and never removed: that
no order is there says nothing, so a stop ends for a device only by a later order, or with another bundle. The
service needs none: it reads ``stop.json`` of its own folder.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.releases import Signature

STOP_ORDER_NAME = "stop_order.json"
# An order that was signed longer ago is not taken any more; the platform renews a stop in time.
GREATEST_AGE = timedelta(days=7)
RENEWED_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StopOrder:
    """What a device has to do with a bundle of a model.

    Parameters
    ----------
    sha256
        Of the bundle's manifest; the order says nothing of any other bundle.
    reason
        Why the bundle has to be silent; empty when it may speak.
    signature
        Text of a `Signature` over `stop_order_bytes`, whose sequence is of milliseconds since 1970.
    """

    model: str
    sha256: str
    reason: str
    signature: str

    def to_dict(self) -> dict[str, Any]:
        """Content of the file, and of what goes over the wire."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: object) -> Self:
        """Read what `to_dict` gave.

        Raises
        ------
        ReleaseRefusedError
            When it is of another form.
        """
        match record:
            case {
                "model": str(model),
                "sha256": str(sha256),
                "reason": str(reason),
                "signature": str(signature),
                **rest,
            } if not rest:
                return cls(model, sha256, reason, signature)
            case _:
                raise ReleaseRefusedError(f"{str(record)[:80]!r} is no stop order")

    @property
    def signed_at(self) -> datetime:
        """When it was signed, by the platform's clock."""
        return datetime.fromtimestamp(Signature.of(self.signature).sequence / 1000, UTC)


def stop_order_path(root: Path, model: str) -> Path:
    """File that holds the newest order of a model."""
    return root / model / STOP_ORDER_NAME


def read_stop_order(root: Path, model: str) -> StopOrder | None:
    """Read the newest order of a model; None when there was never one.

    Raises
    ------
    ReleaseRefusedError
        When the file holds no order.
    """
    try:
        record: Mapping[str, Any] = json.loads(stop_order_path(root, model).read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ReleaseRefusedError(f"{stop_order_path(root, model)} cannot be read: {error}") from error
    return StopOrder.from_dict(record)


def stop_order_bytes(order: StopOrder, sequence: int) -> bytes:
    """What a signature is over; its first line is not a release's, so that neither passes as the other."""
    return f"cryptoai stop order\n{order.model}\n{order.sha256}\n{sequence}\n{order.reason}".encode()
