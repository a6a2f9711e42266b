"""A SQLite file that several programs write: one transaction on a connection of its own."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_SECONDS = 30


@contextmanager
def transaction(path: Path, prepare: Callable[[sqlite3.Connection], object]) -> Iterator[sqlite3.Connection]:
    """Open the file, which is made when it is absent; keep what the block writes, nothing when it raises.

    Parameters
    ----------
    prepare
        Brings the tables into the file where they are not there, and settings to the connection.

    Raises
    ------
    sqlite3.Error
        When the file cannot be read or written, or another program keeps it for `BUSY_SECONDS`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        prepare(connection)
        with connection:
            yield connection
    finally:
        connection.close()
