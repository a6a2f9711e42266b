"""The bars of one symbol in their order: from a stream where they came whole, from a source elsewhere.

It knows nothing about connections: it is told of bars, and of a new connection.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl

from cryptoai_assets.lib.sources.candle_source import (
    CandleSource,
    Fetched,
    SourceError,
    SourceRefusedError,
)
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import empty_facts, no_trade_slots

Values = tuple[float, ...]
# As an end: up to what the source has.
FAR = datetime(2200, 1, 1, tzinfo=UTC)
_BEGINNING = datetime.fromtimestamp(0, tz=UTC)


@dataclass(frozen=True, slots=True)
class StreamedBars:
    """Closed bars of one symbol that follow those before, and what is known of slots without one.

    Parameters
    ----------
    over_rest
        Whether they fill a hole of the stream; such bars say nothing about the stream's freshness.
    """

    symbol: str
    fetched: Fetched
    over_rest: bool


@dataclass(slots=True)
class BarSequence:
    """Which bars are due, and which a connection brought whole.

    Parameters
    ----------
    due
        Open time of the next bar to hand out.
    tells_closing
        Whether the venue says when a bar is closed.
    """

    due: datetime
    step: timedelta
    tells_closing: bool
    _whole: dict[datetime, Values] = field(default_factory=dict, init=False)
    _growing: dict[datetime, Values] = field(default_factory=dict, init=False)
    _joined_at: datetime | None = field(default=None, init=False)
    edge: datetime = field(default=_BEGINNING, init=False)
    """Everything that opens before it is closed, as far as the stream has told."""

    def begin_connection(self) -> None:
        """Trust no bar that grew before: its last word may have been missed."""
        self._joined_at = None

    def hear(self, opened: datetime, row: Values, *, closed: bool) -> None:
        """Take a bar as it is now; everything before a bar is closed."""
        self._joined_at = opened if self._joined_at is None else self._joined_at
        self.edge = max(self.edge, opened + self.step if closed else opened)
        if closed:
            self._whole[opened] = row
        elif not self.tells_closing:
            self._growing[opened] = row
            for earlier in [time for time in self._growing if time < self.edge]:
                grown = self._growing.pop(earlier)
                # A bar that was growing when the connection began may lack what came before.
                if earlier > self._joined_at:
                    self._whole[earlier] = grown

    def ready(self) -> list[tuple[datetime, Values]]:
        """Bars that are due and whole, without a hole before or between them; they are then handed out."""
        bars = []
        while self.due in self._whole:
            bars.append((self.due, self._whole.pop(self.due)))
            self.due += self.step
        return bars

    def hole(self) -> tuple[datetime, datetime] | None:
        """Start and end of the next slots that are closed and did not come whole."""
        if self.due >= self.edge or self.due in self._whole:
            return None
        return self.due, min([time for time in self._whole if time > self.due], default=self.edge)

    def pass_to(self, due: datetime) -> None:
        """Go on from there; what lies before is no longer wanted."""
        self.due = max(self.due, due)
        self._whole = {opened: row for opened, row in self._whole.items() if opened >= self.due}


@dataclass(slots=True)
class HoleFilling:
    """Hands out the bars of one symbol, with the holes filled from a source.

    Parameters
    ----------
    looks
        How often a slot may be left open by the source, or not be answered, before it is passed over.
    """

    source: CandleSource
    symbol: str
    looks: int
    sequence: BarSequence
    _looks_at: Counter[datetime] = field(default_factory=Counter, init=False)
    _looked: tuple[datetime, datetime] | None = field(default=None, init=False)

    async def handed_out(self) -> AsyncIterator[StreamedBars]:
        """Bars that are due: over the stream where they came whole, from the source elsewhere."""
        while True:
            if bars := self.sequence.ready():
                yield StreamedBars(self.symbol, _fetched(self.symbol, bars), over_rest=False)
            hole = self.sequence.hole()
            # The same hole is looked at again only when more has closed.
            if hole is None or (hole[1], self.sequence.edge) == self._looked:
                return
            self._looked = hole[1], self.sequence.edge
            filled = await self.filled(hole[1])
            if filled is not None:
                yield filled

    async def filled(self, end: datetime) -> StreamedBars | None:
        """What the source has from the bar that is due up to `end`, or to the first slot that it leaves open.

        An open slot is passed over when it was left open often enough; a source that fails leaves every slot
        open. None when there is nothing.
        """
        due, step = self.sequence.due, self.sequence.step
        try:
            answer = await asyncio.to_thread(self.source.fetch, self.symbol, due, end)
        except SourceRefusedError:
            raise
        except SourceError:
            answer = Fetched(pl.DataFrame(schema=CANDLE_SCHEMA), empty_facts())
        answered = pl.concat([answer.candles["open_time"], no_trade_slots(answer.facts)["open_time"]]).sort()
        if end == FAR:
            end = max(answered[-1] + step, due) if answered.len() else due
        slots = pl.datetime_range(due, end, step, closed="left", time_unit="us", time_zone="UTC", eager=True)
        left_open = slots.filter(~slots.is_in(answered.implode())).to_list()
        self._looks_at.update(left_open)
        known = next((slot for slot in left_open if self._looks_at[slot] < self.looks), end)
        self._looks_at = Counter({slot: n for slot, n in self._looks_at.items() if slot >= known})
        self.sequence.pass_to(known)
        part = _between(answer, due, known)
        if part.candles.is_empty() and part.facts.is_empty():
            return None
        return StreamedBars(self.symbol, part, over_rest=True)


def _fetched(symbol: str, bars: list[tuple[datetime, Values]]) -> Fetched:
    rows = [(opened, symbol, *row) for opened, row in bars]
    return Fetched(pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row"), empty_facts())


def _between(answer: Fetched, start: datetime, end: datetime) -> Fetched:
    """Part of an answer, in order of time; a row that is there twice, value for value, is kept once."""
    candles = answer.candles.filter(pl.col("open_time").is_between(start, end, closed="left"))
    facts = answer.facts.filter(pl.col("event_time").is_between(start, end, closed="left"))
    return Fetched(candles.unique(maintain_order=True).sort("open_time", maintain_order=True), facts)
