"""The seeded path of prices and volume inside a half-hour candle, drawn so that it gives back that candle.

It knows nothing about time: a half-hour is a key and a candle, and what is drawn depends on these alone, so
any half-hour is drawn without the ones before it.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

MINUTES = 30
LEVELS = 5
LEVEL_MS = 60_000 // LEVELS
_STEPS = MINUTES * (LEVELS - 1)
# Share of minutes in which nobody trades; the real minutes of 2018 have 0.2 % (BTC) to 0.5 % (ETH).
QUIET_SHARE = 0.004
# Mean range of a Brownian motion over its deviation: Feller, Annals of Mathematical Statistics 22, 1951.
_RANGE_OVER_DEVIATION = np.sqrt(8 / np.pi)
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


def half_hours(candles: Floats, *, keys: Keys, trades: Whole) -> HalfHours:
    """Draw the inside of half-hour candles.

    Parameters
    ----------
    candles
        ``(n, 5)``: open, high, low, close, volume; validated, volume above 0.
    keys
        ``(n,)``.
    trades
        ``(n,)``: number of trades in the half-hour, at least 150.
    """
    opened, _, _, closed, volume = candles.T
    early, late = _anchor_steps(keys)
    low_first = uniform(keys, 2, 1)[:, 0] < np.where(closed >= opened, 0.65, 0.35)
    at_low, at_high = np.where(low_first, early, late), np.where(low_first, late, early)
    activity = np.exp(0.6 * ndtri(uniform(keys, 10, MINUTES)))
    points = _points(candles, at_low, at_high, activity=activity, keys=keys)
    quiet = _quiet(keys, at_low, at_high)
    for minute in np.flatnonzero(quiet.any(axis=0)):
        span = slice(minute * 4, minute * 4 + LEVELS)
        points[quiet[:, minute], span] = points[quiet[:, minute], minute * 4][:, None]
    prices = points[:, 4 * np.arange(MINUTES)[:, None] + np.arange(LEVELS)]
    traded = np.repeat(~quiet, LEVELS, axis=1)
    weights = -np.log(uniform(keys, 200, MINUTES * LEVELS)) * np.repeat(activity, LEVELS, axis=1) + 0.05
    weights *= traded
    fraction, exponent = np.frexp(volume)
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


def _anchor_steps(keys: Keys) -> tuple[Whole, Whole]:
    """Two different inner steps, earlier and later, near the ends as the arcsine law has it."""
    spread = np.sin(np.pi / 2 * uniform(keys, 0, 2)) ** 2
    first, second = (1 + np.floor((_STEPS - 1) * spread).astype(np.int64)).clip(1, _STEPS - 1).T
    second = np.where(first == second, first % (_STEPS - 1) + 1, second)
    return np.minimum(first, second), np.maximum(first, second)


def _points(candles: Floats, at_low: Whole, at_high: Whole, *, activity: Floats, keys: Keys) -> Floats:
    """Prices at the 121 ends of steps: bridges from the open over both extremes to the close."""
    opened, high, low, closed, _ = candles.T
    rows = np.arange(len(keys))
    ends = np.zeros_like(rows), np.minimum(at_low, at_high), np.maximum(at_low, at_high), rows * 0 + _STEPS
    at_ends = opened, np.where(at_low < at_high, low, high), np.where(at_low < at_high, high, low), closed
    deviation = np.repeat(activity, LEVELS - 1, axis=1)
    clock = np.pad(np.cumsum(deviation**2, axis=1), ((0, 0), (1, 0)))
    walk = np.pad(np.cumsum(deviation * ndtri(uniform(keys, 40, _STEPS)), axis=1), ((0, 0), (1, 0)))
    walk *= ((high - low) / _RANGE_OVER_DEVIATION / np.sqrt(clock[:, -1]))[:, None]
    steps = np.arange(_STEPS + 1)
    leg = (steps >= ends[1][:, None]).astype(np.int64) + (steps >= ends[2][:, None])

    def on_leg(values: Floats, side: int) -> Floats:
        by_end = np.stack([values[rows, end] for end in ends], axis=1)
        return np.take_along_axis(by_end, leg + side, axis=1)

    def price_of(side: int) -> Floats:
        return np.take_along_axis(np.stack(at_ends, axis=1), leg + side, axis=1)

    duration = on_leg(clock, 1) - on_leg(clock, 0)
    part = np.divide(clock - on_leg(clock, 0), duration, out=np.zeros_like(clock), where=duration > 0)
    bridge = walk - on_leg(walk, 0) - part * (on_leg(walk, 1) - on_leg(walk, 0))
    points = _folded(price_of(0) + part * (price_of(1) - price_of(0)) + bridge, low, high)
    scale = 10.0 ** price_decimals(opened)[:, None]
    traded: Floats = np.clip(np.rint(points * scale) / scale, low[:, None], high[:, None])
    for step, price in ((at_low, low), (at_high, high), (ends[0], opened), (ends[3], closed)):
        traded[rows, step] = price
    return traded


def _folded(points: Floats, low: Floats, high: Floats) -> Floats:
    """Reflect at the extremes what runs over them."""
    width = np.where(high > low, high - low, 1.0)[:, None]
    within = np.mod((points - low[:, None]) / width, 2.0)
    folded: Floats = low[:, None] + np.where(within > 1, 2 - within, within) * width
    return folded


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
