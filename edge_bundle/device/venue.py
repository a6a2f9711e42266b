"""Where the device's bars come from: Binance's spot API, and CoinGecko's prices while that one is away.

Source: Binance, "Market Data endpoints", https://developers.binance.com/docs/binance-spot-api-docs/rest-api;
CoinGecko, "Coin Historical Chart Data within Time Range by ID",
https://docs.coingecko.com/reference/coins-id-market-chart-range.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import polars as pl

from edge_bundle.candles import CANDLE_SCHEMA, candle_frame, interval_duration, validated_candles
from edge_bundle.device.database import milliseconds, moment
from edge_bundle.device.web import NoAnswerError, Web
from edge_bundle.errors import CandlesRefusedError

PAGE_BARS = 1000
COINS: Mapping[str, str] = MappingProxyType({"BTC": "bitcoin", "ETH": "ethereum"})
QUOTES: Mapping[str, str] = MappingProxyType({"USDT": "usd", "USDC": "usd", "USD": "usd"})


@dataclass(frozen=True, slots=True)
class Venue:
    """Binance's spot API, or what speaks like it."""

    web: Web
    interval: str

    def now(self) -> datetime:
        """Time of the venue, by which a bar has closed or not.

        Raises
        ------
        NoAnswerError
            When it does not tell.
        """
        answer = self.web.json("/api/v3/time", {})
        try:
            return moment(int(answer["serverTime"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise NoAnswerError(f"{self.web.name} does not tell its time") from error

    def candles(self, symbol: str, start: datetime, end: datetime, *, now: datetime) -> pl.DataFrame:
        """Closed bars that open in ``[start, end)``, at most `PAGE_BARS`, the earliest first.

        Raises
        ------
        NoAnswerError
            When it does not answer, or with anything but such bars: of an answer with one bad row nothing
            is believed.
        """
        asked: dict[str, str | int] = {
            "symbol": symbol,
            "interval": self.interval,
            "startTime": milliseconds(start),
            "endTime": milliseconds(end) - 1,
            "limit": PAGE_BARS,
        }
        answer = self.web.json("/api/v3/klines", asked)
        try:
            bars = validated_candles(_read_klines(answer, symbol), interval=self.interval)
        except (
            CandlesRefusedError,
            TypeError,
            ValueError,
            OverflowError,
            pl.exceptions.PolarsError,
        ) as error:
            raise NoAnswerError(
                f"{self.web.name} answered {symbol} with what are no bars: {error}"
            ) from error
        step = interval_duration(self.interval)
        inside = pl.col("open_time").is_between(start, end, closed="left")
        return bars.filter(inside & (pl.col("open_time") + step <= now))


def _read_klines(answer: Any, symbol: str) -> pl.DataFrame:
    names = ["open_time", "open", "high", "low", "close", "volume"]
    numbers = [(int(row[0]), *(float(value) for value in row[1:6])) for row in answer]
    raw = pl.DataFrame(
        numbers,
        schema={name: pl.Int64() if name == "open_time" else pl.Float64() for name in names},
        orient="row",
    )
    return candle_frame(raw.with_columns(symbol=pl.lit(symbol))).select(*CANDLE_SCHEMA)


@dataclass(frozen=True, slots=True)
class ReferencePrices:
    """CoinGecko's prices: means over all venues every few minutes, no bars, and never used as such."""

    web: Web
    coins: Mapping[str, str] = field(default_factory=lambda: COINS)

    def prices(self, symbol: str, *, now: datetime, back: timedelta) -> list[tuple[datetime, float]]:
        """Times and prices of the last while.

        Raises
        ------
        NoAnswerError
            When it does not answer, does not know the coin, or answers with anything but prices.
        """
        base, quote = base_and_quote(symbol)
        coin = self.coins.get(base) if quote else None
        if coin is None:
            raise NoAnswerError(f"{self.web.name} is not asked for {symbol}: no coin of it is known")
        span = {"from": int((now - back).timestamp()), "to": int(now.timestamp())}
        answer = self.web.json(f"/coins/{coin}/market_chart/range", {"vs_currency": QUOTES[quote], **span})
        try:
            found = [(moment(int(time)), float(price)) for time, price in answer["prices"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise NoAnswerError(f"{self.web.name} answered {symbol} with what are no prices") from error
        return [
            (time, price) for time, price in found if now - back <= time <= now and 0 < price < float("inf")
        ]


def base_and_quote(symbol: str) -> tuple[str, str]:
    """Coin and what it is paid in; the whole symbol and nothing where that is not known."""
    quote = next((quote for quote in QUOTES if symbol.endswith(quote)), "")
    return symbol.removesuffix(quote), quote
