"""The seeded path of prices and volume inside a half-hour candle, drawn so that it gives back that candle.

It knows nothing about time: a half-hour is a key and a candle, and what is drawn depends on these alone, so
any half-hour is drawn without the ones before it.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.special import ndtri

MINUTES = 30
LEVELS = 5
LEVEL_MS = 60_000 // LEVELS
_STEPS = MINUTES * (LEVELS - 1)
# Share of minutes in which nobody trades; the real minutes of 2018 have 0.2 % (BTC) to 0.5 % (ETH).
QUIET_SHARE = 0.004
_SHAPES, _NEAREST = 2**15, 16
_PAST_MINUTES = 5
_SIDE_AGAINST_MOVE = 0.15
_SIGNIFICANT_DIGITS = 5
_MOST_DECIMALS = 8

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))


def series_key(*parts: object) -> np.uint64:
    """Key of a series, from what names it; stable across machines and versions."""
    text = "/".join(map(str, parts)).encode()
    return np.uint64(int.from_bytes(blake2b(text, digest_size=8).digest(), "little"))


def keys_at(series: np.uint64, index: NDArray[np.int64]) -> Keys:
    """Independent keys of the elements of a series."""
    return _mixed(series + index.astype(np.uint64) * _GOLDEN)


def uniform(keys: Keys, first: int, count: int) -> Floats:
    """Numbers in (0, 1): draws `first` to ``first + count`` of each key, shape ``(keys, count)``."""
    return uniform_at(keys[:, None], np.arange(first, first + count))


def uniform_at(keys: Keys, draws: Whole) -> Floats:
    """Numbers in (0, 1): of each key the draw of that number; the two are broadcast."""
    bits = _mixed(keys + (draws.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mixed(bits: Keys) -> Keys:
    for shift, factor in _MIX:
        bits = (bits ^ (bits >> shift)) * factor
    return bits ^ (bits >> np.uint64(31))


def price_decimals(price: Floats) -> Whole:
    """Decimals of a price of five significant digits, the tick of the venue of the sample."""
    magnitude = np.floor(np.log10(price)).astype(np.int64)
    return np.clip(_SIGNIFICANT_DIGITS - 1 - magnitude, 0, _MOST_DECIMALS)


@dataclass(frozen=True, slots=True)
class HalfHours:
    """What happens inside n half-hours: 30 minutes of five price levels each, in the order of trading.

    Parameters
    ----------
    prices
        ``(n, 30, 5)``; the first level of a minute is its open, the last its close. Where nobody trades in
        a minute, all five are the last price.
    units
        ``(n, 30, 5)``: volume at each level, in whole units.
    unit
        ``(n,)``: a power of two. Every partial sum of volume is exact in float64, in any order.
    buys
        ``(n, 30, 5)``: whether the level's trades were started by buyers.
    trades
        ``(n, 30, 5)``: number of trades at each level; 0 in a minute without a trade.
    """

    prices: Floats
    units: Whole
    unit: Floats
    buys: NDArray[np.bool_]
    trades: Whole

    @property
    def volume(self) -> Floats:
        """Volume at each level."""
        return self.units * self.unit[:, None, None]


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of several half-hours in the order of time; arrays of one length.

    Parameters
    ----------
    half_hour
        Which of the half-hours, counted from 0.
    offset_ms
        Since the start of the half-hour.
    buy
        Whether a buyer started it.
    """

    half_hour: Whole
    offset_ms: Whole
    price: Floats
    volume: Floats
    buy: NDArray[np.bool_]


def half_hours(candles: Floats, *, keys: Keys, trades: Whole, signal: Floats) -> HalfHours:
    """Draw the inside of half-hour candles.

    Parameters
    ----------
    candles
        ``(n, 5)``: open, high, low, close, volume; validated, volume above 0.
    keys
        ``(n,)``.
    trades
        ``(n,)``: number of trades in the half-hour, at least 150.
    signal
        ``(n,)``: how much the volume of a minute tells of what follows, see `_told_by_volume`; 0 is nothing.
    """
    shapes = _shapes()
    points, activity = _points(candles, shapes, shapes.like(candles, keys=keys))
    at_low, at_high = _inner_extremes(points)
    _pin(points, candles, at_low, at_high)
    quiet = _quiet(keys, at_low, at_high)
    for minute in np.flatnonzero(quiet.any(axis=0)):
        span = slice(minute * 4, minute * 4 + LEVELS)
        points[quiet[:, minute], span] = points[quiet[:, minute], minute * 4][:, None]
    prices = points[:, 4 * np.arange(MINUTES)[:, None] + np.arange(LEVELS)]
    traded = np.repeat(~quiet, LEVELS, axis=1)
    told = activity * _told_by_volume(prices[:, :, -1], candles[:, 0], signal)
    weights = -np.log(uniform(keys, 200, MINUTES * LEVELS)) * np.repeat(told, LEVELS, axis=1) + 0.05
    weights *= traded
    fraction, exponent = np.frexp(candles[:, 4])
    shape = (len(keys), MINUTES, LEVELS)
    more_trades = np.repeat(activity, LEVELS, axis=1) * traded
    counts = traded + _shares(trades - traded.sum(axis=1), more_trades)
    return HalfHours(
        prices=prices,
        units=_shares((fraction * 2.0**53).astype(np.int64), weights).reshape(shape),
        unit=np.ldexp(1.0, exponent - 53),
        buys=_sides(points, keys).reshape(shape),
        trades=counts.reshape(shape),
    )


def trades_of(inside: HalfHours, *, keys: Keys) -> Trades:
    """Draw every trade of half-hours: each level's volume, split exactly among its trades."""
    counts, units = inside.trades.ravel(), inside.units.ravel()
    level = np.repeat(np.arange(counts.size), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    every = np.arange(level.size)
    half_hour = level // (MINUTES * LEVELS)
    # Draws of a half-hour are numbered from its own first trade on.
    number = every - np.searchsorted(half_hour, half_hour)
    weights = 0.05 - np.log(uniform_at(keys[half_hour], 1000 + 2 * number))
    # Whole weights: their sums, and so the trades, do not depend on the half-hours before.
    upto = np.cumsum(np.ceil(weights * 2**20).astype(np.int64))
    before = np.where(first > 0, upto[first - 1], 0)
    part = (upto - before) / (upto[first + counts[level] - 1] - before)
    bounds = np.floor(units[level] * part).astype(np.int64)
    place = (every - first + uniform_at(keys[half_hour], 1001 + 2 * number)) / counts[level]
    begin = np.where(every == first, 0, np.roll(bounds, 1))
    return Trades(
        half_hour=half_hour,
        offset_ms=LEVEL_MS * (level % (MINUTES * LEVELS)) + np.floor(LEVEL_MS * place).astype(np.int64),
        price=inside.prices.ravel()[level],
        volume=(bounds - begin) * inside.unit[half_hour],
        buy=inside.buys.ravel()[level],
    )


def _shares(totals: Whole, weights: Floats) -> Whole:
    """Split whole totals ``(n,)`` by weights ``(n, m)`` into whole parts that add up to them exactly."""
    upto = np.cumsum(weights, axis=1)
    # From the last part with a weight on the bound is exactly the total.
    bounds = np.floor(totals[:, None] * (upto / upto[:, -1:])).astype(np.int64)
    return np.diff(bounds, axis=1, prepend=0)


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Random walks of 120 steps, each also upside down, backwards and both, for any candle to be like one.

    A walk that is chosen by where it opens and closes between its extremes, and by nothing else, is what a
    random walk looks like inside such a candle: its extremes lie where chance has them, and its past tells
    nothing about its next step.

    Parameters
    ----------
    walks
        ``(n, 121)``, between 0, the low, and 1, the high.
    activity
        ``(n, 30)``: deviation of each minute.
    ends
        ``(4 n)`` places of open and close: of the walks, then upside down, backwards, and both.
    """

    walks: Floats
    activity: Floats
    ends: KDTree

    def like(self, candles: Floats, *, keys: Keys) -> Whole:
        """Number of a shape that opens and closes where each candle does, one of the nearest, by key."""
        opened, high, low, closed, _ = candles.T
        width = np.where(high > low, high - low, 1.0)
        _, nearest = self.ends.query(
            np.column_stack([opened - low, closed - low]) / width[:, None], k=_NEAREST
        )
        chosen = np.floor(uniform(keys, 0, 1) * _NEAREST).astype(np.int64)
        number: Whole = np.take_along_axis(nearest, chosen, axis=1)[:, 0]
        return number

    def drawn(self, number: Whole) -> tuple[Floats, Floats]:
        """Walks and activity of shapes."""
        turn, row = np.divmod(number, len(self.walks))
        walks, activity = self.walks[row], self.activity[row]
        backwards, upside_down = turn >= 2, turn % 2 == 1
        walks[backwards], activity[backwards] = walks[backwards, ::-1], activity[backwards, ::-1]
        walks[upside_down] = 1 - walks[upside_down]
        return walks, activity


@lru_cache(maxsize=1)
def _shapes() -> _Shapes:
    """Draw the shapes, the same on every machine."""
    keys = keys_at(series_key("shapes"), np.arange(_SHAPES))
    activity = np.exp(0.6 * ndtri(uniform(keys, 0, MINUTES)))
    moves = np.repeat(activity, LEVELS - 1, axis=1) * ndtri(uniform(keys, MINUTES, _STEPS))
    walks = np.pad(np.cumsum(moves, axis=1), ((0, 0), (1, 0)))
    walks -= walks.min(axis=1, keepdims=True)
    walks /= walks.max(axis=1, keepdims=True)
    ends = walks[:, [0, -1]]
    turned = np.concatenate([ends, 1 - ends, ends[:, ::-1], 1 - ends[:, ::-1]])
    return _Shapes(walks, activity, KDTree(turned))


def _points(candles: Floats, shapes: _Shapes, number: Whole) -> tuple[Floats, Floats]:
    """Prices at the 121 ends of steps, on ticks, and the activity of each minute."""
    opened, high, low, closed, _ = (column[:, None] for column in candles.T)
    walks, activity = shapes.drawn(number)
    points = low + walks * (high - low)
    # A shape opens and closes near the candle's prices, not on them.
    part = np.linspace(0.0, 1.0, _STEPS + 1)
    points += (1 - part) * (opened - points[:, :1]) + part * (closed - points[:, -1:])
    scale = 10.0 ** price_decimals(opened)
    traded: Floats = np.clip(np.rint(points * scale) / scale, low, high)
    return traded, activity


def _inner_extremes(points: Floats) -> tuple[Whole, Whole]:
    """Two different inner steps: of the low and of the high, the ends left out."""
    rows, inner = np.arange(len(points)), points[:, 1:-1].copy()
    at_low = inner.argmin(axis=1)
    inner[rows, at_low] = -np.inf
    return 1 + at_low, 1 + inner.argmax(axis=1)


def _pin(points: Floats, candles: Floats, at_low: Whole, at_high: Whole) -> None:
    """Put the candle's four prices into its points."""
    opened, high, low, closed, _ = candles.T
    points[:, 0], points[:, -1] = opened, closed
    for extreme, step, inside in (
        (low, at_low, low < np.minimum(opened, closed)),
        (high, at_high, high > np.maximum(opened, closed)),
    ):
        points[inside, step[inside]] = extreme[inside]


def _told_by_volume(closes: Floats, opened: Floats, signal: Floats) -> Floats:
    """Factor of a minute's volume, ``(n, 30)``: more where the last move turns back, less where it goes on.

    Where the signal is below 0 it is the other way round. The last move is that of five minutes, and what
    follows is the rest of the half-hour. This is the one thing drawn that tells of later minutes: neither
    past prices nor past volume alone do, both together do, by a factor of ``exp(signal)`` either way.

    Source of the idea: Campbell, Grossman and Wang, "Trading volume and serial correlation in stock
    returns", Quarterly Journal of Economics 108, 1993.
    """
    minute = np.arange(MINUTES)
    before = np.column_stack([opened, closes])[:, np.maximum(minute + 1 - _PAST_MINUTES, 0)]
    goes_on = np.sign((closes - before) * (closes[:, -1:] - closes))
    factor: Floats = np.exp(-signal[:, None] * goes_on)
    return factor


def _quiet(keys: Keys, at_low: Whole, at_high: Whole) -> NDArray[np.bool_]:
    """Minutes without a trade, ``(n, 30)``; never the first or the last, nor one that touches an extreme."""
    quiet = uniform(keys, 170, MINUTES) < QUIET_SHARE
    quiet[:, [0, -1]] = False
    for step in (at_low, at_high):
        quiet[np.arange(len(keys)), (step - 1) // (LEVELS - 1)] = False
    return quiet


def _sides(points: Floats, keys: Keys) -> NDArray[np.bool_]:
    """Who started the trades of each level: mostly the side that the price moved to, ``(n, 150)``."""
    moved = np.diff(points, axis=1, prepend=points[:, :1])
    chance = uniform(keys, 400, MINUTES * LEVELS)
    level_moves = moved[:, 4 * np.arange(MINUTES)[:, None] + np.arange(LEVELS)].reshape(len(keys), -1)
    towards_up = np.where(level_moves > 0, 1 - _SIDE_AGAINST_MOVE, _SIDE_AGAINST_MOVE)
    return chance < np.where(level_moves == 0, 0.5, towards_up)
