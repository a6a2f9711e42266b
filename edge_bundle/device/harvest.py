"""Harvest: every minute the bars that have closed since, and those that are missing from before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from edge_bundle.candles import interval_duration
from edge_bundle.device.database import EPOCH, DeviceDatabase
from edge_bundle.device.settings import CLOCK_TOLERANCE
from edge_bundle.device.venue import PAGE_BARS, ReferencePrices, Venue
from edge_bundle.device.web import NoAnswerError

PROGRAM = "harvest"
# Times that the venue is asked, a run apart, before it is believed that it has no bar.
TRIES = 3
# Of one symbol in one run: a month of minutes is fetched within half an hour, and a run ends within seconds.
PAGES_A_RUN = 5
REFERENCE_BACK = timedelta(hours=1)
# Mark of a symbol whose first bar the venue was asked for what lies before, and had nothing.
_BEGINNING = "no bars before: "


@dataclass(frozen=True, slots=True)
class Harvested:
    """What one run did.

    Parameters
    ----------
    added
        New bars.
    newest
        Opening time of the newest bar by symbol; None where there is none yet.
    clock_ahead
        Of the device's clock before the venue's; None when the venue did not tell.
    failures
        What went wrong, a sentence each; none when all is well.
    """

    added: int
    newest: dict[str, datetime | None]
    clock_ahead: timedelta | None
    failures: tuple[str, ...]

    @property
    def clock_is_right(self) -> bool:
        """Whether the venue told its time, and the device's clock says the same."""
        return self.clock_ahead is not None and abs(self.clock_ahead) <= CLOCK_TOLERANCE


@dataclass(frozen=True, slots=True)
class Harvest:
    """Bars from a venue into the database.

    Parameters
    ----------
    reach
        How far back bars are wanted.
    """

    database: DeviceDatabase
    venue: Venue
    fallback: ReferencePrices | None
    symbols: Sequence[str]
    reach: timedelta

    def run(self, clock: datetime) -> Harvested:
        """Fetch what is missing, the newest first; what does not answer is told and asked again next time.

        Parameters
        ----------
        clock
            Of the device. Bars close by the venue's: one that is a day wrong makes no bar.
        """
        try:
            now = self.venue.now()
        except NoAnswerError as error:
            failures = [f"{error}", *self._price_failures(clock)]
            return Harvested(0, self._newest(), None, tuple(failures))
        failures = []
        if abs(clock - now) > CLOCK_TOLERANCE:
            failures.append(f"the clock is {clock - now} before the venue's: set it (timedatectl)")
        added = 0
        for symbol in self.symbols:
            try:
                added += self._symbol(symbol, now)
            except NoAnswerError as error:
                failures.append(f"{error}")
        return Harvested(added, self._newest(), clock - now, tuple(failures))

    def _symbol(self, symbol: str, now: datetime) -> int:
        step = interval_duration(self.venue.interval)
        end = now - (now - EPOCH) % step
        extent = self.database.extent(symbol)
        due = end - PAGE_BARS * step if extent is None else extent[1] + step
        newest_page = max(due, end - PAGE_BARS * step)
        # After weeks without a network the newest bars come first; the others are work for later.
        self.database.note_gaps(symbol, _slots(due, newest_page, step), now=now)
        # Those that the newest page leaves are for the next run: a moment later the venue has no more.
        missing = self.database.open_gaps(symbol)
        added = self._page(symbol, newest_page, end, now) if newest_page < end else 0
        work = chain(_spans(missing, step), self._history(symbol, end, step))
        for start, until in islice(work, PAGES_A_RUN):
            added += self._page(symbol, start, until, now)
        return added

    def _page(self, symbol: str, start: datetime, until: datetime, now: datetime) -> int:
        """Ask for a span, and write down what the venue has no bar of."""
        step = interval_duration(self.venue.interval)
        bars = self.venue.candles(symbol, start, until, now=now)
        added = self.database.add_candles(bars, source=self.venue.web.name, now=now)
        if extent := self.database.extent(symbol):
            first, newest = extent
            # Before the first bar there is no gap, and after the newest one it may only be late.
            absent = set(_slots(max(start, first), min(until, newest), step)) - set(bars["open_time"])
            self.database.note_gaps(symbol, sorted(absent), now=now, asked_of=TRIES)
            if bars.is_empty() and until == first:
                self.database.mark(_BEGINNING + symbol, first.isoformat(), now=now)
        return added

    def _history(self, symbol: str, end: datetime, step: timedelta) -> Iterator[tuple[datetime, datetime]]:
        """Pages before the first bar, as far back as is wanted and the venue has any."""
        while extent := self.database.extent(symbol):
            first = extent[0]
            if first <= end - self.reach or first == beginning(self.database, symbol):
                return
            yield first - PAGE_BARS * step, first

    def _price_failures(self, clock: datetime) -> list[str]:
        if self.fallback is None:
            return []
        failures = []
        for symbol in self.symbols:
            try:
                prices = self.fallback.prices(symbol, now=clock, back=REFERENCE_BACK)
            except NoAnswerError as error:
                failures.append(f"{error}")
            else:
                self.database.add_reference_prices(symbol, prices, source=self.fallback.web.name)
        return failures

    def _newest(self) -> dict[str, datetime | None]:
        extents = {symbol: self.database.extent(symbol) for symbol in self.symbols}
        return {symbol: extent[1] if extent else None for symbol, extent in extents.items()}


def beginning(database: DeviceDatabase, symbol: str) -> datetime | None:
    """Opening time of the first bar that the venue has; None while that is not known."""
    marked = database.marked(_BEGINNING + symbol)
    return None if marked is None else datetime.fromisoformat(marked[0])


def _spans(slots: Sequence[datetime], step: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Spans of a page that hold every slot, the newest first as the slots are."""
    while slots:
        until = slots[0] + step
        page = [slot for slot in slots if until - slot <= PAGE_BARS * step]
        yield page[-1], until
        slots = slots[len(page) :]


def _slots(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    return [start + place * step for place in range((end - start) // step)]
