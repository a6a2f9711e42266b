"""CoinGecko, where candles come from when a venue is down or closed to us: prices over all venues, coarser.

Source: CoinGecko API, "Coin OHLC Chart by ID" and "Coin Historical Chart Data within Time Range by ID",
https://docs.coingecko.com/reference/coins-id-ohlc.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import polars as pl

from cryptoai_assets.lib.sources.candle_source import Fetched, SourceRefusedError
from cryptoai_assets.lib.sources.fact_source import number, plausible, understood
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.candles import CANDLE_SCHEMA, candle_frame, interval_duration
from edge_bundle.errors import CandlesRefusedError
from edge_bundle.facts import FACT_SCHEMA, empty_facts

BASE_URL = "https://api.coingecko.com/api/v3"
# Five to fifteen questions a minute without a key: https://docs.coingecko.com/docs/common-errors-rate-limit
REQUESTS_PER_SECOND = 5 / 60
AGGREGATE_BAR = "aggregate_bar"
REFERENCE_PRICE = "reference_price"
COINS: Mapping[str, str] = MappingProxyType(
    {"BTC": "bitcoin", "ETH": "ethereum", "LTC": "litecoin", "XRP": "ripple", "EOS": "eos"}
)
CURRENCIES: Mapping[str, str] = MappingProxyType(
    {"USDT": "usd", "USDC": "usd", "USD": "usd", "EUR": "eur", "GBP": "gbp"}
)
# The length of a bar follows from the days that are asked for; no other days are allowed.
DAYS_OF_BARS: Mapping[str, tuple[int, ...]] = MappingProxyType({"30m": (1,), "4h": (7, 14, 30)})
_BAR_FIELDS = 5


@dataclass(frozen=True, slots=True)
class CoinGeckoSource:
    """Bars of 30 minutes over the last day and of 4 hours over the last 30; prices for any other interval.

    .. warning::

       A bar of CoinGecko is not a bar of a venue. Its prices are a mean over all venues, in dollars where a
       symbol is quoted in a dollar coin, and it has **no volume**: 0 stands for "not told". Each one comes
       with an `AGGREGATE_BAR` fact that says so. Where CoinGecko has no bars of the interval, none are made
       up: its prices come as `REFERENCE_PRICE` facts, one every 5 minutes of the last day, every hour
       up to 90 days back, and every day before that.

    Parameters
    ----------
    web
        At `BASE_URL`, or where something speaks like it.
    clock
        What had not closed by then is left out; everything is known from then on.
    coins
        CoinGecko's name of each base currency.
    """

    web: WebClient
    interval: str
    clock: Callable[[], datetime]
    coins: Mapping[str, str] = field(default_factory=lambda: COINS)

    @property
    def name(self) -> str:
        """Stands as the source of its facts."""
        return self.web.name

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Bars, or prices, of ``[start, end)``, as far back as CoinGecko has them.

        Raises
        ------
        SourceRefusedError
            When it does not know the symbol, or asking again is of no use.
        SourceError
            When it does not answer, or with what is not understood.
        """
        if self.interval in DAYS_OF_BARS:
            return self._bars(symbol, start, end)
        return Fetched(pl.DataFrame(schema=CANDLE_SCHEMA), self._prices(symbol, start, end))

    def _coin(self, symbol: str) -> tuple[str, str]:
        """Path of a symbol's coin, and the currency that its prices are told in."""
        for quote, currency in CURRENCIES.items():
            base = symbol.removesuffix(quote)
            if base != symbol and base in self.coins:
                return f"/coins/{self.coins[base]}", currency
        raise SourceRefusedError(
            f"{self.name} is not asked for {symbol}: its base must be one of {', '.join(self.coins)}, "
            f"its quote one of {', '.join(CURRENCIES)}; name its coin in the setting coins"
        )

    def _bars(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        path, currency = self._coin(symbol)
        now, step, choice = self.clock(), interval_duration(self.interval), DAYS_OF_BARS[self.interval]
        days = next((days for days in choice if now - timedelta(days=days) <= start), choice[-1])
        answer = self.web.json(f"{path}/ohlc", {"vs_currency": currency, "days": days})
        with understood(self.name):
            bars = _read_bars(answer, symbol, step)
        # The bar that is running ends off the grid, or in the future.
        closed = (pl.col("open_time") + step <= now) & (
            pl.col("open_time").dt.truncate(step) == pl.col("open_time")
        )
        wanted = bars.filter(closed & pl.col("open_time").is_between(start, end, closed="left"))
        marks = [(time, 1.0) for time in wanted["open_time"]]
        return Fetched(wanted, self._facts(symbol, AGGREGATE_BAR, marks))

    def _prices(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        path, currency = self._coin(symbol)
        latest = min(end, self.clock())
        if latest <= start:
            return empty_facts()
        span = {"from": int(start.timestamp()), "to": int(latest.timestamp())}
        answer = self.web.json(f"{path}/market_chart/range", {"vs_currency": currency, **span})
        with understood(self.name):
            prices = [(_moment(time), number(price)) for time, price in answer["prices"]]
        wanted = [(time, price) for time, price in prices if price is not None and start <= time < latest]
        return self._facts(symbol, REFERENCE_PRICE, wanted)

    def _facts(self, symbol: str, name: str, values: list[tuple[datetime, float]]) -> pl.DataFrame:
        now = self.clock()
        rows = [(symbol, time, now, self.name, name, value) for time, value in values]
        return pl.DataFrame(rows, schema=FACT_SCHEMA, orient="row").sort("event_time", maintain_order=True)


def _read_bars(answer: Any, symbol: str, step: timedelta) -> pl.DataFrame:
    """Bars of an answer: rows of closing time in milliseconds, open, high, low, close."""
    rows = [(_moment(row[0]) - step, symbol, *map(number, row[1:_BAR_FIELDS]), 0.0) for row in answer]
    if any(len(row) != len(CANDLE_SCHEMA) for row in rows):
        raise ValueError("a bar has less than five numbers")
    try:
        return candle_frame(pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row"))
    except CandlesRefusedError as error:
        raise ValueError(str(error)) from error


def _moment(milliseconds: object) -> datetime:
    told = number(milliseconds)
    if told is None:
        raise ValueError("a time is absent")
    return plausible(datetime.fromtimestamp(told / 1000, UTC))
