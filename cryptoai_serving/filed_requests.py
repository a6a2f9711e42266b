"""What is asked of the platform through the service: filed here, carried out or refused there.

The service cannot release anything: whoever reads this file asks the gate.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from cryptoai_serving.database import Database

Row = Mapping[str, Any]


class _Filed(Protocol):
    @property
    def id(self) -> str: ...


Wanted = TypeVar("Wanted", bound=_Filed)


class FiledRequests(ABC, Generic[Wanted]):
    """Requests of one kind, a table of a SQLite file; nothing is opened before the first call.

    The table has ``id``, ``asked_at`` and ``outcome``, which is null while a request waits.
    """

    table: ClassVar[str]
    schema: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=self.schema, version=1)

    def file(self, request: Wanted) -> None:
        """Keep a request.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be written.
        """
        row = self._row(request)
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        with self._database.transaction() as connection:
            connection.execute(f"INSERT INTO {self.table} ({names}) VALUES ({places})", row)

    def waiting(self) -> list[Wanted]:
        """Requests that nobody has answered, oldest first.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        return [request for request, _ in self._found("WHERE outcome IS NULL ORDER BY asked_at, rowid")]

    def newest(self, most: int) -> list[tuple[Wanted, str | None]]:
        """Newest requests first, each with what became of it; None while it waits.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        return self._found("ORDER BY asked_at DESC, rowid DESC LIMIT ?", most)

    def settle(self, request: Wanted, outcome: str) -> None:
        """Write down what became of a request.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE {self.table} SET outcome = ? WHERE id = ?", (outcome, request.id))

    def outcome(self, request_id: str) -> str | None:
        """What became of a request; None while it waits, and for one that was never filed.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be read.
        """
        return next((outcome for _, outcome in self._found("WHERE id = ?", request_id)), None)

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _row(self, request: Wanted) -> dict[str, Any]:
        """Columns of a request, all but its outcome."""

    @abstractmethod
    def _request(self, row: Row) -> Wanted:
        """What `_row` gave."""

    def _found(self, which: str, *values: object) -> list[tuple[Wanted, str | None]]:
        with self._database.transaction() as connection:
            cursor = connection.execute(f"SELECT * FROM {self.table} {which}", values)
            names = [column for column, *_ in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return [(self._request(row), row["outcome"]) for row in rows]
