"""Candle sources in a row, of which the first that answers is heard, and marked when it is not the first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from cryptoai_assets.lib.sources.candle_source import (
    CandleSource,
    Fetched,
    SourceError,
    SourceRefusedError,
)
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import FACT_SCHEMA

FROM_FALLBACK = "from_fallback"


@dataclass(frozen=True, slots=True)
class FallbackSource:
    """Asks one source after the other until one answers.

    Each candle of another than the first comes with a `FROM_FALLBACK` fact: its source is the one that
    answered, its value how many stood before it, and it is known now. A later one of 0 says that the first
    source has given the bar after all (`cryptoai_assets.lib.market_data`).

    Parameters
    ----------
    sources
        The one that is wanted first.
    clock
        When a mark is known.
    """

    sources: tuple[CandleSource, ...]
    clock: Callable[[], datetime]

    @property
    def name(self) -> str:
        """Name of the one that is wanted: what another one answers is marked with its own."""
        return self.sources[0].name

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Candles with ``start <= open_time < end`` from the first source that answers.

        Raises
        ------
        SourceRefusedError
            When every source refuses.
        SourceError
            When none answers; it tells what each of them said.
        """
        failures: list[SourceError] = []
        for place, source in enumerate(self.sources):
            try:
                fetched = source.fetch(symbol, start, end)
            except SourceError as failure:
                failures.append(failure)
            else:
                return self._marked(fetched, source.name, place) if place else fetched
        refused = all(isinstance(failure, SourceRefusedError) for failure in failures)
        told = "; ".join(str(failure) for failure in failures)
        raise (SourceRefusedError if refused else SourceError)(
            f"none of {len(self.sources)} sources gave {symbol}: {told}"
        )

    def _marked(self, fetched: Fetched, name: str, place: int) -> Fetched:
        marks = fetched.candles.select(
            "symbol",
            event_time=pl.col("open_time"),
            known_at=pl.lit(self.clock(), UTC_MICROSECONDS),
            source=pl.lit(name),
            name=pl.lit(FROM_FALLBACK),
            value=pl.lit(float(place)),
        )
        return Fetched(fetched.candles, pl.concat([fetched.facts, marks.cast(pl.Schema(FACT_SCHEMA))]))
