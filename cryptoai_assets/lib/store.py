"""The store: one Parquet file per symbol and month, on disk or on S3, each written whole or not at all."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import polars as pl

from cryptoai_assets.lib.fingerprints import file_fingerprint
from cryptoai_assets.lib.s3_path import SCHEME, S3Path, S3Settings
from edge_bundle.whole_file import remove_abandoned_drafts, replacing

# What the store is kept in; both answer the same few calls.
Place = Path | S3Path
SCHEMA_VERSION = "1"
_VERSION_KEY = "cryptoai.schema_version"


class StoreError(Exception):
    """A stored file cannot be read by this version."""


def place(address: str, s3: S3Settings | None) -> Place:
    """Folder of an address: ``s3://bucket/prefix``, or a path on this machine.

    Raises
    ------
    StoreError
        When the address is on S3 and no settings say how to reach it.
    """
    if not address.startswith(SCHEME):
        return Path(address)
    if s3 is None:
        raise StoreError(f"{address} is on S3: set its region, and its endpoint and keys where it has any")
    return S3Path.from_address(address, s3)


def content_fingerprint(path: Place) -> str:
    """Hash of a file's content: SHA-256 of a local file, on S3 the one that the server keeps."""
    return path.fingerprint() if isinstance(path, S3Path) else file_fingerprint(path)


def write_parquet_atomically(
    frame: pl.DataFrame, path: Place, *, notes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write a file so that a reader, or a run that was killed, finds the old bytes or the new ones.

    Parameters
    ----------
    notes
        Kept beside the rows, for `stored_notes`.
    """
    if isinstance(path, S3Path):
        content = io.BytesIO()
        _write(frame, content, notes)
        path.write_bytes(content.getvalue())
    else:
        with replacing(path) as file:
            _write(frame, file, notes)


def _write(frame: pl.DataFrame, target: BinaryIO, notes: Mapping[str, str]) -> None:
    frame.write_parquet(target, compression="zstd", metadata={**notes, _VERSION_KEY: SCHEMA_VERSION})


def remove_drafts(path: Place) -> None:
    """Remove what killed runs left of this file; S3 shows no file before it is whole."""
    if not isinstance(path, S3Path):
        remove_abandoned_drafts(path)


def read_stored_parquet(path: Place) -> pl.DataFrame:
    """Read a file of the store.

    Raises
    ------
    StoreError
        When its schema version is another one than this code writes.
    """
    content = path.open("rb") if isinstance(path, S3Path) else path
    version = pl.read_parquet_metadata(content).get(_VERSION_KEY)
    if version != SCHEMA_VERSION:
        raise StoreError(f"{path} has schema version {version}; this code reads {SCHEMA_VERSION}")
    return pl.read_parquet(content)


def stored_notes(path: Place) -> dict[str, str]:
    """What was kept beside the rows of a file of the store."""
    return pl.read_parquet_metadata(path.open("rb") if isinstance(path, S3Path) else path)


@dataclass(frozen=True, slots=True)
class DailyStore:
    """Frames by symbol and day under one folder."""

    root: Place

    def path(self, symbol: str, day: date) -> Place:
        """File of one symbol and one day."""
        return self.root / symbol / f"{day:%Y-%m-%d}.parquet"

    def files(self, symbols: Iterable[str], start: datetime | None, end: datetime | None) -> dict[str, Place]:
        """Stored files by ``folder/symbol/day``, of the days that hold a time in ``[start, end)``."""
        first = f"{start:%Y-%m-%d}" if start else ""
        last = f"{end - timedelta(microseconds=1):%Y-%m-%d}" if end else "9999-99-99"
        return {
            f"{self.root.name}/{symbol}/{day}": self.path(symbol, day)
            for symbol in sorted(symbols)
            for day in self.days(symbol)
            if first <= f"{day}" <= last
        }

    def days(self, symbol: str) -> list[date]:
        """Days that are stored, in order."""
        stored = (self.root / symbol).glob("[0-9]*.parquet")
        return sorted(date.fromisoformat(path.stem) for path in stored)


@dataclass(frozen=True, slots=True)
class MonthlyStore:
    """Frames by symbol and month under one folder, on disk or on S3.

    Parameters
    ----------
    schema
        Of an empty answer; None when the columns are only known from what is stored.
    """

    root: Place
    time_column: str
    schema: Mapping[str, pl.DataType] | None = None

    def path(self, symbol: str, month: str) -> Place:
        """File of one symbol and one month (``YYYY-MM``)."""
        return self.root / symbol / f"{month[:7]}.parquet"

    def write(self, symbol: str, month: str, frame: pl.DataFrame) -> None:
        """Replace one file."""
        write_parquet_atomically(frame, self.path(symbol, month))

    def month(self, symbol: str, month: str) -> pl.DataFrame:
        """Rows of one file.

        Raises
        ------
        StoreError
            When it was not written yet, or by another schema version.
        """
        path = self.path(symbol, month)
        if not path.is_file():
            raise StoreError(f"{path} is absent: materialize what writes it first")
        return read_stored_parquet(path)

    def month_or_empty(self, symbol: str, month: str) -> pl.DataFrame:
        """Rows of one file, or an empty frame in the schema when it was not written yet."""
        return self.month(symbol, month) if self.holds(symbol, month) else pl.DataFrame(schema=self.schema)

    def holds(self, symbol: str, month: str) -> bool:
        """Whether the file was written."""
        return self.path(symbol, month).is_file()

    def symbols(self) -> list[str]:
        """Symbols that are stored, in order."""
        return sorted(folder.name for folder in self.root.glob("*"))

    def months(self, symbol: str) -> list[str]:
        """Months that are stored, in order."""
        return sorted(path.stem for path in (self.root / symbol).glob("[0-9]*.parquet"))

    def read(
        self, symbols: Iterable[str], start: datetime | None = None, end: datetime | None = None
    ) -> pl.DataFrame:
        """Rows with ``start <= time < end`` of these symbols, sorted by symbol and time."""
        first = start.strftime("%Y-%m") if start else ""
        last = end.strftime("%Y-%m") if end else "9999-99"
        parts = [
            read_stored_parquet(self.path(symbol, month))
            for symbol in sorted(symbols)
            for month in self.months(symbol)
            if first <= month <= last
        ]
        if not parts:
            if self.schema is None:
                raise StoreError(f"{self.root} holds nothing yet: materialize what writes it first")
            return pl.DataFrame(schema=self.schema)
        frame = pl.concat(parts)
        if start is not None:
            frame = frame.filter(pl.col(self.time_column) >= start)
        return frame if end is None else frame.filter(pl.col(self.time_column) < end)

    def fingerprints(self, symbols: Iterable[str], months: Sequence[str] | None = None) -> dict[str, str]:
        """Content hashes of those of `files` that are there."""
        files = self.files(symbols, months)
        return {name: content_fingerprint(path) for name, path in files.items() if path.is_file()}

    def files(self, symbols: Iterable[str], months: Sequence[str] | None = None) -> dict[str, Place]:
        """Paths by ``folder/symbol/month``, written or not; all months that are stored when None."""
        return {
            f"{self.root.name}/{symbol}/{month[:7]}": self.path(symbol, month)
            for symbol in sorted(symbols)
            for month in (self.months(symbol) if months is None else months)
        }
