"""The interface of every source of news, and what it remembers from one visit to the next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from cryptoai_assets.lib.sources.candle_source import SourceError
from edge_bundle.news.articles import Found

Memory = Mapping[str, str | None]
NOTHING: Memory = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Brought:
    """What a visit brought.

    Parameters
    ----------
    found
        Items of the source, as it gave them: those since the last visit, and perhaps older ones again.
    memory
        What the source wants to be told at the next visit.
    complaint
        What was wrong with the answer though it could be read; None when nothing was.
    """

    found: Sequence[Found]
    memory: Memory
    complaint: str | None = None


class NewsSource(Protocol):
    """A place that news come from."""

    @property
    def name(self) -> str:
        """Stands as the source of its items."""
        ...

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        ...

    def fetch(self, since: datetime, memory: Memory) -> Brought:
        """Items published since a time, as far as the source goes back.

        Raises
        ------
        NotConfiguredError
            When something is `missing`.
        SourceError
            When it does not answer, or with what is not understood.
        """
        ...


def each_read(
    places: Sequence[str], since: datetime, memory: Memory, read: Callable[[str, datetime], Sequence[Found]]
) -> Brought:
    """Read the places of a source one by one; one that does not answer is told, and the others are read.

    What is remembered is since when those that did not answer are still to be read.

    Parameters
    ----------
    read
        Items of a place since a time.

    Raises
    ------
    SourceError
        When none answers.
    """
    found: list[Found] = []
    failed: list[SourceError] = []
    unread: dict[str, str | None] = {}
    for place in places:
        left = memory.get(place)
        begin = datetime.fromisoformat(left) if left else since
        try:
            found += read(place, begin)
        except SourceError as error:
            failed.append(error)
            unread[place] = begin.isoformat()
    told = "; ".join(dict.fromkeys(str(error) for error in failed))
    if failed and len(failed) == len(places):
        raise failed[0] if len(failed) == 1 else SourceError(told)
    return Brought(tuple(found), unread, told or None)
