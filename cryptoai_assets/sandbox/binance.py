"""Binance's spot API over the simulated market: the REST answers, and the application with its websockets.

Source of every shape: Binance, "General API Information" and "Market Data endpoints",
https://developers.binance.com/docs/binance-spot-api-docs/rest-api.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from cryptoai_assets.sandbox.binance_socket import BinanceSockets, decimal_text
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_assets.sandbox.series import milliseconds
from edge_bundle.candles import interval_duration

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
SIMULATED = {"x-cryptoai-simulated": "1"}
WEIGHT_LIMIT = 1200
_DEFAULT_ROWS, _MOST_ROWS = 500, 1000
_DEFAULT_LEVELS, _MOST_LEVELS = 100, 5000
_MILLISECOND = timedelta(milliseconds=1)


class RefusedRequestError(Exception):
    """A request that Binance answers with an error: its code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request, read as Binance reads them."""

    values: Mapping[str, str]
    market: SandboxMarket

    @property
    def symbol(self) -> str:
        """Symbol that the market holds."""
        name = self._needed("symbol")
        if name not in self.market.symbols:
            raise RefusedRequestError(-1121, "Invalid symbol.")
        return name

    @property
    def interval(self) -> str:
        """Length of a kline."""
        name = self._needed("interval")
        if name not in INTERVALS:
            raise RefusedRequestError(-1120, "Invalid interval.")
        return name

    def whole(self, name: str) -> int | None:
        """Whole number, None when it is not given."""
        text = self.values.get(name)
        if text is None:
            return None
        if not re.fullmatch("[0-9]{1,20}", text):
            raise RefusedRequestError(
                -1100,
                f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.",
            )
        return int(text)

    def limit(self, *, default: int, most: int) -> int:
        """Rows wanted; more than the venue gives become what it gives."""
        asked = self.whole("limit")
        return min(default if asked is None else asked, most)

    def moment(self, name: str) -> datetime | None:
        """Time from milliseconds, None when it is not given; what lies outside the calendar is at its end."""
        asked = self.whole(name)
        return None if asked is None else datetime.fromtimestamp(min(asked, 4 * 10**12) / 1000, tz=UTC)

    def _needed(self, name: str) -> str:
        if not self.values.get(name):
            raise RefusedRequestError(
                -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            )
        return self.values[name]


def klines(asked: Asked) -> str:
    """Rows of 12 fields, the bar that has not closed included, as the venue has it."""
    market, symbol, interval = asked.market, asked.symbol, asked.interval
    start, last = asked.moment("startTime"), asked.moment("endTime")
    end = market.now() + timedelta(days=1) if last is None else last + _MILLISECOND
    limit = asked.limit(default=_DEFAULT_ROWS, most=_MOST_ROWS)
    running = market.running_bar(symbol, interval)
    closed = market.klines(symbol, interval, start=start, end=end, limit=limit)
    since = datetime.fromtimestamp(0, tz=UTC) if start is None else start
    # A bar may have closed between the two questions; it is then in both.
    after = pl.lit(True) if closed.is_empty() else pl.col("open_time") > closed["open_time"][-1]
    inside = pl.col("open_time").is_between(since, end, closed="left")
    bars = pl.concat([closed, running.filter(inside & after)])
    return _klines_text(bars.tail(limit) if start is None else bars.head(limit), interval)


def depth(asked: Asked) -> str:
    """Snapshot of the order book."""
    limit = asked.limit(default=_DEFAULT_LEVELS, most=_MOST_LEVELS)
    book = asked.market.book(asked.symbol, asked.market.now())
    sides = {"bids": book.bids[:limit], "asks": book.asks[:limit]}
    levels = {side: [[f"{price:.8f}", f"{size:.8f}"] for price, size in rows] for side, rows in sides.items()}
    return _text({"lastUpdateId": book.update_id, **levels})


def recent_trades(asked: Asked) -> str:
    """The newest trades."""
    tape = asked.market.newest_trades(asked.symbol, asked.limit(default=_DEFAULT_ROWS, most=_MOST_ROWS))
    template = (
        '{"id":{},"price":"{}","qty":"{}","quoteQty":"{}","time":{},"isBuyerMaker":{},"isBestMatch":true}'
    )
    quote = (pl.col("price") * pl.col("volume")).cast(pl.String)
    fields = ("trade_id", "price", "volume", quote, _epoch_ms("time"), ~pl.col("buy"))
    return _rows_text(tape, template, fields)


def aggregate_trades(asked: Asked) -> str:
    """Trades from a number or a time on, or the newest; an aggregate is one trade here."""
    market, symbol = asked.market, asked.symbol
    limit = asked.limit(default=_DEFAULT_ROWS, most=_MOST_ROWS)
    first, start, last = asked.whole("fromId"), asked.moment("startTime"), asked.moment("endTime")
    end = market.now() + _MILLISECOND if last is None else last + _MILLISECOND
    if first is not None:
        tape = market.trades_from(symbol, min(first, 2**62), limit)
    elif start is not None:
        tape = market.trades(symbol, start, end, limit=limit)
    else:
        tape = market.newest_trades(symbol, limit)
    template = '{"a":{},"p":"{}","q":"{}","f":{},"l":{},"T":{},"m":{},"M":true}'
    trade = ("trade_id", "trade_id", _epoch_ms("time"), ~pl.col("buy"))
    return _rows_text(tape, template, ("trade_id", "price", "volume", *trade))


def exchange_info(asked: Asked) -> str:
    """What is traded."""
    wanted = asked.values.get("symbol")
    held = asked.market.symbols if wanted is None else (asked.symbol,)
    limits = {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": WEIGHT_LIMIT,
    }
    return _text(
        {
            "timezone": "UTC",
            "serverTime": milliseconds(asked.market.now()),
            "rateLimits": [limits],
            "exchangeFilters": [],
            "symbols": [_symbol_info(symbol) for symbol in held],
        }
    )


def server_time(asked: Asked) -> str:
    """Market time."""
    return _text({"serverTime": milliseconds(asked.market.now())})


def ping(_asked: Asked) -> str:
    """Nothing, which tells that the server is there."""
    return "{}"


# Answer and weight of each path.
_ANSWERS: Mapping[str, tuple[Callable[[Asked], str], int]] = {
    "ping": (ping, 1),
    "time": (server_time, 1),
    "exchangeInfo": (exchange_info, 10),
    "klines": (klines, 1),
    "depth": (depth, 1),
    "trades": (recent_trades, 1),
    "aggTrades": (aggregate_trades, 1),
}


def binance_app(market: SandboxMarket, *, push_seconds: float = 0.05) -> Starlette:
    """Application that answers as Binance's spot venue does, over REST and websockets.

    Parameters
    ----------
    push_seconds
        Clock time between two looks of a socket at the market.
    """
    used = {"minute": 0, "weight": 0}

    def weight_headers(weight: int) -> dict[str, str]:
        minute = milliseconds(market.now()) // 60_000
        if minute != used["minute"]:
            used.update(minute=minute, weight=0)
        used["weight"] += weight
        return {"x-mbx-used-weight": str(used["weight"]), "x-mbx-used-weight-1m": str(used["weight"])}

    def route(name: str) -> Route:
        answer, weight = _ANSWERS[name]

        async def endpoint(request: Request) -> Response:
            headers = {**SIMULATED, **weight_headers(weight)}
            try:
                text, status = answer(Asked(request.query_params, market)), 200
            except RefusedRequestError as refused:
                text, status = _text({"code": refused.code, "msg": str(refused)}), 400
            return Response(text, status, headers, media_type="application/json;charset=UTF-8")

        return Route(f"/api/v3/{name}", endpoint)

    sockets = BinanceSockets(market, intervals=INTERVALS, push_seconds=push_seconds)
    return Starlette(
        routes=[
            *map(route, _ANSWERS),
            WebSocketRoute("/ws", sockets.raw),
            WebSocketRoute("/ws/{streams:path}", sockets.raw),
            WebSocketRoute("/stream", sockets.combined),
        ]
    )


def _symbol_info(symbol: str) -> dict[str, Any]:
    base, quote = symbol.removesuffix("USDT"), "USDT"
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.00000001", "maxPrice": "1000000.00000000"}
            | {"tickSize": "0.00000001"},
            {"filterType": "LOT_SIZE", "minQty": "0.00000001", "maxQty": "1000000000.00000000"}
            | {"stepSize": "0.00000001"},
        ],
        "permissions": ["SPOT"],
    }


def _klines_text(bars: pl.DataFrame, interval: str) -> str:
    step = interval_duration(interval) // _MILLISECOND
    opened = _epoch_ms("open_time")
    numbers = ("open", "high", "low", "close", "volume", opened + step - 1, "quote_volume", "trades")
    template = '[{},"{}","{}","{}","{}","{}",{},"{}",{},"{}","{}","0"]'
    return _rows_text(bars, template, (opened, *numbers, "buy_volume", "buy_quote_volume"))


def _rows_text(rows: pl.DataFrame, template: str, fields: tuple[str | pl.Expr, ...]) -> str:
    """JSON list of the rows, each as the template has it; every number is read back exactly."""
    pieces: list[pl.Expr] = []
    for literal, field in zip(template.split("{}"), (*fields, None), strict=True):
        pieces.append(pl.lit(literal))
        if field is not None:
            pieces.append((pl.col(field) if isinstance(field, str) else field).cast(pl.String))
    text = "[" + ",".join(rows.select(pl.concat_str(pieces))[:, 0]) + "]"
    return _PLAIN.sub(lambda number: decimal_text(float(number[0])), text) if "e-" in text else text


# A number in the short form that no venue sends.
_PLAIN = re.compile(r"[0-9](?:\.[0-9]+)?e-[0-9]+")


def _epoch_ms(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("ms")


def _text(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))
