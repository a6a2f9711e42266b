"""What a stream of an order book says, in one form for all venues: snapshot, diff, best quote, trade.

Prices are in the quote currency, quantities in the base, times in nanoseconds since 1970 UTC. ``known_at_ns``
is when the message was received; ``event_time_ns`` is the venue's own time, None where it gives none. The two
clocks may differ by seconds either way: what is computed at a time may use ``known_at_ns`` only.
"""

from dataclasses import dataclass
from typing import TypeAlias

Level: TypeAlias = tuple[float, float]
"""Price and quantity; in a diff the quantity is the new total at that price, and 0 removes the level."""


class OrderBookError(Exception):
    """Base of the package's errors.

    OrderBookError
    ├── MessageError        a message is not what its venue's protocol says
    ├── CaptureError        a line of a capture cannot be read; it carries the line's number
    └── BookNotServedError  the book is unsynchronised: a snapshot has to come first
    """


class MessageError(OrderBookError):
    """A venue's message cannot become an event; the text names the field and what was found there."""


class BookNotServedError(OrderBookError):
    """The book is asked for while it is unsynchronised."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The book at one moment.

    Parameters
    ----------
    last_id
        Number of the last change that it holds.
    bids, asks
        Positive quantities; best first is not required.
    limit
        Levels that were asked for on each side; None when the venue always gives the whole book. A side with
        fewer levels than the limit is whole.
    """

    symbol: str
    known_at_ns: int
    event_time_ns: int | None
    last_id: int
    bids: list[Level]
    asks: list[Level]
    limit: int | None


@dataclass(frozen=True, slots=True)
class Diff:
    """Changes `first_id` to `last_id` of the book.

    Parameters
    ----------
    previous_id
        ``last_id`` of the diff before it; None where the venue does not say.
    """

    symbol: str
    known_at_ns: int
    event_time_ns: int | None
    first_id: int
    last_id: int
    previous_id: int | None
    bids: list[Level]
    asks: list[Level]


@dataclass(frozen=True, slots=True)
class BestQuote:
    """Best bid and ask after change `update_id` of the same book."""

    symbol: str
    known_at_ns: int
    event_time_ns: int | None
    update_id: int
    bid: Level
    ask: Level


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade, or one aggregate of trades at a price.

    Parameters
    ----------
    taker_side
        1 when the taker bought, -1 when the taker sold.
    """

    symbol: str
    known_at_ns: int
    event_time_ns: int | None
    id: int
    price: float
    quantity: float
    taker_side: int


BookEvent: TypeAlias = Snapshot | Diff | BestQuote
Event: TypeAlias = BookEvent | Trade
