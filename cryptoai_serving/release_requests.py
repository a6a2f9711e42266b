"""Requests for a promotion or a rollback."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from cryptoai_serving.filed_requests import FiledRequests, Row

RequestKind = Literal["promotion", "rollback"]


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


class ReleaseRequests(FiledRequests[ReleaseRequest]):
    """Requests for another champion."""

    table = "requests"
    schema = """
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, asked_at TEXT NOT NULL, outcome TEXT
);
"""

    def _row(self, request: ReleaseRequest) -> dict[str, Any]:
        return asdict(request) | {"asked_at": request.asked_at.isoformat()}

    def _request(self, row: Row) -> ReleaseRequest:
        given = {field.name: row[field.name] for field in fields(ReleaseRequest)}
        return ReleaseRequest(**given | {"asked_at": datetime.fromisoformat(row["asked_at"])})
