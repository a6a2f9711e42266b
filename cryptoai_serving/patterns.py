"""Candlestick patterns in the latest bars, as the features of the same names see them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from edge_bundle.candles import interval_duration
from edge_bundle.features import candlesticks
from edge_bundle.features.catalog import computed_features
from edge_bundle.features.feature import Feature
from edge_bundle.windows import MarketWindow, window_grid

# Bars that are looked through, and those before them that a pattern is measured against.
LOOKED_THROUGH = 24
PATTERN_BARS = LOOKED_THROUGH + candlesticks.USUAL_BARS + 3


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that ended with a bar.

    Parameters
    ----------
    side
        Direction that the pattern's own sign tells; None where its name says it already.
    bars
        That it is made of.
    bars_ago
        0 for the newest bar.
    """

    name: str
    meaning: str
    side: Literal["up", "down"] | None
    bars: int
    open_time: datetime
    known_at: datetime
    bars_ago: int


@dataclass(frozen=True, slots=True)
class Patterns:
    """Patterns of one symbol, newest first, and the bar up to which was looked.

    Parameters
    ----------
    bars
        That were looked through; fewer than `LOOKED_THROUGH` where the bars are few.
    """

    found: tuple[Pattern, ...]
    known_at: datetime
    bars: int

    @property
    def strongest(self) -> Pattern | None:
        """Made of the most bars, then the newest: what asks for more is rarer. It is no promise."""
        return max(self.found, key=lambda pattern: (pattern.bars, -pattern.bars_ago), default=None)


def recent_patterns(window: MarketWindow, *, interval: str, max_missing_bars: int) -> Patterns:
    """Patterns of a window of one symbol, in its newest `LOOKED_THROUGH` bars."""
    grid = window_grid(window, interval=interval, max_missing_bars=max_missing_bars)
    members, step = candlesticks.patterns(), interval_duration(interval)
    values = computed_features(grid, members).tail(LOOKED_THROUGH)
    complete = values.filter(pl.all_horizontal(pl.col(member.name).is_not_null() for member in members))
    times = values["open_time"].to_list()
    found = [
        Pattern(
            name=member.name,
            meaning=member.meaning,
            side=_side(member, value),
            bars=member.warmup - candlesticks.USUAL_BARS + 1,
            open_time=times[row],
            known_at=times[row] + step,
            bars_ago=len(times) - 1 - row,
        )
        for member in members
        for row, value in enumerate(values[member.name])
        if value
    ]
    ordered = sorted(found, key=lambda pattern: (pattern.bars_ago, -pattern.bars, pattern.name))
    return Patterns(tuple(ordered), times[-1] + step, complete.height)


def _side(member: Feature, value: float) -> Literal["up", "down"] | None:
    if member.unit == "0 or 1":
        return None
    return "up" if value > 0 else "down"
