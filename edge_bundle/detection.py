"""What a chart detector says of one window: which pattern, how sure, and where."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

KEY_POINTS = 5
# In place of a key point that a pattern does not have.
NO_BAR = -1


class Pattern(IntEnum):
    """The chart patterns of Lo, Mamaysky and Wang (2000); each top is followed by its mirror image."""

    NONE = 0
    HEAD_AND_SHOULDERS = 1
    INVERSE_HEAD_AND_SHOULDERS = 2
    BROADENING_TOP = 3
    BROADENING_BOTTOM = 4
    TRIANGLE_TOP = 5
    TRIANGLE_BOTTOM = 6
    RECTANGLE_TOP = 7
    RECTANGLE_BOTTOM = 8
    DOUBLE_TOP = 9
    DOUBLE_BOTTOM = 10

    @property
    def mirrored(self) -> "Pattern":
        """What the pattern is upside down."""
        return self if self is Pattern.NONE else Pattern(self - 1 if self % 2 == 0 else self + 1)

    @property
    def key_points(self) -> int:
        """Extrema that make the pattern."""
        return {0: 0, 9: 3, 10: 3}.get(self, KEY_POINTS)

    @property
    def starts_at_top(self) -> bool:
        """Whether the first extremum is a top."""
        return self % 2 == 1


@dataclass(frozen=True, slots=True)
class KeyPoint:
    """An extremum of a pattern.

    Parameters
    ----------
    bar
        Counted from the window's first, which is 0.
    price
        Close of that bar.
    """

    bar: int
    open_time: datetime
    price: float


@dataclass(frozen=True, slots=True)
class Detection:
    """A pattern in a window of one symbol.

    Parameters
    ----------
    confidence
        Share of certainty that the model gives to the pattern: agreement with the rule, no chance of profit.
    window_start, window_end
        Open times of the first and the last bar.
    key_points
        In order of time; none when no pattern is seen.
    """

    symbol: str
    pattern: Pattern
    confidence: float
    window_start: datetime
    window_end: datetime
    key_points: tuple[KeyPoint, ...]
    model: str
    bundle: str
