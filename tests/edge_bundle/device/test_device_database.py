"""The database loses nothing, doubles nothing, and stays of bounded size."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.installed_device import CLOSED, START, walked_bars
from fakes.project_root import PROJECT
from polars.testing import assert_frame_equal

from edge_bundle.device.database import MOST_TROUBLES, DatabaseRefusedError, DeviceDatabase
from edge_bundle.device.news_shelf import NewsShelf

MINUTE = timedelta(minutes=1)
WRITER = """
import sys
from pathlib import Path
from fakes.installed_device import CLOSED, walked_bars
from edge_bundle.device.database import DeviceDatabase
database, bars = DeviceDatabase(Path(sys.argv[1])), walked_bars(3000)
while True:
    for start in range(0, bars.height, 7):
        database.add_candles(bars.slice(start, 7), source="test", now=CLOSED)
        print(start, flush=True)
    database.forget(before=CLOSED.replace(year=2030))
"""


@pytest.fixture
def database(tmp_path: Path) -> DeviceDatabase:
    return DeviceDatabase(tmp_path / "device.db")


def test_bars_come_back_as_they_were_put_in(database: DeviceDatabase) -> None:
    bars = walked_bars()
    assert database.add_candles(bars, source="test", now=CLOSED) == bars.height
    assert_frame_equal(database.candles(("BTCUSDT", "ETHUSDT"), bars=1000), bars)
    newest = bars.filter(bars["open_time"] >= CLOSED - 5 * MINUTE)
    assert_frame_equal(database.candles(("BTCUSDT", "ETHUSDT"), bars=5), newest)


def test_bar_stays_as_it_was_first_known(database: DeviceDatabase) -> None:
    bars = walked_bars()
    database.add_candles(bars, source="test", now=CLOSED)
    assert database.add_candles(bars.with_columns(close=1.0), source="other", now=CLOSED) == 0
    assert_frame_equal(database.candles(("BTCUSDT", "ETHUSDT"), bars=1000), bars)


def test_what_is_older_is_forgotten_and_the_rest_is_kept(database: DeviceDatabase) -> None:
    bars = walked_bars()
    database.add_candles(bars, source="test", now=CLOSED)
    cut = START + 100 * MINUTE
    assert database.forget(before=cut) == 200
    assert database.extent("BTCUSDT") == (cut, CLOSED - MINUTE)


def test_room_of_what_was_forgotten_is_used_again(database: DeviceDatabase) -> None:
    bars = walked_bars()
    sizes = []
    for day in range(6):
        moved = bars.with_columns(open_time=bars["open_time"] + timedelta(days=day))
        database.add_candles(moved, source="test", now=CLOSED)
        database.forget(before=START + timedelta(days=day))
        with database.connection() as connection:
            sizes.append(connection.execute("PRAGMA page_count").fetchone()[0])
    assert max(sizes[2:]) == sizes[1]


def test_oldest_troubles_make_room(database: DeviceDatabase) -> None:
    with database.connection() as connection:
        connection.executemany(
            "INSERT INTO troubles (at, program, what) VALUES (0, 'x', ?)",
            [(f"{n}",) for n in range(MOST_TROUBLES)],
        )
    database.note_trouble("harvest", "the newest", now=CLOSED)
    told = database.troubles(since=START.replace(year=1971))
    assert [trouble.what for trouble in told] == ["the newest"]
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM troubles").fetchone() == (MOST_TROUBLES,)


def test_writer_killed_at_any_moment_leaves_whole_commits(tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT / 'tests'}{os.pathsep}{PROJECT}"}
    for lines in (1, 40, 230):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, env=environment, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        database = DeviceDatabase(path)
        assert database.integrity() == "ok"
        kept = (
            database.candles(("BTCUSDT",), bars=10_000).height
            + database.candles(("ETHUSDT",), bars=10_000).height
        )
        assert kept % 7 in (0, 6000 % 7)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 40])
def test_damaged_file_is_told_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseRefusedError, match="move the file away"):
        DeviceDatabase(path).extent("BTCUSDT")
    assert path.read_bytes() == content


def test_database_of_an_older_program_keeps_its_bars_and_takes_what_is_new(database: DeviceDatabase) -> None:
    bars = walked_bars()
    database.add_candles(bars, source="test", now=CLOSED)
    connection = sqlite3.connect(database.path)
    connection.executescript("DROP TABLE articles; DROP TABLE moods; PRAGMA user_version=1")
    connection.close()
    assert NewsShelf(database).newest_slot(until=CLOSED) is None
    assert_frame_equal(database.candles(("BTCUSDT", "ETHUSDT"), bars=1000), bars)


def test_database_of_a_newer_program_is_left_alone(database: DeviceDatabase) -> None:
    database.add_candles(walked_bars(), source="test", now=CLOSED)
    connection = sqlite3.connect(database.path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(DatabaseRefusedError, match="schema version 99"):
        database.extent("BTCUSDT")


def test_full_disk_loses_nothing_that_was_there(database: DeviceDatabase) -> None:
    """A file system that takes no more pages is what a limit of pages is to SQLite."""
    bars = walked_bars()
    database.add_candles(bars, source="test", now=CLOSED)
    full = FullDisk(database.path)
    with pytest.raises(DatabaseRefusedError, match="free space"):
        full.add_candles(walked_bars(3000), source="test", now=CLOSED)
    assert_frame_equal(database.candles(("BTCUSDT", "ETHUSDT"), bars=1000), bars)
    assert database.integrity() == "ok"


class FullDisk(DeviceDatabase):
    """A database on a disk that is full."""

    def _prepared(self, connection: sqlite3.Connection) -> None:
        super()._prepared(connection)
        connection.execute("PRAGMA max_page_count=30")
