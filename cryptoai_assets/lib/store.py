"""The store: one Parquet file per symbol and month, each written whole or not at all."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.fingerprints import file_fingerprint

SCHEMA_VERSION = "1"
_VERSION_KEY = "cryptoai.schema_version"


class StoreError(Exception):
    """A stored file cannot be read by this version."""


def write_parquet_atomically(frame: pl.DataFrame, path: Path) -> None:
    """Write a file so that a reader, or a run that was killed, finds the old bytes or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_drafts(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        frame.write_parquet(draft, compression="zstd", metadata={_VERSION_KEY: SCHEMA_VERSION})
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_abandoned_drafts(path: Path) -> None:
    """Remove what killed runs left of this file; a draft of a process that lives is not touched."""
    for draft in path.parent.glob(f".{path.name}.*.tmp"):
        if not _lives(int(draft.suffixes[-2][1:])):
            draft.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def read_stored_parquet(path: Path) -> pl.DataFrame:
    """Read a file of the store.

    Raises
    ------
    StoreError
        When its schema version is another one than this code writes.
    """
    version = pl.read_parquet_metadata(path).get(_VERSION_KEY)
    if version != SCHEMA_VERSION:
        raise StoreError(f"{path} has schema version {version}; this code reads {SCHEMA_VERSION}")
    return pl.read_parquet(path)


@dataclass(frozen=True, slots=True)
class MonthlyStore:
    """Frames by symbol and month under one folder.

    Parameters
    ----------
    schema
        Of an empty answer; None when the columns are only known from what is stored.
    """

    root: Path
    time_column: str
    schema: Mapping[str, pl.DataType] | None = None

    def path(self, symbol: str, month: str) -> Path:
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
        """SHA-256 of those of `files` that are there."""
        files = self.files(symbols, months)
        return {name: file_fingerprint(path) for name, path in files.items() if path.is_file()}

    def files(self, symbols: Iterable[str], months: Sequence[str] | None = None) -> dict[str, Path]:
        """Paths by ``folder/symbol/month``, written or not; all months that are stored when None."""
        return {
            f"{self.root.name}/{symbol}/{month[:7]}": self.path(symbol, month)
            for symbol in sorted(symbols)
            for month in (self.months(symbol) if months is None else months)
        }
