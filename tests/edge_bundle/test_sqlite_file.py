"""A transaction on a file: whole or not at all, and nothing stays open behind it."""

import sqlite3
from pathlib import Path

import pytest

from edge_bundle.sqlite_file import transaction


def prepare(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")


def fail(path: Path) -> None:
    with transaction(path, prepare) as connection:
        connection.execute("INSERT INTO words VALUES ('lost')")
        connection.execute("INSERT INTO no_table VALUES (1)")


def words(path: Path) -> list[str]:
    with transaction(path, prepare) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def test_block_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "made" / "words.db"
    with transaction(path, prepare) as connection:
        connection.execute("INSERT INTO words VALUES ('kept')")
    with pytest.raises(sqlite3.OperationalError):
        fail(path)
    assert words(path) == ["kept"]


def test_connection_is_closed_behind_the_block(tmp_path: Path) -> None:
    with transaction(tmp_path / "words.db", prepare) as connection:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")


def test_reader_goes_on_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    assert words(path) == []
    with transaction(path, prepare) as connection:
        connection.execute("INSERT INTO words VALUES ('later')")
        assert words(path) == []
    assert words(path) == ["later"]
