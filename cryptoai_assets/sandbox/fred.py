"""Simulated FRED with ALFRED vintages: each observation appears when it is published, some are revised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cryptoai_assets.sandbox.simulated import Market, daily_value, draw, marked

FIRST_DAY, LAST_DAY = date(2012, 1, 1), date(9999, 12, 31)
BANK = ZoneInfo("America/Chicago")
MOST_VINTAGES = 2_000
REVISED_SHARE = 0.2
_MOST_ROWS = 100_000
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Series:
    """One series: how large, how often observed, and how long until it is published."""

    level: float
    swing: float
    monthly: bool
    lag: timedelta
    revised_after: timedelta | None


SERIES: Mapping[str, Series] = MappingProxyType(
    {
        "VIXCLS": Series(17.0, 0.25, monthly=False, lag=_DAY, revised_after=None),
        "SP500": Series(2_700.0, 0.08, monthly=False, lag=_DAY, revised_after=None),
        "DTWEXBGS": Series(115.0, 0.03, monthly=False, lag=5 * _DAY, revised_after=7 * _DAY),
        "CPIAUCSL": Series(250.0, 0.01, monthly=True, lag=42 * _DAY, revised_after=30 * _DAY),
    }
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one observation, in force from its publication until the next one's eve."""

    observed: date
    published: date
    until: date
    value: str


def fred_app(market: Market, *, seed: int) -> Starlette:
    """``/fred/series/observations`` in JSON; any key of 32 small letters and digits opens it."""
    return Starlette(
        routes=[Route("/fred/series/observations", partial(_observations, market=market, seed=seed))]
    )


def versions(seed: int, series_id: str, today: date) -> list[Version]:
    """All versions that were published by a day, where the bank is."""
    series = SERIES[series_id]
    found = []
    for observed in _dates(series, today):
        holiday = not series.monthly and draw(seed, series_id, observed, "holiday") < 0.03
        value = daily_value(seed, series_id, observed, level=series.level, swing=series.swing)
        first = observed + series.lag
        again = draw(seed, series_id, observed, "revised") < REVISED_SHARE
        revised = first + series.revised_after if series.revised_after and again else None
        if holiday:
            found.append(Version(observed, first, LAST_DAY, "."))
        elif revised is None:
            found.append(Version(observed, first, LAST_DAY, f"{value:.4f}"))
        else:
            found.append(Version(observed, first, revised - _DAY, f"{value * 1.002:.4f}"))
            found.append(Version(observed, revised, LAST_DAY, f"{value:.4f}"))
    return [version for version in found if version.published <= today]


def _dates(series: Series, today: date) -> list[date]:
    days = [FIRST_DAY + timedelta(days=days) for days in range((today - FIRST_DAY).days + 1)]
    return [day for day in days if (day.day == 1 if series.monthly else day.weekday() < 5)]


def _observations(request: Request, *, market: Market, seed: int) -> JSONResponse:
    asked = request.query_params
    today = market.now().astimezone(BANK).date()
    try:
        return marked(_answer(asked, seed, today))
    except _BadRequestError as error:
        return marked({"error_code": 400, "error_message": f"Bad Request.  {error}"}, 400)


class _BadRequestError(Exception):
    """What was asked is not understood."""


def _answer(asked: QueryParams, seed: int, today: date) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z0-9]{32}", asked.get("api_key", "")):
        raise _BadRequestError("The value for variable api_key is not registered.")
    if asked.get("series_id") not in SERIES:
        raise _BadRequestError("The series does not exist.")
    opened, closed = _date(asked, "realtime_start", today), _date(asked, "realtime_end", today)
    first, last = _date(asked, "observation_start", FIRST_DAY), _date(asked, "observation_end", LAST_DAY)
    limit, offset = _whole(asked, "limit", _MOST_ROWS), _whole(asked, "offset", 0)
    published = versions(seed, asked["series_id"], today)
    vintages = {version.published for version in published if opened <= version.published <= closed}
    if len(vintages) > MOST_VINTAGES:
        raise _BadRequestError(
            f"There are {len(vintages)} vintage dates in the specified real-time period: {opened} to "
            f"{closed}.  This exceeds the maximum number of vintage dates allowed ({MOST_VINTAGES})."
        )
    rows = [
        # The dates of a version are cut to the period that was asked for, as FRED does.
        {
            "realtime_start": max(version.published, opened).isoformat(),
            "realtime_end": min(version.until, closed).isoformat(),
            "date": version.observed.isoformat(),
            "value": version.value,
        }
        for version in published
        if first <= version.observed <= last and version.published <= closed and version.until >= opened
    ]
    return {
        "realtime_start": opened.isoformat(),
        "realtime_end": closed.isoformat(),
        "observation_start": first.isoformat(),
        "observation_end": last.isoformat(),
        "units": "lin",
        "output_type": 1,
        "file_type": "json",
        "order_by": "observation_date",
        "sort_order": "asc",
        "count": len(rows),
        "offset": offset,
        "limit": limit,
        "observations": rows[offset : offset + limit],
    }


def _whole(asked: QueryParams, name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isdecimal():
        raise _BadRequestError(f"Variable {name} is not a whole number.")
    return int(text)


def _date(asked: QueryParams, name: str, default: date) -> date:
    try:
        return date.fromisoformat(asked.get(name, default.isoformat()))
    except ValueError as error:
        raise _BadRequestError(
            f"Variable {name} is not a YYYY-MM-DD formatted date (e.g. 2000-02-24)."
        ) from error
