"""Simulated Fear & Greed index, in the answer of alternative.me."""

from datetime import date, timedelta
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cryptoai_assets.sandbox.simulated import DAY, Market, daily_value, epoch, marked, midnight

FIRST_DAY = date(2018, 2, 1)
_LEVEL, _SWING = 42.0, 0.4
_NAMES = ((25, "Extreme Fear"), (46, "Fear"), (55, "Neutral"), (76, "Greed"), (101, "Extreme Greed"))


def fear_greed_app(market: Market, *, seed: int) -> Starlette:
    """``/fng/``, newest first; the newest is that of the day that runs."""
    return Starlette(routes=[Route("/fng/", partial(_index, market=market, seed=seed))])


def index_of(seed: int, day: date) -> int:
    """Index that is shown on a day."""
    return min(round(daily_value(seed, "fear and greed", day, level=_LEVEL, swing=_SWING)), 100)


def _index(request: Request, *, market: Market, seed: int) -> JSONResponse:
    limit = request.query_params.get("limit", "1")
    now = market.now()
    age = (now.date() - FIRST_DAY).days + 1
    if not limit.isdecimal():
        return marked({"name": "Fear and Greed Index", "data": [], "metadata": {"error": "bad limit"}})
    asked = int(limit) or age
    rows = []
    for days in range(min(asked, max(age, 0))):
        day = now.date() - timedelta(days=days)
        value = index_of(seed, day)
        rows.append(
            {
                "value": str(value),
                "value_classification": next(name for bound, name in _NAMES if value < bound),
                "timestamp": str(epoch(midnight(day))),
            }
        )
    if rows:
        rows[0]["time_until_update"] = str(epoch(midnight(now.date()) + DAY) - epoch(now))
    return marked({"name": "Fear and Greed Index", "data": rows, "metadata": {"error": None}})
