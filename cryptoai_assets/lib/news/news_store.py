"""The store of news: versions of articles, added and never changed, and what sources are to be told."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from cryptoai_assets.lib.news.news_source import NewsSource
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.store import MonthlyStore, Place
from edge_bundle.news.articles import (
    ARTICLE_SCHEMA,
    CLOCK_TOLERANCE,
    QUARANTINE_SCHEMA,
    new_versions,
    sifted,
)
from edge_bundle.whole_file import replace_file

_LAST_ASKED, _LAST_NEW, _SAID = "last_asked", "last_new", "said"
VISIT_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "state": pl.String(),
    "told": pl.String(),
    "added": pl.UInt32(),
    "put_aside": pl.UInt32(),
}


@dataclass(frozen=True, slots=True)
class NewsStore:
    """Articles by source and month of their fetch under one folder; one process at a time writes.

    Parameters
    ----------
    memories
        Folder of what the sources want to be told at the next visit.
    """

    root: Place
    memories: Path

    @property
    def articles(self) -> MonthlyStore:
        """Versions of articles, by source and month."""
        return MonthlyStore(self.root / "articles", "known_at", ARTICLE_SCHEMA)

    @property
    def quarantine(self) -> MonthlyStore:
        """Items that were put aside, with the reason."""
        return MonthlyStore(self.root / "quarantine", "known_at", QUARANTINE_SCHEMA)

    def read(self, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
        """Versions with ``start <= known_at < end``, first known first."""
        found = self.articles.read(self.articles.symbols(), start, end)
        return found.sort("known_at", "version", maintain_order=True)

    def visit(
        self, source: NewsSource, *, start: datetime, clock: Callable[[], datetime]
    ) -> dict[str, object]:
        """Ask a source, and keep what is new; one row in `VISIT_SCHEMA` of what came of it.

        A source that is not configured is not asked, and one that does not answer is told: the others go on.
        What it brings is known when it has answered, which may be long after it was asked; the next visit
        begins where it was asked, so that nothing falls between, and as much before as the source's clock may
        be behind ours.

        Parameters
        ----------
        start
            Of the history, for a source that was never asked.
        clock
            Our time, read before and after the fetch.
        """
        if source.missing is not None:
            return _visited(source.name, "not configured", source.missing)
        memory, asked = self._memory(source.name), clock()
        last = datetime.fromisoformat(memory[_LAST_ASKED]) if _LAST_ASKED in memory else start
        try:
            brought = source.fetch(max(start, last - CLOCK_TOLERANCE), memory.get(_SAID, {}))
        except SourceError as error:
            if not memory:  # how long it has been silent counts from here
                self._remember(source.name, {_LAST_NEW: asked.isoformat()})
            return _visited(source.name, "no answer", str(error))
        fetched = clock()
        sifting = sifted(brought.found, now=fetched, history_until=None if _LAST_ASKED in memory else asked)
        added = _append(self.articles, source.name, sifting.articles, fetched)
        aside = _append(self.quarantine, source.name, sifting.quarantine, fetched)
        # The memory comes last: what a killed run did not write is asked for again.
        self._remember(
            source.name,
            {
                _LAST_ASKED: asked.isoformat(),
                _LAST_NEW: fetched.isoformat() if added or not memory else _newest(memory),
                _SAID: dict(brought.memory),
            },
        )
        return _visited(source.name, "answered", brought.complaint, added, aside)

    def last_new(self, source: str) -> datetime | None:
        """When a source brought something new last, or was asked first; None when it was never asked."""
        memory = self._memory(source)
        return datetime.fromisoformat(_newest(memory)) if memory else None

    def _memory(self, source: str) -> dict[str, Any]:
        file = self._memory_file(source)
        return dict(json.loads(file.read_text())) if file.is_file() else {}

    def _remember(self, source: str, memory: dict[str, Any]) -> None:
        replace_file(self._memory_file(source), json.dumps(memory, indent=1))

    def _memory_file(self, source: str) -> Path:
        return self.memories / f"{_folder(source)}.json"


def _newest(memory: Mapping[str, Any]) -> str:
    """What earlier versions of this code kept does not say it: then it counts from the last question."""
    return str(memory[_LAST_NEW] if _LAST_NEW in memory else memory[_LAST_ASKED])


def visits(
    store: NewsStore, sources: Iterable[NewsSource], *, start: datetime, clock: Callable[[], datetime]
) -> pl.DataFrame:
    """Ask every source; one row a source, in `VISIT_SCHEMA`."""
    rows = [store.visit(source, start=start, clock=clock) for source in sources]
    return pl.DataFrame(rows, schema=VISIT_SCHEMA)


def _visited(
    source: str, state: str, told: str | None, added: int = 0, put_aside: int = 0
) -> dict[str, object]:
    return {"source": source, "state": state, "told": told, "added": added, "put_aside": put_aside}


def _append(store: MonthlyStore, source: str, rows: pl.DataFrame, now: datetime) -> int:
    """Add the versions that are not held, in whatever month; how many there were."""
    folder = _folder(source)
    new = new_versions(store.read([folder]), rows, now)
    months = new.group_by(pl.col("known_at").dt.strftime("%Y-%m").alias("month"), maintain_order=True)
    for (month,), part in months:
        held = store.month_or_empty(folder, str(month))
        store.write(folder, str(month), pl.concat([held, part.select(held.columns)]))
    return new.height


def _folder(source: str) -> str:
    return quote(source, safe=" &").replace(".", "%2E")
