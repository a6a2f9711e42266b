"""The store on S3: it holds what the store on disk holds, and a write that dies leaves the old object."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import embedded_candles
from fakes.s3_server import s3_bucket

from cryptoai_assets.lib.s3_path import S3Path
from cryptoai_assets.lib.store import MonthlyStore, StoreError, place, write_parquet_atomically
from edge_bundle.candles import CANDLE_SCHEMA

PROJECT = Path(__file__).parents[2]
NOVEMBER = datetime(2017, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Path]:
    with s3_bucket() as bucket:
        yield bucket


@pytest.fixture
def folder(bucket: S3Path, request: pytest.FixtureRequest) -> S3Path:
    return bucket / request.node.name


@pytest.fixture(scope="module")
def candles() -> pl.DataFrame:
    return embedded_candles().filter(
        pl.col("symbol") == "BTCUSD", pl.col("open_time") < datetime(2017, 12, 1, tzinfo=UTC)
    )


def filled(root: S3Path | Path, candles: pl.DataFrame) -> MonthlyStore:
    store = MonthlyStore(root, "open_time", CANDLE_SCHEMA)
    store.write("BTCUSD", "2017-10", candles.filter(pl.col("open_time") < NOVEMBER))
    store.write("BTCUSD", "2017-11", candles.filter(pl.col("open_time") >= NOVEMBER))
    return store


def test_store_on_s3_answers_what_the_store_on_disk_answers(
    folder: S3Path, tmp_path: Path, candles: pl.DataFrame
) -> None:
    there, here = filled(folder / "candles", candles), filled(tmp_path / "candles", candles)
    window = (["BTCUSD"], datetime(2017, 10, 31, 23, tzinfo=UTC), NOVEMBER)
    assert there.symbols() == here.symbols() == ["BTCUSD"]
    assert there.months("BTCUSD") == here.months("BTCUSD") == ["2017-10", "2017-11"]
    assert there.read(["BTCUSD"]).equals(candles)
    assert there.read(*window).equals(here.read(*window))
    assert there.month("BTCUSD", "2017-10").equals(here.month("BTCUSD", "2017-10"))
    assert list(there.files(["BTCUSD"])) == list(here.files(["BTCUSD"]))


def test_empty_prefix_answers_its_schema_or_names_what_is_absent(folder: S3Path) -> None:
    store = MonthlyStore(folder, "open_time", CANDLE_SCHEMA)
    assert dict(store.read(["BTCUSD"]).schema) == CANDLE_SCHEMA
    assert store.symbols() == []
    with pytest.raises(StoreError, match=r"s3://.*/BTCUSD/2017-10\.parquet is absent: materialize"):
        store.month("BTCUSD", "2017-10")


def test_unknown_schema_version_is_refused_by_name(folder: S3Path, candles: pl.DataFrame) -> None:
    store = filled(folder, candles)
    later = io.BytesIO()
    candles.write_parquet(later, metadata={"cryptoai.schema_version": "9"})
    store.path("BTCUSD", "2017-10").write_bytes(later.getvalue())
    with pytest.raises(StoreError, match=r"s3://.*2017-10\.parquet has schema version 9; this code reads 1"):
        store.read(["BTCUSD"])


def test_equal_rows_have_equal_fingerprints_and_other_rows_others(
    folder: S3Path, candles: pl.DataFrame
) -> None:
    store = filled(folder / "candles", candles)
    before = store.fingerprints(["BTCUSD"])
    store.write("BTCUSD", "2017-10", candles.filter(pl.col("open_time") < NOVEMBER))
    assert store.fingerprints(["BTCUSD"]) == before
    store.write("BTCUSD", "2017-10", candles.head(3))
    changed = {name for name, mark in store.fingerprints(["BTCUSD"]).items() if mark != before[name]}
    assert changed == {"candles/BTCUSD/2017-10"}


def test_failed_write_leaves_the_old_object(folder: S3Path, candles: pl.DataFrame) -> None:
    store = filled(folder, candles)
    unwritable = candles.with_columns(symbol=pl.lit(object(), dtype=pl.Object))
    with pytest.raises(pl.exceptions.ComputeError, match="Object"):
        store.write("BTCUSD", "2017-11", unwritable)
    assert store.read(["BTCUSD"]).equals(candles)


# Thirty megabytes are three parts of an upload, of which two arrive.
DIE_IN_THE_MIDDLE = """
import os, signal, sys
from cryptoai_assets.lib.s3_path import S3Path, S3Settings, _filesystem
path = S3Path(sys.argv[1], S3Settings(*sys.argv[2:]))
stream = _filesystem(path.settings).open_output_stream(path.key, compression=None)
stream.write(bytes(30_000_000))
stream.flush()
print(path.is_file(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_process_killed_in_the_middle_of_an_upload_leaves_the_old_object(
    folder: S3Path, candles: pl.DataFrame
) -> None:
    store = filled(folder, candles)
    path = store.path("BTCUSD", "2017-11")
    assert isinstance(path, S3Path)
    done = subprocess.run(
        [sys.executable, "-c", DIE_IN_THE_MIDDLE, path.key, *map(str, astuple(path.settings))],
        env={"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"True\n")
    assert store.read(["BTCUSD"]).equals(candles)


def test_large_object_comes_back_whole(folder: S3Path) -> None:
    # More than one part of an upload.
    content = bytes(range(256)) * 60_000
    (folder / "large").write_bytes(content)
    assert (folder / "large").open().read() == content
    with pytest.raises(ValueError, match="is opened for 'wb'; write_bytes"):
        (folder / "large").open("wb")


def test_address_says_where_a_store_lies(bucket: S3Path) -> None:
    assert place("data/live", None) == Path("data/live")
    assert place("s3://candles/live/", bucket.settings) == S3Path("candles/live", bucket.settings)
    assert str(place("s3://candles/live", bucket.settings)) == "s3://candles/live"
    assert (S3Path("a/2017-10.parquet", bucket.settings).stem, S3Path("a/b", bucket.settings).stem) == (
        "2017-10",
        "b",
    )
    with pytest.raises(StoreError, match="s3://candles is on S3: set its region"):
        place("s3://candles", None)


def test_keys_are_not_shown(bucket: S3Path) -> None:
    hidden = replace(bucket.settings, access_key="hunter2")
    assert "hunter2" not in repr(S3Path("candles", hidden))


def test_absent_bucket_is_named(bucket: S3Path, candles: pl.DataFrame) -> None:
    path = S3Path("no-such-bucket/x.parquet", bucket.settings)
    with pytest.raises(OSError, match="no-such-bucket"):
        write_parquet_atomically(candles, path)
