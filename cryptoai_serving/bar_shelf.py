"""Where the online store keeps packed bars: what every back end does, and where one is found."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import polars as pl

from edge_bundle.candles import CANDLE_SCHEMA

# Twice what the longest memory of the catalog may ever need.
KEPT_BARS = 10_000
# One bar as it is kept: reading thousands of numbers one by one would take longer than the forecast.
NUMBERS = tuple(name for name in CANDLE_SCHEMA if name not in ("open_time", "symbol"))
BAR = np.dtype([("open_time", "<i8"), *((name, "<f8") for name in NUMBERS)])
# A slot without a trade: when it opened, and from when on that is known.
SLOT = np.dtype([("open_time", "<i8"), ("known_at", "<i8")])
REDIS_SCHEMES = ("redis", "rediss", "unix")

Packed: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """A market's place in a Redis server.

    Parameters
    ----------
    address
        As in ``redis://:password@host:6379/0``; it may hold a password and is shown nowhere.
    market
        Whose bars these are: markets share a server and not their bars.
    """

    address: str
    market: str

    @property
    def name(self) -> str:
        """What may be shown of it."""
        return f"Redis at {urlsplit(self.address).hostname or 'a socket'}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.market})"


BarsPlace: TypeAlias = Path | RedisPlace


def bars_place(address: str, *, market: str) -> BarsPlace:
    """Place that a setting names: an address of Redis, or a file."""
    return RedisPlace(address, market) if urlsplit(address).scheme in REDIS_SCHEMES else Path(address)


def unpacked(stored: bytes | None, kind: np.dtype[Any]) -> Packed:
    """Bars or slots as they were packed; none of nothing."""
    return np.frombuffer(stored or b"", kind)


def merged(old: Packed, new: Packed) -> Packed:
    """Both in order of time; of two of the same time the one that came last."""
    both = np.concatenate([old, new])[::-1]
    return both[np.unique(both["open_time"], return_index=True)[1]]


def replaced(old: Packed, new: Packed) -> Packed:
    """The new ones in the place of all up to the newest of them, in order of time; newer ones stay."""
    return merged(old[old["open_time"] > new["open_time"].max()], new)


class BarShelf(ABC):
    """Bars and slots by symbol, each in order of time, and facts; times are microseconds since 1970.

    Every method but `revision` and `close` raises StoreUnavailableError when the back end does not answer,
    and tries again at the next call.
    """

    @abstractmethod
    def put_bars(self, bars: Mapping[str, Packed]) -> None:
        """Add bars or replace them, and keep the newest `KEPT_BARS`; slots before the oldest go with them."""

    @abstractmethod
    def replace_bars(self, bars: Mapping[str, Packed]) -> None:
        """Put bars in the place of all up to the newest of them; newer ones stay, and as many are kept."""

    @abstractmethod
    def put_slots(self, slots: Mapping[str, Packed]) -> None:
        """Add slots without a trade or replace them."""

    @abstractmethod
    def replace_facts(self, facts: pl.DataFrame) -> None:
        """Keep these facts and no others."""

    @abstractmethod
    def facts(self, names: Collection[str]) -> pl.DataFrame:
        """Facts of these names, in the order in which they were put."""

    @abstractmethod
    def latest(self, symbols: Sequence[str], bars: int) -> dict[str, Packed]:
        """At most the newest `bars` bars of each symbol."""

    @abstractmethod
    def window(self, symbols: Sequence[str], bars: int) -> tuple[dict[str, Packed], dict[str, Packed]]:
        """The same, and the slots after the oldest of them, as they were at one moment."""

    @abstractmethod
    def revision(self) -> Hashable | None:
        """Something that every change changes; None when it cannot be told at once."""

    @abstractmethod
    def close(self) -> None:
        """End what is open; a later use opens it again."""
