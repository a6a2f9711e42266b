"""The shared SQLite file: what it refuses, and how it recovers."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cryptoai_serving.database import Database
from cryptoai_serving.errors import StoreUnavailableError

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER);"


def numbers(database: Database) -> list[int]:
    with database.transaction() as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers")]


def add(database: Database, number: int) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))


def add_all(database: Database, many: list[int]) -> None:
    with database.transaction() as connection:
        connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in many])


def test_nothing_is_created_before_the_first_use(tmp_path: Path) -> None:
    database = Database(tmp_path / "a" / "n.db", schema=SCHEMA, version=1)
    assert not (tmp_path / "a").exists()
    add(database, 1)
    assert numbers(database) == [1]
    database.close()
    assert numbers(database) == [1]
    database.close()


def test_what_is_read_is_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    with (
        closing(Database(path, schema=SCHEMA, version=1)) as one,
        closing(Database(path, schema=SCHEMA, version=1)) as other,
    ):
        add(other, 1)
        with one.transaction() as connection:
            before = connection.execute("SELECT number FROM numbers").fetchall()
            add(other, 2)
            assert connection.execute("SELECT number FROM numbers").fetchall() == before == [(1,)]
        assert numbers(one) == [1, 2]


def test_failed_change_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database(tmp_path / "n.db", schema=SCHEMA, version=1)
    with pytest.raises(OverflowError):
        add_all(database, [1, 2**80])  # more than SQLite's integers hold
    assert numbers(database) == []
    database.close()


def test_file_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    newer = Database(tmp_path / "n.db", schema=SCHEMA, version=2)
    add(newer, 1)
    newer.close()
    with pytest.raises(StoreUnavailableError, match="schema version 2, this code reads 1"):
        numbers(Database(tmp_path / "n.db", schema=SCHEMA, version=1))


def test_damaged_file_is_unavailable_until_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "n.db"
    path.write_bytes(b"no database" * 200)
    database = Database(path, schema=SCHEMA, version=1)
    with pytest.raises(StoreUnavailableError, match="cannot be used: file is not a database"):
        numbers(database)
    path.unlink()
    assert numbers(database) == []
    database.close()


def test_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match=r"^n\.db cannot be used: (File exists|Not a directory)$"):
        numbers(Database(tmp_path / "file" / "n.db", schema=SCHEMA, version=1))


def test_replaced_file_is_read_anew(tmp_path: Path) -> None:
    database = Database(tmp_path / "n.db", schema=SCHEMA, version=1)
    add(database, 1)
    other = Database(tmp_path / "other.db", schema=SCHEMA, version=1)
    add(other, 2)
    other.close()
    with closing(sqlite3.connect(tmp_path / "n.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / "other.db").replace(tmp_path / "n.db")
    assert numbers(database) == [2]
    database.close()


def test_revision_changes_with_every_write_of_whoever_and_with_nothing_else(tmp_path: Path) -> None:
    own, other = (Database(tmp_path / "n.db", schema=SCHEMA, version=1) for _ in range(2))
    assert own.revision() is None
    add(own, 1)
    seen = [own.revision()]
    assert numbers(own) == [1]
    assert own.revision() == seen[0]
    for database in (own, other, own):
        add(database, 2)
        seen.append(own.revision())
        assert own.revision() == seen[-1]
    assert len(set(seen)) == 4
    assert None not in seen
    own.close()
    other.close()


def test_revision_waits_for_nobody_and_is_not_known_when_the_file_is_damaged(tmp_path: Path) -> None:
    database = Database(tmp_path / "n.db", schema=SCHEMA, version=1)
    add(database, 1)
    with closing(sqlite3.connect(tmp_path / "n.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert database.revision() is not None
    database.close()
    (tmp_path / "n.db").write_bytes(b"no database" * 200)
    assert database.revision() is None
    database.close()


def test_revision_is_that_of_the_file_that_is_there(tmp_path: Path) -> None:
    watched, first, second = (Database(tmp_path / "n.db", schema=SCHEMA, version=1) for _ in range(3))
    add(first, 1)
    first.close()
    seen = [watched.revision()]
    for name in ("n.db", "n.db-wal", "n.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    for number in (2, 3, 4):
        add(second, number)
        seen.append(watched.revision())
    assert len(set(seen)) == 4
    second.close()
    watched.close()
