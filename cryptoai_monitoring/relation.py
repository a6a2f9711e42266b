"""Whether forecasts still come true as they did: sums of their agreement with what came, along time.

An agreement can only be lost or turned, and how far it falls then is known beforehand: to nothing, or to its
opposite. No test sees a fall of known size sooner, at the same rate of false alarms, than the cumulative sum
of what each bar lacks of halfway there.

Source: E. S. Page, Continuous inspection schemes, Biometrika 41 (1954); G. V. Moustakides, Optimal stopping
times for detecting changes in distributions, Annals of Statistics 14 (1986).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.ndimage import minimum_filter1d

from cryptoai_monitoring.thresholds import AlarmRate, Float64Array, Int64Array, drawn_blocks

# Falls that are looked for, in parts of the usual agreement.
FALLS: Mapping[str, float] = {"lost": 1.0, "reversed": 2.0}
# Of a forecast that hardly ever agreed: falls of so much of its deviation are looked for.
SLIGHTEST = 0.02
# A bar further off the mean counts as this far, in deviations.
FARTHEST = 5.0


@dataclass(frozen=True, slots=True)
class Looks:
    """When is looked.

    Parameters
    ----------
    bars
        From one look to the next.
    a_day
        Looks of a day.
    longest
        Looks that a sum reaches back at most: what it says depends on no more bars than these.
    """

    bars: int
    a_day: int
    longest: int


@dataclass(frozen=True, slots=True)
class RelationWatch:
    """What is usual of columns of agreement, and from which sum on a fall is alarmed.

    Parameters
    ----------
    mean, deviation
        (columns,) of a bar.
    limits
        (falls, columns).
    """

    looks: Looks
    mean: Float64Array
    deviation: Float64Array
    limits: Float64Array

    @classmethod
    def of(cls, values: Float64Array, looks: Looks, rate: AlarmRate) -> Self:
        """Learn from a reference (rows, columns) of consecutive bars, NaN where an agreement is not known.

        The limits are those that the stated share of days exceeds in series of drawn hours. Each is drawn
        from hours that are themselves drawn from the reference, and judged by the reference's mean: so later
        days come from a market of which the reference is only a sample. Where days vary more than their hours
        would let them, as of a forecast that comes true by turns, the limits are as much wider.
        """
        mean = np.nanmean(values, axis=0)
        deviation = np.maximum(np.nanstd(values, axis=0), 1e-12)
        known = _Sums.of(_near(values, mean, deviation), looks).known()
        halfway = _halfway(mean, deviation)
        largest = np.concatenate(
            [
                known.drawn(one)
                .lacking(halfway, looks.longest)
                .reshape(-1, looks.a_day, len(FALLS), len(mean))
                .max(axis=1)
                for one in _drawn_twice(
                    -(-len(known.sums) // looks.a_day) * looks.a_day, len(known.sums), rate
                )
            ]
        )  # (days of all draws, falls, columns)
        each = np.maximum(np.quantile(largest, 1 - rate.a_day, axis=0), 1e-12)
        together = (largest / each).reshape(len(largest), -1).max(axis=1)
        limits = each * np.quantile(together, 1 - rate.a_day) * known.by_turns(mean, looks.a_day)
        return cls(looks, mean, deviation, limits)

    def excess(self, values: Float64Array) -> Float64Array:
        """(looks, falls, columns): 0 is usual, above 1 an alarm; the last look is after the last row."""
        sums = _Sums.of(_near(values, self.mean, self.deviation), self.looks)
        return sums.lacking(_halfway(self.mean, self.deviation), self.looks.longest) / self.limits


def _near(values: Float64Array, mean: Float64Array, deviation: Float64Array) -> Float64Array:
    return np.asarray(np.clip(values, mean - FARTHEST * deviation, mean + FARTHEST * deviation))


def _halfway(mean: Float64Array, deviation: Float64Array) -> Float64Array:
    """Agreement halfway down each fall, (falls, columns)."""
    fall = np.maximum(mean, SLIGHTEST * deviation)
    return np.stack([mean - part * fall / 2 for part in FALLS.values()])


def _drawn_twice(length: int, looks: int, rate: AlarmRate) -> Iterator[Int64Array]:
    """So many looks each time, drawn from as many as there are, which are themselves drawn."""
    pools = drawn_blocks(looks, looks, block_rows=1, draws=rate.draws, seed=rate.seed)
    picked = drawn_blocks(looks, length, block_rows=1, draws=rate.draws, seed=rate.seed + 1)
    for pool, pick in zip(pools, picked, strict=True):
        yield pool[pick]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums and counts of the known bars since the look before, (looks, columns)."""

    sums: Float64Array
    counts: Float64Array

    @classmethod
    def of(cls, values: Float64Array, looks: Looks) -> Self:
        known = ~np.isnan(values)
        starts = np.arange(len(values), 0, -looks.bars)[::-1] - looks.bars
        added = [
            np.add.reduceat(one, np.maximum(starts, 0), axis=0)
            for one in (np.where(known, values, 0.0), known.astype(np.float64))
        ]
        return cls(*added)

    def known(self) -> Self:
        """Leave out the looks before which nothing is known."""
        known = self.counts.any(axis=1)
        return type(self)(self.sums[known], self.counts[known])

    def drawn(self, looks: Int64Array) -> Self:
        """Sums and counts of some looks, one after another."""
        return type(self)(self.sums[looks], self.counts[looks])

    def by_turns(self, mean: Float64Array, a_day: int) -> Float64Array:
        """How much more a day's sum varies than its looks' would if none knew of another; at least 1."""
        whole = len(self.sums) // a_day * a_day
        beyond = (self.sums - mean * self.counts)[:whole].reshape(-1, a_day, len(mean))
        alone = np.maximum((beyond**2).sum(axis=(0, 1)), 1e-12)
        return np.asarray(np.maximum((beyond.sum(axis=1) ** 2).sum(axis=0) / alone, 1.0))

    def lacking(self, halfway: Float64Array, longest: int) -> Float64Array:
        """Most that any stretch up to each look lacks of what is halfway, (looks, falls, columns)."""
        lacks = np.cumsum(halfway * self.counts[:, None] - self.sums[:, None], axis=0)
        since = np.concatenate([np.zeros_like(lacks[:1]), lacks])
        lowest = minimum_filter1d(since, longest + 1, axis=0, mode="nearest", origin=longest // 2)
        return np.asarray(since - lowest)[1:]
