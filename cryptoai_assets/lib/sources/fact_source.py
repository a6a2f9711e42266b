"""The interface of every source of facts, and the one place that says when a fact became known."""

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.facts import FACT_SCHEMA

# What a parser meets in an answer of another shape than the source documents.
_OTHER_SHAPES = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    OSError,
    csv.Error,
)
_YEARS = range(1700, 2200)


class NotConfiguredError(SourceRefusedError):
    """A source was asked that lacks a setting; what depends on it goes on without its columns."""


class FactSource(Protocol):
    """A place that facts come from."""

    @property
    def name(self) -> str:
        """Stands as the source of its facts."""
        ...

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        ...

    def fetch(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Facts with ``start <= event_time < end`` in `edge_bundle.facts.FACT_SCHEMA`, first known first.

        Raises
        ------
        NotConfiguredError
            When something is `missing`.
        SourceError
            When it does not answer, or with what is not understood.
        """
        ...


@dataclass(frozen=True, slots=True)
class Witness:
    """Who saw a value appear.

    Parameters
    ----------
    clock
        Our time.
    live_since
        When this platform first asked the source. What was published later is known when it was fetched,
        not earlier: whoever was there would have seen it. None before that first time, when all is history.
    """

    clock: Callable[[], datetime]
    live_since: datetime | None


class Reading(NamedTuple):
    """A value of a source: of a period, or of a moment when `begins` equals `ends`.

    `published` is when the source showed this version of it, as it says itself or as we know its habits.
    """

    name: str
    symbol: str | None
    begins: datetime
    ends: datetime
    published: datetime
    value: float


def facts_of(
    readings: Iterable[Reading], start: datetime, end: datetime, *, source: str, witness: Witness
) -> pl.DataFrame:
    """Fact frame of the readings that begin in ``[start, end)``.

    A fact is known when it was published, never before its period ended, and never before it was fetched
    when we were there. Readings of a period that still runs are left out: their value is not final.
    """
    now = witness.clock()

    def known_at(reading: Reading) -> datetime:
        known = max(reading.published, reading.ends)
        return max(known, now) if witness.live_since is not None and known >= witness.live_since else known

    rows = [
        (reading.symbol, reading.begins, known_at(reading), source, reading.name, reading.value)
        for reading in readings
        if start <= reading.begins < end and reading.ends <= now
    ]
    facts = pl.DataFrame(rows, schema=FACT_SCHEMA, orient="row")
    return facts.unique(maintain_order=True).sort("known_at", "event_time", "name", maintain_order=True)


@dataclass(frozen=True, slots=True)
class ReadingSource(ABC):
    """A source that answers with readings, which become facts in the same way for all; a `FactSource`."""

    witness: Witness

    @property
    @abstractmethod
    def name(self) -> str:
        """Stands as the source of its facts."""

    @property
    @abstractmethod
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""

    @abstractmethod
    def _readings(self, start: datetime, end: datetime) -> Iterable[Reading]:
        """Readings that begin in ``[start, end)``, perhaps others too; an answer of another shape raises."""

    def fetch(self, start: datetime, end: datetime) -> pl.DataFrame:
        """See `FactSource.fetch`."""
        if self.missing:
            raise NotConfiguredError(f"{self.name} is not configured: {self.missing}")
        with understood(self.name):
            readings = list(self._readings(start, end))
        return facts_of(readings, start, end, source=self.name, witness=self.witness)


@dataclass(frozen=True, slots=True)
class WebSource(ReadingSource):
    """A source that is asked over HTTP, and needs no key unless it says so."""

    web: WebClient

    @property
    def name(self) -> str:
        """Stands as the source of its facts."""
        return self.web.name

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked: nothing."""
        return None


@dataclass(frozen=True, slots=True)
class FileSource(ReadingSource):
    """A source that is a text file; None when there is none."""

    file: Path | None

    @property
    @abstractmethod
    def content(self) -> str:
        """What the file holds, for messages."""

    @abstractmethod
    def _read(self, text: str) -> Iterable[Reading]:
        """Readings of the whole file."""

    @property
    def missing(self) -> str | None:
        """What must be set before it can be read, as a sentence; None when nothing is missing."""
        if self.file is None:
            return f"no file of {self.content} is set"
        return None if self.file.is_file() else f"the file {self.file.name} is not there"

    def _readings(self, _start: datetime, _end: datetime) -> Iterable[Reading]:
        return self._read(self.file.read_bytes().decode("utf-8-sig")) if self.file else ()


@contextmanager
def understood(source: str) -> Iterator[None]:
    """Turn what a parser meets in an answer of another shape into a `SourceError`."""
    try:
        yield
    except _OTHER_SHAPES as error:
        raise SourceError(
            f"{source} answered in a shape that is not understood "
            f"({type(error).__name__}: {str(error)[:120]}): compare its documentation, it may have changed"
        ) from error


def number(raw: object) -> float | None:
    """Value of a JSON number or of text; None for null and for empty text, which mean "not known".

    Raises
    ------
    ValueError
        When it is anything else, or not finite.
    """
    if raw is None or raw == "":
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError(f"{str(raw)[:40]!r} is no number")
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError(f"{raw!r} is not finite")
    return value


def plausible(moment: datetime) -> datetime:
    """Return the time.

    Raises
    ------
    ValueError
        When it is a slip, such as milliseconds read as seconds.
    """
    if moment.year not in _YEARS:
        raise ValueError(f"{moment:%Y-%m-%d} is no date to be expected")
    return moment
