"""Requests for a promotion or a rollback: filed by the service, carried out or refused by the platform.

The service cannot release anything: whoever reads this file asks the gate.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from cryptoai_serving.database import Database

RequestKind = Literal["promotion", "rollback"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, asked_at TEXT NOT NULL, outcome TEXT
);
"""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What somebody wants.

    Parameters
    ----------
    version
        That is to become champion.
    actor
        Id of the key that asked.
    """

    id: str
    kind: RequestKind
    model: str
    version: int
    actor: str
    reason: str
    asked_at: datetime


class ReleaseRequests:
    """Requests in a SQLite file; nothing is opened before the first call."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=_SCHEMA, version=1)

    def file(self, request: ReleaseRequest) -> None:
        """Keep a request.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be written.
        """
        row = (
            request.id,
            request.kind,
            request.model,
            request.version,
            request.actor,
            request.reason,
            request.asked_at.isoformat(),
        )
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", row)

    def waiting(self) -> list[ReleaseRequest]:
        """Requests that nobody has answered, oldest first.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, kind, model, version, actor, reason, asked_at FROM requests "
                "WHERE outcome IS NULL ORDER BY asked_at, rowid"
            ).fetchall()
        return [
            ReleaseRequest(name, kind, model, version, actor, reason, datetime.fromisoformat(at))
            for name, kind, model, version, actor, reason, at in rows
        ]

    def settle(self, request: ReleaseRequest, outcome: str) -> None:
        """Write down what became of a request.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute("UPDATE requests SET outcome = ? WHERE id = ?", (outcome, request.id))

    def outcome(self, request_id: str) -> str | None:
        """What became of a request; None while it waits, and for one that was never filed.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        with self._database.transaction() as connection:
            row = connection.execute("SELECT outcome FROM requests WHERE id = ?", (request_id,)).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
