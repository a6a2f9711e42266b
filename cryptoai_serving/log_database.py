"""The forecast log's database: SQLite in a file or PostgreSQL at an address, kept up to date by Alembic.

It knows nothing about forecasts.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.pool import NullPool

from cryptoai_serving.database import BUSY_SECONDS
from cryptoai_serving.errors import StoreUnavailableError, without_place

MIGRATIONS = Path(__file__).parent / "migrations"
# Code from before the migrations refuses a file of this version by its number.
_MIGRATED_FILE = 2
# Of the lock that those who migrate a PostgreSQL database take in turns: "cryptoai" in ASCII.
_MIGRATION_LOCK = int.from_bytes(b"cryptoai", "big")
PATIENCE_SECONDS = 5
# Alembic hands its migrations their connection in a variable of the whole process.
_ALEMBIC = threading.Lock()


def log_place(text: str) -> Path | str:
    """Place of a log as a setting names it: what holds ``://`` is an address, all else a file."""
    return text if "://" in text else Path(text)


class LogDatabase:
    """One connection, used by one thread at a time: opened when first used, opened again after a failure.

    Parameters
    ----------
    place
        A SQLite file, or the address of a database as SQLAlchemy reads it, such as
        ``postgresql+psycopg://somebody@host/database``.
    """

    def __init__(self, place: Path | str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None
        self._inode: int | None = None

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Connection whose changes are committed at the end, or undone by an exception.

        Raises
        ------
        StoreUnavailableError
            When the database cannot be reached, is locked for longer than `BUSY_SECONDS`, is damaged, was
            brought further by newer code, or its driver is not installed; the next call tries again.
        """
        with self._lock:
            try:
                connection = self._opened()
                with connection.begin():
                    yield connection
            except (sa.exc.SQLAlchemyError, CommandError, ImportError, OSError) as error:
                self._disconnect()
                raise StoreUnavailableError(
                    f"{self._name()} cannot be used: {_reason(error)}",
                    cure="install the driver: pip install 'psycopg[binary]'"
                    if isinstance(error, ImportError)
                    else "try again in a moment",
                ) from error

    def close(self) -> None:
        """End the connection; a later use opens it again."""
        with self._lock:
            self._disconnect()

    def _name(self) -> str:
        """What a reader of an error may see: no password, no folder."""
        if isinstance(self._place, Path):
            return self._place.name
        try:
            return sa.make_url(self._place).render_as_string(hide_password=True)
        except sa.exc.ArgumentError:
            return "the address of the forecast log"

    def _opened(self) -> sa.Connection:
        if self._connection is not None:
            if self._inode == self._inode_now():
                return self._connection
            self._disconnect()  # the file was replaced: the connection would write to the old one for ever
        connection = self._engine().connect()
        try:
            with connection.begin():
                _bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, self._inode_now()
        return connection

    def _engine(self) -> sa.Engine:
        if isinstance(self._place, Path):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            address = sa.URL.create("sqlite", database=str(self._place.absolute()))
            locks: dict[str, object] = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        else:
            address = sa.make_url(self._place)
            locks = (
                {"connect_timeout": PATIENCE_SECONDS} if address.get_backend_name() == "postgresql" else {}
            )
        engine = sa.create_engine(address, connect_args=locks, poolclass=NullPool)
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _inode_now(self) -> int | None:
        """Of the file; None where there is none, and always for what is no file."""
        if isinstance(self._place, Path) and self._place.exists():
            return self._place.stat().st_ino
        return None

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()  # a broken one could not even be rolled back
            connection.close()


def _bring_up_to_date(connection: sa.Connection) -> None:
    """Run the migrations that a database lacks, one process at a time."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            f"PRAGMA user_version = {_MIGRATED_FILE:d}"
        )  # a write, which locks the file
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, "head")


def _prepare_sqlite(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
    # Python's own transactions begin too late: a migration would not be all or nothing.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _reason(error: Exception) -> str:
    """What the driver said, without the statement and its parameters."""
    return without_place(error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error)
