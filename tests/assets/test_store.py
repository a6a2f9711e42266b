"""The store: whole files or none, versions that are refused, windows that are read."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import embedded_candles

from cryptoai_assets.lib.store import MonthlyStore, StoreError
from edge_bundle.candles import CANDLE_SCHEMA

PROJECT = Path(__file__).parents[2]
NOVEMBER = datetime(2017, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2017, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def candles() -> pl.DataFrame:
    return embedded_candles().filter(pl.col("symbol") == "BTCUSD", pl.col("open_time") < DECEMBER)


@pytest.fixture
def store(tmp_path: Path, candles: pl.DataFrame) -> MonthlyStore:
    store = MonthlyStore(tmp_path / "candles", "open_time", CANDLE_SCHEMA)
    store.write("BTCUSD", "2017-10", candles.filter(pl.col("open_time") < NOVEMBER))
    store.write("BTCUSD", "2017-11", candles.filter(pl.col("open_time") >= NOVEMBER))
    return store


def test_what_was_written_is_read_back(store: MonthlyStore, candles: pl.DataFrame) -> None:
    assert store.months("BTCUSD") == ["2017-10", "2017-11"]
    assert store.read(["BTCUSD"]).equals(candles)
    assert store.month("BTCUSD", "2017-11-01").equals(candles.filter(pl.col("open_time") >= NOVEMBER))


def test_window_is_read_without_its_end(store: MonthlyStore) -> None:
    times = store.read(["BTCUSD"], datetime(2017, 10, 31, 23, tzinfo=UTC), NOVEMBER)["open_time"]
    assert times.to_list() == [datetime(2017, 10, 31, 23, minute, tzinfo=UTC) for minute in (0, 30)]


def test_empty_store_answers_its_schema_or_names_what_is_absent(tmp_path: Path) -> None:
    assert dict(MonthlyStore(tmp_path, "open_time", CANDLE_SCHEMA).read(["BTCUSD"]).schema) == CANDLE_SCHEMA
    with pytest.raises(StoreError, match="holds nothing yet: materialize"):
        MonthlyStore(tmp_path, "open_time").read(["BTCUSD"])
    with pytest.raises(StoreError, match=r"2017-10\.parquet is absent: materialize"):
        MonthlyStore(tmp_path, "open_time").month("BTCUSD", "2017-10")


@pytest.mark.parametrize("metadata", [{}, {"cryptoai.schema_version": "99"}])
def test_unknown_schema_version_is_refused(
    store: MonthlyStore, candles: pl.DataFrame, metadata: dict[str, str]
) -> None:
    candles.write_parquet(store.path("BTCUSD", "2017-10"), metadata=metadata)
    with pytest.raises(StoreError, match=r"2017-10\.parquet has schema version (None|99); this code reads 1"):
        store.read(["BTCUSD"])


def test_equal_rows_make_equal_bytes(store: MonthlyStore, candles: pl.DataFrame) -> None:
    before = store.fingerprints(["BTCUSD"])
    store.write("BTCUSD", "2017-10", candles.filter(pl.col("open_time") < NOVEMBER))
    assert store.fingerprints(["BTCUSD"]) == before
    store.write("BTCUSD", "2017-10", candles.head(3))
    changed = {name for name, mark in store.fingerprints(["BTCUSD"]).items() if mark != before[name]}
    assert changed == {"candles/BTCUSD/2017-10"}


def test_failed_write_leaves_the_old_file_and_no_draft(store: MonthlyStore, candles: pl.DataFrame) -> None:
    unwritable = candles.with_columns(symbol=pl.lit(object(), dtype=pl.Object))
    with pytest.raises(pl.exceptions.ComputeError, match="Object"):
        store.write("BTCUSD", "2017-11", unwritable)
    assert store.read(["BTCUSD"]).equals(candles)
    assert drafts(store) == []


WRITE_WITH_TOO_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
import polars as pl
from cryptoai_assets.lib.store import MonthlyStore
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills at the byte that is one too many
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
store = MonthlyStore(Path(sys.argv[1]), "open_time")
store.write("BTCUSD", "2017-11", store.month("BTCUSD", "2017-10"))
"""


def test_process_killed_in_the_middle_of_a_file_leaves_the_old_one(
    store: MonthlyStore, candles: pl.DataFrame
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_TOO_LITTLE_ROOM, str(store.root)],
        env={"PYTHONPATH": str(PROJECT)},
        check=False,
    )
    assert done.returncode == -signal.SIGXFSZ
    [draft] = drafts(store)
    assert (store.root / "BTCUSD" / draft).stat().st_size == 4096
    assert store.read(["BTCUSD"]).equals(candles)
    store.write("BTCUSD", "2017-11", candles.tail(1))
    assert drafts(store) == []


def test_draft_of_a_killed_run_is_removed_and_that_of_a_live_one_is_not(
    store: MonthlyStore, candles: pl.DataFrame
) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    dead, living = int(gone.stdout), os.getppid()
    folder = store.root / "BTCUSD"
    for process in (dead, living):
        (folder / f".2017-10.parquet.{process}.tmp").write_bytes(b"half a fi")
    store.write("BTCUSD", "2017-10", candles.head(3))
    assert drafts(store) == [f".2017-10.parquet.{living}.tmp"]
    assert store.months("BTCUSD") == ["2017-10", "2017-11"]


def drafts(store: MonthlyStore) -> list[str]:
    return sorted(path.name for path in store.root.rglob("*.tmp"))
