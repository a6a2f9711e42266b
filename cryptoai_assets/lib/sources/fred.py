"""Macro series of FRED with their ALFRED vintages, so that a value is known as it was first published."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import Reading, WebSource, number, plausible

BASE_URL = "https://api.stlouisfed.org/fred"
# 120 a minute: https://fred.stlouisfed.org/docs/api/fred/errors.html
REQUESTS_PER_SECOND = 2.0
KEY = "api_key"
Frequency = Literal["day", "week", "month", "quarter", "year"]
# Volatility index, broad dollar index, S&P 500.
SERIES: Mapping[str, Frequency] = {"VIXCLS": "day", "DTWEXBGS": "day", "SP500": "day"}
# A vintage is a date where the bank is.
BANK = ZoneInfo("America/Chicago")
# More than 2,000 vintages in one question are refused; five years hold 1,827 days.
VINTAGE_SPAN = timedelta(days=1_826)
MAX_ROWS = 100_000
_PATH = "/series/observations"
_DAY = timedelta(days=1)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_UNKNOWN = "."


@dataclass(frozen=True, slots=True)
class FredSource(WebSource):
    """Series under their ids, of the whole market; each revision is a fact of its own.

    A value whose vintages begin later than the value itself is known from its first vintage only.

    Parameters
    ----------
    web
        Its secrets hold `KEY`; without it the source is not configured.
    series
        Length of the period that a date of the series begins. A week is taken to begin on its date, which
        is late for the series whose weeks end there.
    """

    series: Mapping[str, Frequency]
    max_rows: int = MAX_ROWS

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        return None if self.web.secrets.get(KEY) else f"no API key of {self.name} is set"

    def _readings(self, start: datetime, end: datetime) -> Iterator[Reading]:
        for series, frequency in self.series.items():
            rows = self._vintages(series, start.astimezone(UTC), end.astimezone(UTC))
            yield from _versions(rows, series, frequency)

    def _vintages(self, series: str, start: datetime, end: datetime) -> Iterator[Any]:
        # Nothing is published before the period that it describes begins.
        opened, today = start.date(), self.witness.clock().astimezone(BANK).date()
        while opened <= today:
            closed = min(opened + VINTAGE_SPAN, today)
            window = {"realtime_start": opened.isoformat(), "realtime_end": closed.isoformat()}
            dates = {
                "observation_start": start.date().isoformat(),
                "observation_end": end.date().isoformat(),
            }
            yield from self._rows({"series_id": series, **dates, **window})
            opened = closed + _DAY

    def _rows(self, question: Mapping[str, str]) -> Iterator[Any]:
        offset = 0
        while True:
            page: dict[str, str | int] = {
                "limit": self.max_rows,
                "offset": offset,
                "sort_order": "asc",
                "file_type": "json",
            }
            answer = self.web.json(_PATH, {**question, **page})
            rows, count = list(answer["observations"]), int(answer["count"])
            yield from rows
            offset += len(rows)
            if offset >= count:
                return
            if not rows:
                raise SourceError(f"{self.name} gave {offset} of {count} observations: try again later")


def _versions(rows: Iterable[Any], series: str, frequency: Frequency) -> Iterator[Reading]:
    """Each version of each observation, when it first appeared.

    A question about a span of vintages is answered with the dates cut to that span, so a version that was
    there before comes again at the start of the next span.
    """
    last: dict[date, float] = {}
    parsed = [
        (date.fromisoformat(row["realtime_start"]), date.fromisoformat(row["date"]), row["value"])
        for row in rows
    ]
    for published, observed, text in sorted(parsed, key=lambda version: version[:2]):
        value = None if text == _UNKNOWN else number(text)
        if value is not None and last.get(observed) != value:
            last[observed] = value
            begins = plausible(datetime.combine(observed, time(), UTC))
            ends = _midnight(_following(observed, frequency))
            yield Reading(series, None, begins, ends, plausible(_midnight(published + _DAY)), value)


def _following(begins: date, frequency: Frequency) -> date:
    """First day after the period."""
    if frequency == "day":
        return begins + _DAY
    if frequency == "week":
        return begins + 7 * _DAY
    months = begins.year * 12 + begins.month - 1 + _MONTHS[frequency]
    return date(months // 12, months % 12 + 1, 1)


def _midnight(day: date) -> datetime:
    """When a day begins where the bank is."""
    return datetime.combine(day, time(), BANK).astimezone(UTC)
