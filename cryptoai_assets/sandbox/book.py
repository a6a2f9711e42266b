"""The simulated order book: a pure function of the last price and the time, so that any moment can be drawn.

A level's size holds for a while of its own and is then drawn anew; two books a moment apart differ in few
levels, and the differences between any two books lead from one to the other exactly.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cryptoai_assets.sandbox.path import Floats, Whole, keys_at, uniform, uniform_at

STEP_MS = 100
DEPTH_TICKS = 200
# Update numbers that one step takes, so that a diff over several steps covers a range, as at the venue.
UPDATES_A_STEP = 8
_EMPTY_SHARE = 0.2
_LIFETIME_STEPS = (20, 400)


@dataclass(frozen=True, slots=True)
class Book:
    """Order book of one symbol at one moment.

    Parameters
    ----------
    update_id
        Number of the last update that is in it; grows with time.
    bids, asks
        ``(levels, 2)``: price and size, best first.
    """

    symbol: str
    at: datetime
    update_id: int
    bids: Floats
    asks: Floats

    def changes_since(self, earlier: "Book") -> tuple[Floats, Floats]:
        """Levels of bids and asks that differ from an earlier book, with their size now, 0 when gone."""
        return _changes(earlier.bids, self.bids), _changes(earlier.asks, self.asks)


def drawn_book(
    symbol: str, at: datetime, *, series: np.uint64, price: float, buy: bool, decimals: int, size: float
) -> Book:
    """Draw the book around the last trade, which was at the ask when a buyer started it, else at the bid.

    Parameters
    ----------
    series
        Key of the symbol's book.
    size
        Mean size of a level.
    """
    step = round(at.timestamp() * 1000) // STEP_MS
    scale = 10**decimals
    last = round(price * scale)
    key = keys_at(series, np.array([last]))
    spread = 1 + int(3 * uniform(key, 0, 1)[0, 0] ** 2)
    best_bid, best_ask = (last - spread, last) if buy else (last, last + spread)
    away = np.arange(DEPTH_TICKS)
    bids, asks = best_bid - away, best_ask + away
    return Book(
        symbol=symbol,
        at=at,
        update_id=step * UPDATES_A_STEP,
        bids=_levels(bids[bids > 0], scale, series=series, side=1, step=step, size=size),
        asks=_levels(asks, scale, series=series, side=2, step=step, size=size),
    )


def _levels(ticks: Whole, scale: int, *, series: np.uint64, side: int, step: int, size: float) -> Floats:
    keys = keys_at(series, ticks * 4 + side)
    shortest, longest = _LIFETIME_STEPS
    draws = uniform(keys, 1, 2)
    lifetime = shortest + np.floor((longest - shortest) * draws[:, 0]).astype(np.int64)
    life = (step + np.floor(lifetime * draws[:, 1]).astype(np.int64)) // lifetime
    empty = uniform_at(keys, 10 + 2 * life) < _EMPTY_SHARE
    empty[0] = False
    sizes = np.round(size * (0.02 - np.log(uniform_at(keys, 11 + 2 * life))), 8)
    return np.stack([ticks / scale, np.maximum(sizes, 1e-8)], axis=1)[~empty]


def _changes(earlier: Floats, later: Floats) -> Floats:
    before, after = dict(earlier.tolist()), dict(later.tolist())
    changed = [level for level in after.items() if before.get(level[0]) != level[1]]
    gone = [(price, 0.0) for price in before.keys() - after.keys()]
    return np.array(sorted(changed + gone), dtype=np.float64).reshape(-1, 2)
