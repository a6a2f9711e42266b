"""The forecast record, which the service and the device write and monitoring reads."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self

AbstentionReason = Literal[
    "stale_data", "too_many_gaps", "too_few_bars", "missing_facts", "outside_training_range", "stopped"
]
VALUE_NAMES = ("expected_return_bps", "probability_up", "expected_volatility_bps", "lower_bps", "upper_bps")
# What a member of an ensemble says is in outputs that are named after it, as in xgboost/probability_up.
MEMBER_VALUE_NAMES = VALUE_NAMES[:3]
MEMBER_SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class Abstention:
    """Why no forecast is given, as a word for programs and a sentence with the numbers."""

    reason: AbstentionReason
    detail: str


@dataclass(frozen=True, slots=True)
class HorizonForecast:
    """Forecast of one horizon; every value is None when the forecast abstains.

    Parameters
    ----------
    horizon_bars
        Bars after the last bar read.
    expected_return_bps, lower_bps, upper_bps
        Log return of the close over the horizon, and its interval, in basis points.
    probability_up
        That the return is above 0, given that it is not 0.
    expected_volatility_bps
        Root of the sum of squared one-bar log returns over the horizon, in basis points.
    """

    horizon_bars: int
    expected_return_bps: float | None
    probability_up: float | None
    expected_volatility_bps: float | None
    lower_bps: float | None
    upper_bps: float | None


@dataclass(frozen=True, slots=True)
class MemberForecast:
    """What one member of an ensemble says of one horizon, as if it had been asked alone.

    Parameters
    ----------
    name
        Kind of the member, such as ``xgboost``.
    """

    name: str
    horizon_bars: int
    expected_return_bps: float
    probability_up: float
    expected_volatility_bps: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """One model output for one symbol and time, all horizons.

    Parameters
    ----------
    open_time, known_at
        Open of the last bar read, and its close: the time from which the forecast holds.
    bundle
        SHA-256 of the bundle's manifest.
    interval_coverage
        Share of outcomes that the interval is made to hold.
    input_sha256
        Of the float32 input that the model read; None when there was none.
    newest_input
        Features of its last bar as float32 bytes, for who keeps what a forecast was made from. It is not part
        of what goes over the wire.
    members
        What each member of an ensemble says of each horizon; none where the forecast abstains, where there is
        no ensemble, and from bundles whose graphs tell the whole alone. It is not part of the record either.
    """

    symbol: str
    open_time: datetime
    known_at: datetime
    interval: str
    model: str
    bundle: str
    interval_coverage: float
    horizons: tuple[HorizonForecast, ...]
    abstention: Abstention | None
    input_sha256: str | None
    newest_input: bytes | None = field(default=None, compare=False, repr=False)
    members: tuple[MemberForecast, ...] = field(default=(), compare=False, repr=False)

    def stopped(self, why: str) -> Self:
        """Return the abstention that is given in its place while its version may not speak."""
        silent = tuple(
            HorizonForecast(one.horizon_bars, **dict.fromkeys(VALUE_NAMES)) for one in self.horizons
        )
        abstention = self.abstention or Abstention("stopped", why)
        return replace(self, horizons=silent, abstention=abstention, members=())

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, with times in ISO 8601."""
        record = asdict(self)
        del record["newest_input"], record["members"]
        record["horizons"] = list(record["horizons"])
        return record | {"open_time": self.open_time.isoformat(), "known_at": self.known_at.isoformat()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        abstention = record["abstention"]
        return cls(
            **{
                **record,
                "open_time": datetime.fromisoformat(record["open_time"]),
                "known_at": datetime.fromisoformat(record["known_at"]),
                "horizons": tuple(HorizonForecast(**horizon) for horizon in record["horizons"]),
                "abstention": Abstention(**abstention) if abstention else None,
            }
        )


def member_names(outputs: Iterable[str]) -> tuple[str, ...]:
    """Members of an ensemble, in their order, by the outputs of its graph; none for other graphs."""
    named = [name.partition(MEMBER_SEPARATOR) for name in outputs]
    return tuple(dict.fromkeys(member for member, separator, _ in named if separator))
