"""Simulated Coin Metrics: daily asset metrics, ready some hours after their day, some of them revised."""

import base64
import binascii
from datetime import date, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cryptoai_assets.sandbox.simulated import DAY, Market, daily_value, draw, epoch, marked, midnight

FIRST_DAY = date(2017, 1, 1)
ASSETS = ("btc", "eth")
# Usual size of each metric that the community gets.
LEVELS = MappingProxyType(
    {
        "AdrActCnt": 650_000.0,
        "TxCnt": 280_000.0,
        "HashRate": 4.5e7,
        "FeeTotUSD": 900_000.0,
        "FeeTotNtv": 120.0,
        "TxTfrValAdjUSD": 3.2e9,
        "SplyCur": 1.7e7,
        "CapMVRVCur": 1.6,
    }
)
COMPLETION = "AssetEODCompletionTime"
REVISED_SHARE = 0.05
REVISED_AFTER = timedelta(days=3)
_SWING = 0.15
_PAGE_ROWS = (100, 10_000)


def coin_metrics_app(market: Market, *, seed: int) -> Starlette:
    """``/v4/timeseries/asset-metrics`` for days from `FIRST_DAY` on."""
    answer = partial(_asset_metrics, market=market, seed=seed)
    return Starlette(routes=[Route("/v4/timeseries/asset-metrics", answer)])


def completed_at(seed: int, asset: str, day: date) -> datetime:
    """When the day's metrics were ready."""
    return midnight(day) + DAY + timedelta(seconds=int(3600 * (1 + 3 * draw(seed, asset, day, "ready"))))


def revised_at(seed: int, asset: str, day: date, metric: str) -> datetime | None:
    """When the metric of that day is revised; None when it never is."""
    if draw(seed, asset, day, metric, "revised") >= REVISED_SHARE:
        return None
    return completed_at(seed, asset, day) + REVISED_AFTER


def value_at(seed: int, asset: str, day: date, metric: str, now: datetime) -> float:
    """Value as it is told at a time; the first version is off by up to a twentieth when it is revised."""
    value = daily_value(seed, f"{asset} {metric}", day, level=LEVELS[metric], swing=_SWING)
    revised = revised_at(seed, asset, day, metric)
    early = revised is not None and now < revised
    return value * (1 + 0.05 * (0.5 + draw(seed, asset, day, metric, "error")) / 1.5) if early else value


def _asset_metrics(request: Request, *, market: Market, seed: int) -> JSONResponse:
    asked = request.query_params
    lenient = asked.get("ignore_unsupported_errors") == "true"
    metrics = asked.get("metrics", "").split(",")
    unknown = [name for name in metrics if name not in LEVELS and name != COMPLETION]
    assets = sorted(asset for asset in asked.get("assets", "").split(",") if asset)
    if not assets or not set(assets) <= set(ASSETS):
        return _refusal("bad_parameter", f"Bad parameter 'assets'. Supported: {', '.join(ASSETS)}.")
    if asked.get("frequency", "1d") != "1d" or (unknown and not lenient):
        return _refusal("bad_parameter", f"Bad parameter 'metrics'. Not supported: {', '.join(unknown)}.")
    try:
        start = date.fromisoformat(asked.get("start_time", FIRST_DAY.isoformat())[:10])
        end = date.fromisoformat(asked.get("end_time", "9999-12-31")[:10])
        offset = int(base64.urlsafe_b64decode(asked.get("next_page_token", "MA==")))
        size = min(max(int(asked.get("page_size", _PAGE_ROWS[0])), 1), _PAGE_ROWS[1])
    except (ValueError, binascii.Error):
        return _refusal("bad_parameter", "Bad parameter 'start_time', 'end_time' or 'next_page_token'.")
    now = market.now()
    told = [name for name in metrics if name not in unknown]
    rows = [
        (asset, day)
        for asset in assets
        for day in _days(max(start, FIRST_DAY), min(end, now.date()))
        if completed_at(seed, asset, day) <= now
    ]
    page = [_row(seed, asset, day, told, now) for asset, day in rows[offset : offset + size]]
    answer: dict[str, Any] = {"data": page}
    if offset + size < len(rows):
        token = base64.urlsafe_b64encode(str(offset + size).encode()).decode()
        answer["next_page_token"] = token
        answer["next_page_url"] = (
            f"{request.url.replace(query='')}?{urlencode({**asked, 'next_page_token': token})}"
        )
    return marked(answer)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=days) for days in range((last - first).days + 1)]


def _row(seed: int, asset: str, day: date, metrics: list[str], now: datetime) -> dict[str, str]:
    row = {"asset": asset, "time": f"{day.isoformat()}T00:00:00.000000000Z"}
    for metric in metrics:
        if metric == COMPLETION:
            row[metric] = str(epoch(completed_at(seed, asset, day)))
            continue
        row[metric] = f"{value_at(seed, asset, day, metric, now):.12g}"
        revised = revised_at(seed, asset, day, metric)
        if revised is not None and revised <= now:
            row[f"{metric}-status"] = "revised"
            row[f"{metric}-status-time"] = f"{revised:%Y-%m-%dT%H:%M:%S}.000000000Z"
    return row


def _refusal(kind: str, message: str) -> JSONResponse:
    return marked({"error": {"type": kind, "message": message}}, 400)
