"""The interface of every candle source: fetch a window of one symbol."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl


class SourceError(Exception):
    """A source cannot answer; the message names the source and what to do.

    ::

        SourceError
        └── SourceRefusedError          asking again is of no use
            └── NotConfiguredError      it lacks a setting, see `fact_source`
    """


class SourceRefusedError(SourceError):
    """A source will not answer this question, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source answered.

    Parameters
    ----------
    candles
        In `edge_bundle.candles.CANDLE_SCHEMA`, as the venue gave them, not screened.
    facts
        In `edge_bundle.facts.FACT_SCHEMA`; ``no_trade`` facts are slots answered without a bar.
    """

    candles: pl.DataFrame
    facts: pl.DataFrame


class CandleSource(Protocol):
    """A place that closed candles come from."""

    @property
    def name(self) -> str:
        """Stands as the source of its facts."""
        ...

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Closed bars with ``start <= open_time < end``; both times have a time zone."""
        ...
