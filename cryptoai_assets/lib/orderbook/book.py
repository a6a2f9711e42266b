"""The local order book: a snapshot and the diffs after it, served only while their sequence is whole."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush, nlargest, nsmallest
from math import inf

from cryptoai_assets.lib.orderbook.events import (
    BestQuote,
    BookEvent,
    BookNotServedError,
    Diff,
    Level,
    OrderBookError,
    Snapshot,
    Trade,
)


class AnomalyKind(StrEnum):
    """What can be wrong with a stream.

    A *gap* misses messages; a *duplicate* came before; *out of order* is older than one that came before;
    *crossed* bids at or above an ask; an *old snapshot* ends before the first diff that is kept.
    """

    GAP = "gap"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out of order"
    CROSSED = "crossed"
    OLD_SNAPSHOT = "old snapshot"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One finding, named.

    Parameters
    ----------
    after_id
        Number of the last change that was held before the message; None at the first.
    found_id
        Number of the first change that the message holds.
    """

    kind: AnomalyKind
    symbol: str
    known_at_ns: int
    after_id: int | None
    found_id: int

    def __str__(self) -> str:
        return f"{self.kind} in {self.symbol}: {self.found_id} came after {self.after_id}"


@dataclass(frozen=True, slots=True)
class SequenceRules:
    """How a venue numbers its messages. Each function takes the last number held, and the next diff.

    Parameters
    ----------
    superseded
        The snapshot with this number holds the diff already.
    starts
        The diff may be the first after the snapshot with this number.
    follows
        The diff comes right after the diff with this number.
    trades_count_up
        The numbers of a symbol's trades have no holes; those of single and of aggregate trades do not mix.
    """

    name: str
    superseded: Callable[[int, Diff], bool]
    starts: Callable[[int, Diff], bool]
    follows: Callable[[int, Diff], bool]
    trades_count_up: bool


# Source: Binance, "How to manage a local order book correctly", of the spot and of the futures documents.
BINANCE_SPOT = SequenceRules(
    name="Binance spot",
    superseded=lambda held, diff: diff.last_id <= held,
    starts=lambda held, diff: diff.first_id <= held + 1 <= diff.last_id,
    # Two connections cut the same changes differently: an overlap repeats totals and loses nothing.
    follows=lambda held, diff: diff.first_id <= held + 1,
    trades_count_up=True,
)
BINANCE_FUTURES = SequenceRules(
    name="Binance futures",
    superseded=lambda held, diff: diff.last_id < held,
    starts=lambda held, diff: diff.first_id <= held <= diff.last_id or diff.previous_id == held,
    follows=lambda held, diff: diff.previous_id == held,
    trades_count_up=True,
)
# Bitstamp numbers nothing: its times tell order and duplicates, but a lost diff leaves no trace in them. The
# book may cross by it, and the next snapshot puts it right without a word: take one often.
BITSTAMP = SequenceRules(
    name="Bitstamp",
    superseded=lambda held, diff: diff.last_id < held,
    starts=lambda _held, _diff: True,
    follows=lambda held, diff: diff.last_id > held,
    trades_count_up=False,
)


class _Ladder:
    """One side of a book: quantities by price, and a heap of prices that may hold removed ones."""

    __slots__ = ("_heap", "_sign", "quantities")

    def __init__(self, levels: Iterable[Level], *, best_is_highest: bool) -> None:
        self._sign = -1.0 if best_is_highest else 1.0
        self.quantities = {price: quantity for price, quantity in levels if quantity}
        self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [self._sign * price for price in self.quantities]
        heapify(self._heap)

    def update(self, levels: Iterable[Level]) -> None:
        quantities, heap, sign = self.quantities, self._heap, self._sign
        for price, quantity in levels:
            if quantity:
                if price not in quantities:
                    heappush(heap, sign * price)
                quantities[price] = quantity
            else:
                quantities.pop(price, None)
        if len(heap) > 2 * len(quantities) + 1000:
            self._rebuild()

    def best_price(self) -> float | None:
        heap, sign = self._heap, self._sign
        while heap and sign * heap[0] not in self.quantities:
            heappop(heap)
        return sign * heap[0] if heap else None

    def drop_better_than(self, limit: float) -> None:
        while (best := self.best_price()) is not None and self._sign * best < self._sign * limit:
            del self.quantities[best]

    def best_levels(self, count: int) -> list[Level]:
        nearest = nlargest if self._sign < 0 else nsmallest
        return [(price, self.quantities[price]) for price in nearest(count, self.quantities)]


class _Sides:
    """Both ladders, the number of the last change in them, and what the snapshot below them reached."""

    __slots__ = ("asks", "base_id", "bids", "held", "reach", "started")

    def __init__(self, snapshot: Snapshot) -> None:
        self.bids = _Ladder(snapshot.bids, best_is_highest=True)
        self.asks = _Ladder(snapshot.asks, best_is_highest=False)
        self.held = self.base_id = snapshot.last_id
        self.started = False
        limit = inf if snapshot.limit is None else snapshot.limit
        self.reach = (
            0.0 if len(snapshot.bids) < limit else min((price for price, _ in snapshot.bids), default=0.0),
            inf if len(snapshot.asks) < limit else max((price for price, _ in snapshot.asks), default=inf),
        )

    def fits(self, diff: Diff, rules: SequenceRules) -> bool:
        return (rules.follows if self.started else rules.starts)(self.held, diff)

    def apply(self, diff: Diff) -> None:
        self.bids.update(diff.bids)
        self.asks.update(diff.asks)
        self.held = diff.last_id
        self.started = True

    def trim(self, quote: BestQuote) -> None:
        if quote.update_id > self.held:
            self.bids.drop_better_than(quote.bid[0])
            self.asks.drop_better_than(quote.ask[0])

    def crossed(self) -> bool:
        bid, ask = self.bids.best_price(), self.asks.best_price()
        return bid is not None and ask is not None and bid >= ask


class LocalBook:
    """The book of one symbol, kept from what its venue sends.

    It is unsynchronised until a snapshot comes, and again from each gap, crossing or late diff until the next
    one. Diffs are kept, so that a snapshot may be older than the newest of them: those after it are applied
    in the order of their numbers. A snapshot for a book that is synchronised renews its reach.

    A best quote that is newer than the diffs removes the levels that are better than it: the venue says that
    they are gone before its next diff does. Quantities come from snapshots and diffs alone.

    Parameters
    ----------
    kept_diffs
        Newest diffs that a snapshot may be followed by.
    """

    def __init__(self, symbol: str, rules: SequenceRules, *, kept_diffs: int) -> None:
        self.symbol = symbol
        self.rules = rules
        self._kept_diffs = kept_diffs
        self._diffs: dict[tuple[int, int], Diff] = {}
        self._newest_id: int | None = None
        self._quote: BestQuote | None = None
        self._sides: _Sides | None = None

    @property
    def synchronised(self) -> bool:
        """Whether the book is served."""
        return self._sides is not None

    def take(self, event: BookEvent) -> list[Anomaly]:
        """Apply the next message in the order of receipt, and say what is wrong with it.

        Raises
        ------
        OrderBookError
            When the event is of another symbol.
        """
        if event.symbol != self.symbol:
            raise OrderBookError(f"the book of {self.symbol} was given a message of {event.symbol}")
        match event:
            case BestQuote():
                found = self._take_quote(event)
            case Diff():
                found = self._take_diff(event)
            case Snapshot():
                found = self._take_snapshot(event)
        return [] if found is None else [found]

    def bids(self, levels: int) -> list[Level]:
        """The best `levels` bids, highest first; fewer when there are no more.

        Raises
        ------
        BookNotServedError
            When the book is unsynchronised.
        """
        return self._served().bids.best_levels(levels)

    def asks(self, levels: int) -> list[Level]:
        """The best `levels` asks, lowest first; fewer when there are no more.

        Raises
        ------
        BookNotServedError
            When the book is unsynchronised.
        """
        return self._served().asks.best_levels(levels)

    def within(self, lowest: float, highest: float) -> tuple[list[Level], list[Level]]:
        """Bids at or above `lowest` and asks at or below `highest`, in no order.

        Raises
        ------
        BookNotServedError
            When the book is unsynchronised.
        """
        sides = self._served()
        return (
            [level for level in sides.bids.quantities.items() if level[0] >= lowest],
            [level for level in sides.asks.quantities.items() if level[0] <= highest],
        )

    def reach(self) -> tuple[float, float]:
        """Lowest bid and highest ask that the snapshot told of; beyond them only changed levels are known.

        0 and infinity where the snapshot held the whole side. A market that nears its reach needs another
        snapshot before its depth means anything.

        Raises
        ------
        BookNotServedError
            When the book is unsynchronised.
        """
        return self._served().reach

    def _served(self) -> _Sides:
        if self._sides is None:
            raise BookNotServedError(
                f"the book of {self.symbol} is not synchronised: give it a snapshot of {self.rules.name}"
            )
        return self._sides

    def _take_quote(self, quote: BestQuote) -> Anomaly | None:
        if quote.bid[0] >= quote.ask[0]:
            crossed = AnomalyKind.CROSSED
            return Anomaly(crossed, self.symbol, quote.known_at_ns, self._held(), quote.update_id)
        self._quote = quote
        if self._sides is not None:
            self._sides.trim(quote)
        return None

    def _take_diff(self, diff: Diff) -> Anomaly | None:
        held = self._held()
        kind = self._verdict(diff)
        if kind is not AnomalyKind.DUPLICATE:
            self._keep(diff)
            kind = self._applied(diff, kind)
        if kind is None:
            return None
        return Anomaly(kind, self.symbol, diff.known_at_ns, held, diff.first_id)

    def _applied(self, diff: Diff, kind: AnomalyKind | None) -> AnomalyKind | None:
        """Apply what a served book has to know next, or stop serving it; what is wrong, all told."""
        sides = self._sides
        if sides is None or self.rules.superseded(sides.base_id, diff):
            return kind
        if kind is AnomalyKind.OUT_OF_ORDER or not sides.fits(diff, self.rules):
            self._sides = None
            return kind or AnomalyKind.GAP
        sides.apply(diff)
        if sides.crossed():
            self._sides = None
            return AnomalyKind.CROSSED
        return kind

    def _verdict(self, diff: Diff) -> AnomalyKind | None:
        """What its number says of a diff, whether or not the book is synchronised."""
        if (diff.first_id, diff.last_id) in self._diffs:
            return AnomalyKind.DUPLICATE
        if self._newest_id is None:
            return None
        if diff.last_id <= self._newest_id:
            return AnomalyKind.OUT_OF_ORDER
        return None if self.rules.follows(self._newest_id, diff) else AnomalyKind.GAP

    def _keep(self, diff: Diff) -> None:
        self._diffs[diff.first_id, diff.last_id] = diff
        self._newest_id = diff.last_id if self._newest_id is None else max(self._newest_id, diff.last_id)
        if len(self._diffs) > self._kept_diffs:
            del self._diffs[next(iter(self._diffs))]

    def _take_snapshot(self, snapshot: Snapshot) -> Anomaly | None:
        """Build anew; a snapshot that does not fit leaves the book as it was."""
        sides = _Sides(snapshot)
        kind = self._replayed(sides)
        if kind is not None:
            return Anomaly(kind, self.symbol, snapshot.known_at_ns, self._held(), snapshot.last_id)
        if self._quote is not None:
            sides.trim(self._quote)
        self._sides = sides
        return None

    def _replayed(self, sides: _Sides) -> AnomalyKind | None:
        """Apply the kept diffs that the snapshot does not hold."""
        for diff in sorted(self._diffs.values(), key=lambda diff: (diff.last_id, diff.first_id)):
            if self.rules.superseded(sides.base_id, diff):
                continue
            if not sides.fits(diff, self.rules):
                return AnomalyKind.OLD_SNAPSHOT
            sides.apply(diff)
        if self._sides is not None and sides.held < self._sides.held:
            return AnomalyKind.OLD_SNAPSHOT
        return AnomalyKind.CROSSED if sides.crossed() else None

    def _held(self) -> int | None:
        return self._newest_id if self._sides is None else self._sides.held


class TradeTape:
    """The numbers of one symbol's trades: each trade once, and no hole unseen where the venue counts up.

    Parameters
    ----------
    kept_ids
        Newest numbers among which a duplicate is recognised.
    """

    def __init__(self, symbol: str, rules: SequenceRules, *, kept_ids: int) -> None:
        self.symbol = symbol
        self.rules = rules
        self._kept_ids = kept_ids
        self._ids: dict[int, None] = {}
        self._newest_id: int | None = None

    def take(self, trade: Trade) -> Anomaly | None:
        """Say what is wrong with the next trade in the order of receipt; only a duplicate is not to be used.

        Raises
        ------
        OrderBookError
            When the trade is of another symbol.
        """
        if trade.symbol != self.symbol:
            raise OrderBookError(f"the tape of {self.symbol} was given a trade of {trade.symbol}")
        kind, newest = self._verdict(trade.id), self._newest_id
        if kind is not AnomalyKind.DUPLICATE:
            self._ids[trade.id] = None
            self._newest_id = trade.id if newest is None else max(newest, trade.id)
        if len(self._ids) > self._kept_ids:
            del self._ids[next(iter(self._ids))]
        return None if kind is None else Anomaly(kind, self.symbol, trade.known_at_ns, newest, trade.id)

    def _verdict(self, number: int) -> AnomalyKind | None:
        if self._newest_id is None:
            return None
        if number in self._ids:
            return AnomalyKind.DUPLICATE
        if number < self._newest_id:
            return AnomalyKind.OUT_OF_ORDER
        whole = not self.rules.trades_count_up or number == self._newest_id + 1
        return None if whole else AnomalyKind.GAP
