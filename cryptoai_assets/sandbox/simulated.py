"""What the simulated outside world has in common: its clock, its draws by seed and date, and its mark."""

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, Protocol

from starlette.responses import JSONResponse

DAY = timedelta(days=1)
MARK: Mapping[str, str] = MappingProxyType({"x-cryptoai-simulated": "1"})
# Two slow waves and some noise: a series that wanders without leaving its level.
_WAVES_DAYS = (47.0, 391.0)
_NOISE = 0.04


class Market(Protocol):
    """The part of the sandbox's market that the outside world needs."""

    def now(self) -> datetime:
        """Market time; nothing that is published later is told."""
        ...


def marked(content: Any, status: int = 200) -> JSONResponse:
    """Answer that says that it is simulated."""
    return JSONResponse(content, status, headers=dict(MARK))


def draw(seed: int, *what: object) -> float:
    """Number in [0, 1) that depends on the seed and on what it is for, never on what was drawn before."""
    digest = hashlib.blake2b(repr((seed, *what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def daily_value(seed: int, name: str, day: date, *, level: float, swing: float) -> float:
    """Value of a simulated series on a day.

    Parameters
    ----------
    swing
        Logarithm by which each of its waves leaves the level.
    """
    phases = [draw(seed, name, "phase", wave) for wave in _WAVES_DAYS]
    waves = sum(
        math.sin(2 * math.pi * (day.toordinal() / wave + phase))
        for wave, phase in zip(_WAVES_DAYS, phases, strict=True)
    )
    return level * math.exp(swing * waves + _NOISE * (draw(seed, name, day) - 0.5))


def midnight(day: date) -> datetime:
    """When a day begins in UTC."""
    return datetime.combine(day, time(), UTC)


def epoch(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())
