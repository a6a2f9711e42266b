"""Freshness of a stream: bars received against bars due, whatever the connection says of itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_EPOCH = datetime.fromtimestamp(0, tz=UTC)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one symbol's bars at one moment.

    Parameters
    ----------
    bars_due
        Bars that should be here since the newest one received, or since the watch began.
    newest
        Open time of the newest bar received; None when there was none.
    due_since
        When the first of the absent bars was due; None when none is absent.
    late
        Whether that is longer ago than the tolerance.
    """

    symbol: str
    bars_due: int
    newest: datetime | None
    due_since: datetime | None
    late: bool


def verdict(
    symbol: str,
    *,
    newest: datetime | None,
    watched_since: datetime,
    interval: timedelta,
    tolerance: timedelta,
    now: datetime,
) -> Verdict:
    """Judge one symbol: a bar is due when it has closed, and late when `tolerance` has gone by since.

    The first bar due is the one after the newest received, or the one that opens first after the watch
    began. With a tolerance of up to one interval, a stream that falls silent is found out at the latest two
    intervals after its last bar closed.
    """
    wanted = _slot_from(watched_since, interval) if newest is None else newest + interval
    bars_due = max((now - wanted) // interval, 0)
    due_since = wanted + interval if bars_due else None
    late = due_since is not None and now - due_since >= tolerance
    return Verdict(symbol, bars_due, newest, due_since, late)


@dataclass(slots=True)
class FreshnessWatch:
    """Newest bars of a stream, judged at any moment.

    Bars that come another way, such as one that fills a hole over REST, are not to be told to it: they would
    hide a stream that delivers nothing.

    Parameters
    ----------
    since
        When the stream was asked for; nothing that closed before is due.
    tolerance
        How long after its close a bar may arrive, at most one interval.
    """

    symbols: tuple[str, ...]
    interval: timedelta
    since: datetime
    tolerance: timedelta
    _newest: dict[str, datetime] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Refuse a tolerance with which an alarm could take more than two intervals; raises ValueError."""
        if not timedelta(0) <= self.tolerance <= self.interval:
            raise ValueError(
                f"tolerance is {self.tolerance}: at least 0 and at most the {self.interval} of a bar"
            )

    def received(self, symbol: str, open_times: Iterable[datetime]) -> None:
        """Take note of bars, or of slots that the venue says nobody traded in, in any order."""
        newest = max(open_times, default=None)
        if newest is not None:
            self._newest[symbol] = max(newest, self._newest.get(symbol, newest))

    def verdicts(self, now: datetime) -> tuple[Verdict, ...]:
        """Verdict of every symbol."""
        return tuple(
            verdict(
                symbol,
                newest=self._newest.get(symbol),
                watched_since=self.since,
                interval=self.interval,
                tolerance=self.tolerance,
                now=now,
            )
            for symbol in self.symbols
        )

    def late(self, now: datetime) -> tuple[Verdict, ...]:
        """Verdicts that are an alarm."""
        return tuple(one for one in self.verdicts(now) if one.late)


def _slot_from(moment: datetime, interval: timedelta) -> datetime:
    """The first slot that opens then or later."""
    return _EPOCH - (_EPOCH - moment) // interval * interval
