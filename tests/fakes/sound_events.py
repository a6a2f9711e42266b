"""What every event of an order book promises, whatever it was read from."""

from math import isfinite

from cryptoai_assets.lib.orderbook.events import BestQuote, Event, Trade


def is_sound(event: Event) -> bool:
    """Whether an event keeps what its class promises."""
    match event:
        case Trade():
            numbers, sides = [event.price, event.quantity], event.taker_side in (1, -1)
        case BestQuote():
            numbers, sides = [*event.bid, *event.ask], True
        case _:
            numbers, sides = [number for level in [*event.bids, *event.asks] for number in level], True
    return sides and all(isfinite(number) and number >= 0 for number in numbers) and event.known_at_ns > 0
