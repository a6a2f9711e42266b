"""Drift within the hour: cheap statistics of every column along time, all judged as one family.

Most of what changes in a market is its volatility, which changes everything at once and says nothing about a
fault. So a column's size is read relative to that of the columns beside it, and drift of all of them together
is left to the weeks' statistics of `cryptoai_monitoring.drift`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np
import polars as pl

from cryptoai_monitoring.relation import FALLS, Looks, RelationWatch
from cryptoai_monitoring.thresholds import (
    PARTS,
    AlarmRate,
    BooleanArray,
    Float64Array,
    Int64Array,
    Scale,
    alarm_scale,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WINDOWS = {"6h": HOUR * 6, "1d": DAY, "3d": DAY * 3, "10d": DAY * 10}
# Statistics whose threshold is drawn, and those that must go beyond all that the reference ever showed.
MEANS = (*(("level", name) for name in WINDOWS), *(("size", name) for name in ("6h", "1d", "3d")))
DRAWN = (*(f"{kind}_{name}" for kind, name in MEANS), "jump_1h")
SHOWN = ("still", "absent_1h", "absent_1d")
STATISTICS = (*DRAWN, *SHOWN, *FALLS)
# Of the rate, what is left to falls of agreement where there is any to watch.
RELATION_SHARE = 0.25
# A value further off counts as this far, in spreads; one wild bar is no shift of level.
FARTHEST = 5.0
# Of the usual innovation: what is smaller counts as this small, lest a value that stands rule the logarithm.
SMALLEST_INNOVATION = 0.1
# Beyond what the reference ever showed, so much longer, and at least so much, is an alarm.
BEYOND = 1.25
SHORTEST_STILL, SMALLEST_ABSENT = 2.5, 0.25
# Share of a window that must be known for its mean.
KNOWN_SHARE = 0.5
# Greatest exponent with which noise grows with volatility; and what keeps a still market solvable.
STEEPEST, SMALLEST_RIDGE = 1.5, 1e-9


@dataclass(frozen=True, slots=True)
class Pace:
    """How many bars a time has.

    Parameters
    ----------
    bar
        Length of a bar, at most a day.
    """

    bar: timedelta

    def bars(self, span: timedelta) -> int:
        """Bars of a span, at least one."""
        return max(1, span // self.bar)

    def looks(self, rows: int) -> Int64Array:
        """Rows after which is looked, an hour apart, the last row among them."""
        return np.arange(rows - 1, -1, -self.bars(HOUR))[::-1]

    @property
    def longest(self) -> int:
        """Bars that a look reads."""
        return self.bars(max(WINDOWS.values())) + 1

    @property
    def sums(self) -> Looks:
        """Looks of the sums that are added up along time."""
        hour = self.bars(HOUR)
        return Looks(hour, max(1, self.bars(DAY) // hour), self.bars(max(WINDOWS.values())) // hour)


@dataclass(frozen=True, slots=True)
class Column:
    """A watched column.

    Parameters
    ----------
    symbol, name
        Whose it is, and what.
    agreement
        Whether it says how well forecasts came true. Then no level is strange for being high, and what it
        lacks is summed up, see `cryptoai_monitoring.relation`.
    """

    symbol: str
    name: str
    agreement: bool = False


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual of each column, (columns,).

    Parameters
    ----------
    centre, spread
        Median, and median absolute deviation as that of a normal distribution.
    memory
        Correlation of neighbouring bars.
    innovation
        Median of the absolute innovation, in spreads.
    """

    centre: Float64Array
    spread: Float64Array
    memory: Float64Array
    innovation: Float64Array

    @classmethod
    def of(cls, values: Float64Array) -> Self:
        """Read it off a reference (rows, columns)."""
        centre = np.nanmedian(values, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(values - centre), axis=0)
        spread = np.where(spread > 0, spread, np.nanstd(values, axis=0))
        # A column that never moved has no unit of its own.
        spread = np.where(spread > 0, spread, 1e-9 * np.maximum(np.abs(centre), 1))
        scaled = (values - centre) / spread
        near = np.clip(scaled, -FARTHEST, FARTHEST)
        away = near - np.nanmean(near, axis=0)
        variance = np.maximum(np.nanmean(away**2, axis=0), 1e-12)
        memory = np.clip(np.nanmean(away[1:] * away[:-1], axis=0) / variance, 0, 1)
        moved = np.abs(scaled[1:] - memory * scaled[:-1])
        innovation = np.nanmedian(moved, axis=0)
        innovation = np.where(innovation > 0, innovation, np.maximum(np.nanmean(moved, axis=0), 1e-9))
        return cls(centre, spread, memory, innovation)

    def scaled(self, values: Float64Array) -> Float64Array:
        """Values in spreads from their centre."""
        return np.asarray((values - self.centre) / self.spread, dtype=np.float64)

    def sizes(self, scaled: Float64Array) -> Float64Array:
        """Logarithm of each innovation's size; the first row has none."""
        moved = np.abs(scaled[1:] - self.memory * scaled[:-1]) / self.innovation
        first = np.full((1, scaled.shape[1]), np.nan)
        return np.asarray(np.vstack([first, np.log(moved + SMALLEST_INNOVATION)]))


@dataclass(frozen=True, slots=True)
class Explained:
    """What a symbol's volatility explains of the windows' means, by window.

    Parameters
    ----------
    mean
        (kinds and windows, columns, regressors) of a mean on the volatility of its window.
    noise
        (kinds and windows, columns): by how much what is left grows with it, as an exponent.
    """

    mean: Float64Array
    noise: Float64Array

    @classmethod
    def of(cls, means: Float64Array, market: Float64Array) -> Self:
        """Fit each column by least squares on its symbol's volatility, where both are known."""
        windows = _windows()
        readable: BooleanArray = np.asarray(np.isfinite(market).all(axis=-1))
        known = np.isfinite(means) & readable[:, windows]
        count = np.maximum(known.sum(axis=0), 1)
        mean, noise = np.zeros((*means.shape[1:], market.shape[-1])), np.zeros(means.shape[1:])
        for place, window in enumerate(windows):
            use = known[:, place]
            along = np.where(use[..., None], market[:, window], 0.0)  # (looks, columns, regressors)
            found = np.where(use, means[:, place], 0.0)
            square = np.einsum("lcr,lcs->crs", along, along)
            trace = np.maximum(np.trace(square, axis1=1, axis2=2), 1e-12)[:, None, None]
            product = np.einsum("lcr,lc->cr", along, found)
            ridge = SMALLEST_RIDGE * trace * np.eye(along.shape[-1])
            mean[place] = np.linalg.solve(square + ridge, product[..., None])[..., 0]
            left = np.abs(found - np.einsum("lcr,cr->lc", along, mean[place]))
            logs = np.log(left + 0.1 * left.sum(axis=0) / count[place] + 1e-12)
            volatility = along[..., 1]
            away = np.where(use, volatility - volatility.sum(axis=0) / count[place], 0.0)
            slope = (away * logs).sum(axis=0) / np.maximum((away**2).sum(axis=0), 1e-12)
            noise[place] = np.clip(slope, 0, STEEPEST)
        return cls(mean, noise)

    def left(self, means: Float64Array, market: Float64Array) -> Float64Array:
        """Absolute means without what the volatility explains, in units of what is usual at it."""
        windows = _windows()
        along = market[:, windows]  # (looks, kinds and windows, columns, regressors)
        left = means - np.einsum("lwcr,wcr->lwc", along, self.mean)
        return np.asarray(np.abs(left) * np.exp(-self.noise * along[..., 1]))


@dataclass(frozen=True, slots=True)
class HourlyWatch:
    """A reference by which every hour is judged."""

    columns: tuple[Column, ...]
    pace: Pace
    usual: Usual
    explained: Explained
    scale: Scale
    relation: RelationWatch | None

    @classmethod
    def of(cls, values: Float64Array, columns: Sequence[Column], pace: Pace, rate: AlarmRate) -> Self:
        """Learn from a reference (rows, columns) of consecutive bars, NaN where a value is absent.

        Raises
        ------
        ValueError
            When the reference is too short, see `alarm_scale`.
        """
        agreements = _agreements(columns)
        share = RELATION_SHARE if agreements.any() else 0.0
        usual = Usual.of(values)
        seen = _Seen.of(values, usual, columns, pace)
        seen = seen.of_looks(slice(pace.longest // pace.bars(HOUR), None))  # the first windows are not full
        path = _held_out_path(seen)
        flat = path.reshape(len(path), -1)
        days: Int64Array = pace.looks(len(values))[-len(path) :] // pace.bars(DAY)
        scale = alarm_scale(flat[:, : len(DRAWN) * len(columns)], days, rate.part(1 - share))
        explained = Explained.of(seen.means, seen.market)
        relation = RelationWatch.of(values[:, agreements], pace.sums, rate.part(share)) if share else None
        return cls(tuple(columns), pace, usual, explained, _with_shown(scale, path), relation)

    def excess(self, values: Float64Array) -> Float64Array:
        """(looks, statistics, columns): 0 is usual, above 1 an alarm; NaN where too little is known.

        Looks whose windows reach before the first row are among them.
        """
        path = _Seen.of(values, self.usual, self.columns, self.pace).path(self.explained)
        excess = self.scale.excess(path.reshape(len(path), -1)).reshape(path.shape)
        falls: Float64Array = np.full((len(path), len(FALLS), len(self.columns)), np.nan)
        if self.relation:
            agreements = _agreements(self.columns)
            falls[:, :, agreements] = self.relation.excess(values[:, agreements])
        return np.concatenate([excess, falls], axis=1)

    def table(self, values: Float64Array) -> pl.DataFrame:
        """Judge the newest hour.

        Parameters
        ----------
        values
            (rows, columns), at least `Pace.longest` of them.

        Returns
        -------
        DataFrame
            ``symbol``, ``column``, ``statistic`` (the one with the largest excess), ``excess``, ``drifted``
            (excess above 1); one row a column, the largest excess first.
        """
        newest = np.nan_to_num(self.excess(values[-self.pace.longest :])[-1], nan=0.0)
        return pl.DataFrame(
            {
                "symbol": [column.symbol for column in self.columns],
                "column": [column.name for column in self.columns],
                "statistic": [STATISTICS[place] for place in newest.argmax(axis=0)],
                "excess": newest.max(axis=0),
                "drifted": newest.max(axis=0) > 1,
            }
        ).sort("excess", descending=True)


def _with_shown(scale: Scale, path: Float64Array) -> Scale:
    """Add the statistics that must go beyond all that the reference showed."""
    shown = path[:, len(DRAWN) :]
    least = np.array([SHORTEST_STILL, SMALLEST_ABSENT, SMALLEST_ABSENT])[:, None]
    beyond = np.maximum(BEYOND * shown.max(axis=0), least).ravel()
    return Scale(
        np.concatenate([scale.middle, np.zeros(len(beyond))]),
        np.concatenate([scale.spread, beyond / scale.limit]),
        scale.limit,
    )


def _agreements(columns: Sequence[Column]) -> BooleanArray:
    return np.array([column.agreement for column in columns])


def _groups(columns: Sequence[Column]) -> Int64Array:
    symbols = sorted({column.symbol for column in columns})
    return np.array([symbols.index(column.symbol) for column in columns], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is seen at each look, before anything is judged.

    Parameters
    ----------
    means
        (looks, kinds and windows, columns): levels of each window, then sizes.
    market
        (looks, windows, columns, regressors): of the volatility of the column's symbol.
    rest
        (looks, statistics, columns): the statistics that are no means.
    """

    means: Float64Array
    market: Float64Array
    rest: Float64Array

    @classmethod
    def of(cls, values: Float64Array, usual: Usual, columns: Sequence[Column], pace: Pace) -> Self:
        looks = pace.looks(len(values))
        scaled = usual.scaled(values)
        size = usual.sizes(scaled)
        level = np.where(_agreements(columns), np.nan, np.clip(scaled, -FARTHEST, FARTHEST))
        kinds = {"level": level, "size": size}
        absent = np.isnan(values).astype(np.float64)
        common = _common(size, _groups(columns))
        spans = [pace.bars(span) for span in WINDOWS.values()]
        rest = [
            _largest(size - common, looks, pace.bars(HOUR)),
            _stands(values, looks),
            *(_means(absent, looks, pace.bars(span)) for span in (HOUR, DAY)),
        ]
        return cls(
            np.stack([_means(kinds[kind], looks, pace.bars(WINDOWS[name])) for kind, name in MEANS], axis=1),
            _regressors(np.stack([_means(common, looks, bars) for bars in spans], axis=1)),
            np.stack(rest, axis=1),
        )

    def of_looks(self, looks: slice | BooleanArray) -> "_Seen":
        """Leave out all other looks."""
        return _Seen(self.means[looks], self.market[looks], self.rest[looks])

    def path(self, explained: Explained) -> Float64Array:
        """(looks, statistics, columns), in the order of `STATISTICS`."""
        return np.concatenate([explained.left(self.means, self.market), self.rest], axis=1)


def _held_out_path(seen: _Seen) -> Float64Array:
    """Path of a reference, each part of it by what the volatility explains in the others."""
    looks = np.arange(len(seen.rest))
    parts = []
    for part in np.array_split(looks, PARTS):
        others = seen.of_looks(~np.isin(looks, part))
        parts.append(seen.of_looks(np.isin(looks, part)).path(Explained.of(others.means, others.market)))
    return np.concatenate(parts)


def _windows() -> Int64Array:
    """Place of the window of each of `MEANS`."""
    return np.array([list(WINDOWS).index(name) for _, name in MEANS])


def _common(size: Float64Array, groups: Int64Array) -> Float64Array:
    """Median size of the innovations of each column's group; 0 where fewer than three can be compared."""
    common = np.zeros_like(size)
    for group in np.unique(groups):
        inside = groups == group
        if inside.sum() > 2:
            common[:, inside] = _middle(size[:, inside])[:, None]
    return common


def _regressors(volatility: Float64Array) -> Float64Array:
    """One, the window's volatility and its exponential, and that of the day; (looks, windows, columns, 4).

    A reference holds few long windows: of theirs the volatility alone is read, lest chance be explained.
    """
    day = np.broadcast_to(volatility[:, [list(WINDOWS).index("1d")]], volatility.shape)
    short = np.array([span <= DAY for span in WINDOWS.values()])[:, None]
    beside = [np.where(short, one, 0.0) for one in (np.exp(volatility), day)]
    return np.stack([np.ones_like(volatility), volatility, *beside], axis=-1)


def _means(values: Float64Array, looks: Int64Array, bars: int) -> Float64Array:
    """Mean of the known ones of the last bars at each look; NaN where fewer than half are known."""
    known = ~np.isnan(values)
    start = np.zeros((1, values.shape[1]))
    sums = np.vstack([start, np.cumsum(np.where(known, values, 0.0), axis=0)])
    counts = np.vstack([start, np.cumsum(known, axis=0)])
    first = np.maximum(looks + 1 - bars, 0)
    total, count = sums[looks + 1] - sums[first], counts[looks + 1] - counts[first]
    enough = count >= KNOWN_SHARE * bars
    absent: Float64Array = np.full(total.shape, np.nan)
    return np.asarray(np.divide(total, count, out=absent, where=enough & (count > 0)), dtype=np.float64)


def _largest(values: Float64Array, looks: Int64Array, bars: int) -> Float64Array:
    """Largest known one of the last bars at each look."""
    rows = np.maximum(looks[:, None] - np.arange(bars), 0)
    found = np.where(np.isnan(values), -np.inf, values)[rows].max(axis=1)
    return np.where(np.isfinite(found), found, np.nan)


def _stands(values: Float64Array, looks: Int64Array) -> Float64Array:
    """Consecutive bars with the very same value up to each look; 1 where the last one is new or absent."""
    rows = np.arange(len(values))[:, None]
    changed = np.vstack([np.ones((1, values.shape[1]), bool), values[1:] != values[:-1]])
    began = np.maximum.accumulate(np.where(changed, rows, 0), axis=0)
    return np.asarray((rows - began + 1)[looks], dtype=np.float64)


def _middle(values: Float64Array) -> Float64Array:
    """Median of each row's known values; 0 where none is."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(values)).sum(axis=1)
    rows = np.arange(len(values))
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    middle = (ordered[rows, low] + ordered[rows, np.minimum(high, values.shape[1] - 1)]) / 2
    return np.where(count > 0, middle, 0.0)
