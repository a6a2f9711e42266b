"""A SQLite file that several processes share: opened when first used, reopened after a failure."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptoai_serving.errors import StoreUnavailableError, without_place

BUSY_SECONDS = 5.0


class Database:
    """One connection to a file in write-ahead mode, used by one thread at a time.

    Parameters
    ----------
    schema
        Statements that create what is absent, and leave alone what is there.
    version
        Of the schema; a file of another version is refused.
    upgrade
        Changes a file of the version before into one of this version, once, in one transaction.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        version: int,
        upgrade: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self.path = path
        self._schema = schema
        self._version = version
        self._upgrade = upgrade
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._observer: sqlite3.Connection | None = None
        self._observed: int | None = None
        self._observer_lock = threading.Lock()

    @contextmanager
    def transaction(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """Connection that reads as of one moment, and whose changes are committed at the end or undone.

        Parameters
        ----------
        writing
            Other writers wait from the beginning, for what is read here decides what is written.

        Raises
        ------
        StoreUnavailableError
            When the file cannot be opened, is locked for longer than `BUSY_SECONDS`, is damaged, or has
            another schema version; the next call tries again.
        """
        with self._lock:
            try:
                connection = self._opened()
                with connection:
                    connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                    yield connection
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise StoreUnavailableError(
                    f"{self.path.name} cannot be used: {without_place(error)}",
                    cure="try again in a moment",
                ) from error

    def revision(self) -> tuple[int, int] | None:
        """Something that every change of the file changes, whoever makes it; None when it cannot be told now.

        It takes microseconds and waits for nobody, so that an event loop may ask.
        """
        with self._observer_lock:
            try:
                inode = self.path.stat().st_ino
                if self._observer is None or inode != self._observed:
                    self._stop_observing()
                    address = f"{self.path.absolute().as_uri()}?mode=ro"
                    self._observer = sqlite3.connect(address, uri=True, timeout=0, check_same_thread=False)
                    self._observed = inode
                # It counts the commits of all connections but this one, which makes none.
                (version,) = self._observer.execute("PRAGMA data_version").fetchone()
            except (sqlite3.Error, OSError):
                self._stop_observing()
                return None
            return inode, version

    def close(self) -> None:
        """End the connection; a later use opens it again."""
        with self._observer_lock:
            self._stop_observing()
        with self._lock:
            self._disconnect()

    def _stop_observing(self) -> None:
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            if self.path.exists() and self.path.stat().st_ino == self._inode:
                return self._connection
            self._disconnect()  # the file was replaced: the connection would read the old one for ever
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, self.path.stat().st_ino
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        found = _found_version(connection)
        older = found == self._version - 1 and self._upgrade is not None
        if found not in (0, self._version) and not older:
            raise sqlite3.DatabaseError(f"schema version {found}, this code reads {self._version}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(self._schema)
        if found == 0:
            connection.execute(f"PRAGMA user_version = {self._version:d}")
        elif older:
            self._upgraded(connection)

    def _upgraded(self, connection: sqlite3.Connection) -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            # Whoever was first has done it.
            if self._upgrade is not None and _found_version(connection) != self._version:
                self._upgrade(connection)
                connection.execute(f"PRAGMA user_version = {self._version:d}")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _found_version(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)
