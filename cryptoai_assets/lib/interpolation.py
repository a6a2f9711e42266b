"""Interpolated series: values between two releases that lie on a curve through both, and so know the next.

It knows only numbers and their times; a series that keeps its last value until the next one is honest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import polars as pl

Float64Array = npt.NDArray[np.float64]

# Points on either side of a value through which the curve is laid: a line, a cubic.
SIDES = (1, 2)
# How far apart they are, in rows: the wider, the less does rounding hide the curve.
STRIDES = (1, 2, 4)
# A value is on the curve when it is nearer to it than this part of a step between those points, or of the
# step without the trend of the whole series: what grows evenly, such as a coin's supply, is no curve.
TOLERANCE = 0.02
# On independent steps a fiftieth of the values is on the curve, on a mean over 200 bars a quarter, on the
# supply of ether two thirds; a line from week to week, day by day, has six sevenths.
MOST_ON_A_CURVE = 0.8
FEWEST_VALUES = 20
# A step of fewer units of the last decimal is not judged: on coarse numbers two equal steps are no line.
FEWEST_UNITS = 4
# A few judged values may lie on curves by chance.
LEAST_JUDGED = 0.1
_MOST_DECIMALS = 9
_SECONDS = pl.col("event_time").dt.epoch("us") / 1e6


@dataclass(frozen=True, slots=True)
class Interpolation:
    """A series most of whose moving values lie on curves through their neighbours.

    Parameters
    ----------
    share
        Of the moving values, those on a curve.
    values
        Moving values that were judged.
    """

    name: str
    symbol: str | None
    share: float
    values: int

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do about it."""
        return (
            f"{self.name}: {self.share:.0%} of {self.values} moving values lie on a curve through their "
            "neighbours, so a value between two releases knows the next one: take it as it was released"
        )


def interpolated_lookahead(facts: pl.DataFrame) -> list[Interpolation]:
    """Series of a fact frame that are interpolated, by name.

    Each value is judged as it was first known. Nothing is said of a series with fewer than `FEWEST_VALUES`
    moving values. Smoothing is not told from the values alone: a centred mean, which knows the future,
    passes, and a mean of a trailing mean, which does not, may be named.
    """
    first = facts.filter(pl.col("value").is_finite()).sort("known_at", maintain_order=True)
    first = first.unique(["symbol", "name", "event_time"], keep="first", maintain_order=True)
    found = []
    for (name, symbol), series in sorted(
        first.sort("event_time").group_by("name", "symbol"), key=lambda group: str(group[0])
    ):
        times, values = series.select(_SECONDS).to_series().to_numpy(), series["value"].to_numpy()
        share, count = share_on_a_curve(times, values)
        if count >= FEWEST_VALUES and share > MOST_ON_A_CURVE:
            found.append(Interpolation(str(name), None if symbol is None else str(symbol), share, count))
    return found


def share_on_a_curve(times: Float64Array, values: Float64Array) -> tuple[float, int]:
    """Share of the moving values that lie on a curve through their neighbours, and how many move.

    The largest share over lines and cubics, near and wide neighbours, even and true times: a curve is laid
    by one of these, and it is enough that one fits.

    Parameters
    ----------
    times, values
        Shape ``(rows,)``, times increasing.
    """
    rows = np.arange(len(values), dtype=np.float64)
    moving = int(np.count_nonzero(np.diff(values)))
    fewest = max(FEWEST_VALUES, LEAST_JUDGED * moving)
    shares = [
        np.mean(on) if len(on) >= fewest else 0.0
        for on in (_on_a_curve(*choice, values) for choice in product((rows, times), SIDES, STRIDES))
    ]
    return float(max(shares)), moving


def _on_a_curve(times: Float64Array, sides: int, stride: int, values: Float64Array) -> npt.NDArray[np.bool_]:
    """For each value that moves with its neighbours, whether it is on the curve through them."""
    reach = sides * stride
    count = len(values) - 2 * reach
    if count <= 0:
        return np.zeros(0, bool)
    places = list(range(0, 2 * reach + 1, stride))
    at = np.stack([times[place : place + count] for place in places])
    height = np.stack([values[place : place + count] for place in places])
    steps = np.diff(height, axis=0)
    trend = (values[-1] - values[0]) / (times[-1] - times[0])
    uneven = np.abs(steps - trend * np.diff(at, axis=0)).mean(axis=0)
    size = np.minimum(np.abs(steps).mean(axis=0), uneven)
    own = sides
    others = [place for place in range(len(places)) if place != own]
    curve = sum(weight * height[place] for place, weight in _lagrange(at, own, others))
    moving = np.all(np.abs(steps) > FEWEST_UNITS * _unit(values), axis=0)
    near: npt.NDArray[np.bool_] = np.abs(height[own] - curve) <= TOLERANCE * size
    return near[moving]


def _unit(values: Float64Array) -> float:
    """Unit of the last decimal that the values have; 0 when they have more than nine."""
    whole = (
        10.0**-places for places in range(_MOST_DECIMALS + 1) if np.array_equal(values.round(places), values)
    )
    return next(whole, 0.0)


def _lagrange(at: Float64Array, own: int, others: list[int]) -> Iterator[tuple[int, Float64Array]]:
    """Weight of each other point in the polynomial through them, read at the own one."""
    for place in others:
        rest = [other for other in others if other != place]
        factors = [(at[own] - at[other]) / (at[place] - at[other]) for other in rest]
        yield place, np.prod(factors, axis=0)
