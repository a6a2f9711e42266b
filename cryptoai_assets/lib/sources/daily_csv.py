"""Daily closes of another market, from a CSV file with the epoch second at which each session opened."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cryptoai_assets.lib.sources.fact_source import FileSource, Reading, number, plausible

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Session:
    """Hours of a market.

    Parameters
    ----------
    closes_at
        On its own clock, in ``zone``; a session that closes early is taken to close then too.
    """

    zone: ZoneInfo
    closes_at: time

    def close(self, opened: datetime) -> datetime:
        """Next close after the session opened, in UTC."""
        local = opened.astimezone(self.zone)
        closing = datetime.combine(local.date(), self.closes_at, self.zone)
        if closing.astimezone(UTC) <= opened:
            closing = datetime.combine(local.date() + _DAY, self.closes_at, self.zone)
        return closing.astimezone(UTC)


NEW_YORK = ZoneInfo("America/New_York")
# https://www.nyse.com/markets/hours-calendars, https://www.cboe.com/tradable_products/vix/,
# https://www.ice.com/products/194/us-dollar-index-futures
STOCKS = Session(NEW_YORK, time(16))
VOLATILITY = Session(NEW_YORK, time(16, 15))
CURRENCIES = Session(NEW_YORK, time(17))


@dataclass(frozen=True, slots=True)
class DailyCsvSource(FileSource):
    """Closes of one series, of the whole market, known when its session ends.

    Its file has the columns ``timestamp`` and ``close``. A ``date`` column is not read: it may be of any time
    zone.

    Parameters
    ----------
    series
        Name of the facts.
    """

    series: str
    session: Session
    name: str = "daily file"

    @property
    def content(self) -> str:
        """What the file holds, for messages."""
        return self.series

    def _read(self, text: str) -> Iterator[Reading]:
        return session_readings(text, series=self.series, session=self.session)


def session_readings(text: str, *, series: str, session: Session) -> Iterator[Reading]:
    """Readings of a file.

    Raises
    ------
    KeyError, ValueError
        When a column is absent, or a value cannot be read.
    """
    for row in csv.DictReader(text.splitlines(), strict=True):
        opened, value = plausible(datetime.fromtimestamp(int(row["timestamp"]), UTC)), number(row["close"])
        if value is not None:
            closed = session.close(opened)
            yield Reading(series, None, opened, closed, closed, value)
