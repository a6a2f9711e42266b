"""Simulated mempool.space: mean block fees, hash rate and difficulty of all of history, day by day."""

from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from cryptoai_assets.sandbox.simulated import DAY, MARK, Market, daily_value, epoch, marked, midnight

FIRST_DAY = date(2017, 1, 1)
DIFFICULTY_DAYS = 14
_BLOCKS_A_DAY = 144
_FEES, _HASH_RATE, _DIFFICULTY = 25_000_000.0, 4.5e19, 6e12
_DOLLARS = 8_000
_SWING = 0.3


def mempool_space_app(market: Market, *, seed: int) -> Starlette:
    """``/api/v1/mining/blocks/fees/all`` and ``/api/v1/mining/hashrate/all``; other periods are not kept."""
    routes = {"/api/v1/mining/blocks/fees/{period}": _fees, "/api/v1/mining/hashrate/{period}": _hash_rate}
    return Starlette(
        routes=[Route(path, partial(answer, market=market, seed=seed)) for path, answer in routes.items()]
    )


def fees_of(seed: int, day: date, part: float) -> int:
    """Mean fees of a day's blocks in satoshi, when `part` of the day has passed: not final before its end."""
    whole = daily_value(seed, "fees", day, level=_FEES, swing=_SWING)
    return round(whole * (0.8 + 0.2 * part))


def hash_rate_of(seed: int, day: date) -> float:
    """Mean hash rate of a day."""
    return daily_value(seed, "hash rate", day, level=_HASH_RATE, swing=_SWING)


def difficulties(seed: int, now: datetime) -> list[tuple[datetime, float]]:
    """Each change of difficulty up to now: when its block was mined, and the new one."""
    changes = range(0, (now.date() - FIRST_DAY).days + 1, DIFFICULTY_DAYS)
    days = [FIRST_DAY + timedelta(days=days) for days in changes]
    mined = [midnight(day) + timedelta(hours=9, minutes=41) for day in days]
    return [
        (when, daily_value(seed, "difficulty", when.date(), level=_DIFFICULTY, swing=_SWING))
        for when in mined
        if when <= now
    ]


def _fees(request: Request, *, market: Market, seed: int) -> JSONResponse | PlainTextResponse:
    if request.path_params["period"] != "all":
        return _not_kept()
    now = market.now()
    rows = []
    for days in range((now.date() - FIRST_DAY).days + 1):
        day = FIRST_DAY + timedelta(days=days)
        part = min((now - midnight(day)) / DAY, 1.0)
        rows.append(
            {
                "avgHeight": 446_000 + round(_BLOCKS_A_DAY * (days + part / 2)),
                "timestamp": epoch(midnight(day) + DAY * (part / 2)),
                "avgFees": fees_of(seed, day, part),
                "USD": _DOLLARS,
            }
        )
    return marked(rows)


def _hash_rate(request: Request, *, market: Market, seed: int) -> JSONResponse | PlainTextResponse:
    if request.path_params["period"] != "all":
        return _not_kept()
    now = market.now()
    days = [FIRST_DAY + timedelta(days=days) for days in range((now.date() - FIRST_DAY).days)]
    changes = difficulties(seed, now)
    answer: dict[str, Any] = {
        "hashrates": [
            {"timestamp": epoch(midnight(day) + DAY), "avgHashrate": hash_rate_of(seed, day)} for day in days
        ],
        "difficulty": [
            {
                "time": epoch(mined),
                "height": 446_000 + _BLOCKS_A_DAY * DIFFICULTY_DAYS * place,
                "difficulty": value,
                "adjustment": round(value / changes[max(place - 1, 0)][1], 6),
            }
            for place, (mined, value) in enumerate(changes)
        ],
        "currentHashrate": hash_rate_of(seed, days[-1]) if days else 0,
        "currentDifficulty": changes[-1][1] if changes else 0,
    }
    return marked(answer)


def _not_kept() -> PlainTextResponse:
    return PlainTextResponse("the sandbox keeps the period all only", 404, headers=dict(MARK))
