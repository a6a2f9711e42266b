"""Google Trends, read from the CSV file that its page exports; there is no maintained client."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

from cryptoai_assets.lib.sources.fact_source import FileSource, Reading, number, plausible

PREFIX = "search_interest_"
# Its dates are of no stated time zone, and a period's value settles after its end.
PUBLICATION_DELAY = timedelta(days=1)
# A value under 1 is written so.
_BELOW_ONE, _HALF = "<1", 0.5
_FIRST_CELLS = ("month", "week", "day", "date", "time")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class GoogleTrendsSource(FileSource):
    """Interest in one or more search terms by month, week or day, of the whole market, named after the term.

    .. warning::
       Google scales a whole export to its own largest value, 100, which may lie in the future of any row.
       A level therefore knows the future; only what no scale changes, such as a change in deviations of the
       values before it, is fit for use, and only within one export.
    """

    name: str = "Google Trends"

    @property
    def content(self) -> str:
        """What the file holds, for messages."""
        return self.name

    def _read(self, text: str) -> Iterator[Reading]:
        return export_readings(text)


def export_readings(text: str) -> Iterator[Reading]:
    """Readings of an export, in the order of time; its newest period, which may still have run, is left out.

    Raises
    ------
    ValueError
        When it is no export: no header, a row too long or short, a date twice, no even step.
    """
    rows = [row for row in csv.reader(text.splitlines(), strict=True) if any(cell.strip() for cell in row)]
    heads = [place for place, row in enumerate(rows) if row[0].strip().lower() in _FIRST_CELLS]
    if not heads:
        raise ValueError(f"no header that begins with one of {', '.join(_FIRST_CELLS)}")
    terms = [_fact_name(cell) for cell in rows[heads[0]][1:]]
    table = sorted((_date(row[0]), row[1:]) for row in rows[heads[0] + 1 :])
    usual = median([(later - earlier).days for (earlier, _), (later, _) in pairwise(table)] or [1])
    for (begins, cells), (following, _) in pairwise(table):
        ends = _end(begins, usual)
        if following < ends:
            raise ValueError(f"{following:%Y-%m-%d} comes before the period of {begins:%Y-%m-%d} ended")
        for term, cell in zip(terms, cells, strict=True):
            value = _HALF if cell.strip() == _BELOW_ONE else number(cell.strip())
            if value is not None:
                yield Reading(term, None, begins, ends, ends + PUBLICATION_DELAY, value)


def _end(begins: datetime, days: float) -> datetime:
    """End of a period that begins then, where most are so many days apart."""
    if days in (1, 7):
        return begins + days * _DAY
    if 28 <= days <= 31 and begins.day == 1:
        return (begins + 31 * _DAY).replace(day=1)
    raise ValueError(f"periods of {days:g} days are neither days, weeks nor months")


def _date(cell: str) -> datetime:
    cell = cell.strip()
    day = f"{cell}-01" if re.fullmatch(r"\d{4}-\d{2}", cell, re.ASCII) else cell
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day, re.ASCII):
        raise ValueError(f"{cell[:40]!r} is no date")
    return plausible(datetime.fromisoformat(day).replace(tzinfo=UTC))


def _fact_name(heading: str) -> str:
    """Fact of a column such as ``bitcoin: (Worldwide)``."""
    return PREFIX + re.sub(r"\W+", "_", heading.partition(":")[0].strip().lower())
