"""CoinGecko's API over the simulated market: bars and prices as its keyless users get them.

Source of every shape: https://docs.coingecko.com/reference/coins-id-ohlc, coins-id-market-chart-range.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_assets.sandbox.simulated import marked
from edge_bundle.candles import interval_duration

COINS = {
    "bitcoin": "BTCUSDT",
    "ethereum": "ETHUSDT",
    "litecoin": "LTCUSDT",
    "ripple": "XRPUSDT",
    "eos": "EOSUSDT",
}
BARS_OF_DAYS = {1: "30m", 7: "4h", 14: "4h", 30: "4h", 90: "4d", 180: "4d", 365: "4d"}
HISTORY = timedelta(days=365)
_DAY = timedelta(days=1)


class RefusedRequestError(Exception):
    """A request that CoinGecko answers with an error: its status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def coingecko_app(market: SandboxMarket) -> Starlette:
    """``/api/v3/`` with ``ping``, ``coins/<id>/ohlc`` and ``coins/<id>/market_chart/range``."""

    def ping(_: Request) -> JSONResponse:
        return marked({"gecko_says": "(V3) To the Moon!"})

    def endpoint(
        answer: Callable[[SandboxMarket, str, Request], object],
    ) -> Callable[[Request], JSONResponse]:
        def answered(request: Request) -> JSONResponse:
            try:
                return marked(answer(market, _symbol(market, request), request))
            except RefusedRequestError as refusal:
                return marked({"error": str(refusal)}, refusal.status)

        return answered

    return Starlette(
        routes=[
            Route("/api/v3/ping", ping),
            Route("/api/v3/coins/{coin}/ohlc", endpoint(_bars)),
            Route("/api/v3/coins/{coin}/market_chart/range", endpoint(_prices)),
        ]
    )


def _symbol(market: SandboxMarket, request: Request) -> str:
    symbol = COINS.get(request.path_params["coin"], "")
    if symbol not in market.symbols:
        raise RefusedRequestError(404, "coin not found")
    if request.query_params.get("vs_currency") != "usd":
        raise RefusedRequestError(422, "invalid vs_currency")
    return symbol


def _bars(market: SandboxMarket, symbol: str, request: Request) -> list[list[float]]:
    """Rows of closing time, open, high, low, close; the last one is running and ends now."""
    days = _whole(request, "days")
    if days not in BARS_OF_DAYS:
        raise RefusedRequestError(422, f"days must be one of {', '.join(map(str, BARS_OF_DAYS))}")
    interval, now = BARS_OF_DAYS[days], market.now()
    closed = market.bars(symbol, interval, now - timedelta(days=days), now)
    ends = pl.col("open_time") + interval_duration(interval)
    rows = [closed.select(ends, "open", "high", "low", "close")]
    running = market.running_bar(symbol, interval).select(
        pl.lit(now).alias("open_time"), "open", "high", "low", "close"
    )
    return [_row(row) for frame in (*rows, running) for row in frame.iter_rows()]


def _prices(market: SandboxMarket, symbol: str, request: Request) -> dict[str, list[list[float]]]:
    """Closing prices: of 5 minutes in the last day, of hours up to 90 days back, of days before that."""
    now = market.now()
    start, end = (datetime.fromtimestamp(_whole(request, name), UTC) for name in ("from", "to"))
    if start < now - HISTORY:
        raise RefusedRequestError(401, "error_code 10012: historical data is limited to the past 365 days")
    interval = "5m" if start >= now - _DAY else "1h" if end - start <= 90 * _DAY else "1d"
    step = interval_duration(interval)
    bars = market.bars(symbol, interval, start - step, end)
    prices = bars.select(pl.col("open_time") + step, "close").filter(pl.col("open_time") <= end)
    # The simulation knows no supply, and no other venue's volume.
    return {"prices": [_row(row) for row in prices.iter_rows()], "market_caps": [], "total_volumes": []}


def _row(row: tuple[datetime, *tuple[float, ...]]) -> list[float]:
    return [round(row[0].timestamp() * 1000), *row[1:]]


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise RefusedRequestError(422, f"invalid {name}")
    return int(text)
