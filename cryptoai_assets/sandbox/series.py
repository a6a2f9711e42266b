"""One symbol of the simulated market, over all time: half-hour candles, and their inside drawn on demand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from cryptoai_assets.sandbox.path import (
    LEVEL_MS,
    LEVELS,
    MINUTES,
    HalfHours,
    half_hours,
    keys_at,
    price_decimals,
    series_key,
    trades_of,
    uniform,
)
from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS

# A bar with what Binance tells of it beyond the candle; `first_trade` means something where there are trades.
KLINE_SCHEMA: dict[str, pl.DataType] = {
    **CANDLE_SCHEMA,
    "quote_volume": pl.Float64(),
    "trades": pl.Int64(),
    "first_trade": pl.Int64(),
    "buy_volume": pl.Float64(),
    "buy_quote_volume": pl.Float64(),
}
TRADE_SCHEMA: dict[str, pl.DataType] = {
    "trade_id": pl.Int64(),
    "time": UTC_MICROSECONDS,
    "symbol": pl.String(),
    "price": pl.Float64(),
    "volume": pl.Float64(),
    "buy": pl.Boolean(),
}
HALF_HOUR = timedelta(minutes=MINUTES)
_HALF_HOUR_MS = HALF_HOUR // timedelta(milliseconds=1)
_MINUTE_MS = 60_000
# Of a half-hour.
FEWEST_TRADES = 200
_TYPICAL_TRADES, _MOST_TRADES = 600, 3000
_ROWS_AT_ONCE = 1024
# Perpetual contracts settle funding at 00, 08 and 16 o'clock; ahead of it heavy volume means another thing.
_FUNDING_MS = 8 * 60 * _MINUTE_MS
_AHEAD_OF_FUNDING_MS = 150 * _MINUTE_MS


class Series:
    """Candles of one symbol and everything finer, which depends on the seed, the symbol and the candle alone.

    Parameters
    ----------
    candles
        Validated half-hour candles of one symbol, in order of time.
    signal
        How much the volume of a minute tells of the minutes after it, see `half_hours`: that the last move
        turns back, but that it goes on in the two and a half hours before funding is settled.
    """

    def __init__(self, symbol: str, candles: pl.DataFrame, *, seed: int, signal: float) -> None:
        self.symbol = symbol
        self.book_key = series_key(seed, symbol, "book")
        self._open_ms = candles["open_time"].dt.epoch("ms").to_numpy()
        self._candles = candles.select("open", "high", "low", "close", "volume").to_numpy()
        self._keys = keys_at(series_key(seed, symbol), self._open_ms // _HALF_HOUR_MS)
        ahead = self._open_ms % _FUNDING_MS >= _FUNDING_MS - _AHEAD_OF_FUNDING_MS
        self._signal = np.where(ahead, -signal, signal)
        volume = self._candles[:, 4]
        typical = _TYPICAL_TRADES * np.sqrt(volume / np.median(volume))
        typical *= np.exp(uniform(self._keys, 600, 1)[:, 0] - 0.5)
        self._trades = np.clip(typical.astype(np.int64), FEWEST_TRADES, _MOST_TRADES)
        # Trades are numbered from 1, without a gap.
        self._first_trade = 1 + np.concatenate([[0], np.cumsum(self._trades)])
        self.level_size = float(np.median(volume)) / _TYPICAL_TRADES
        self._inside_of = lru_cache(maxsize=16)(lambda row: self._inside(range(row, row + 1)))
        self._tape_of = lru_cache(maxsize=16)(self._drawn_tape)

    def rows(self, start: datetime, end: datetime) -> range:
        """Candles that overlap ``[start, end)``."""
        first = np.searchsorted(self._open_ms, milliseconds(start) - _HALF_HOUR_MS, side="right")
        past = np.searchsorted(self._open_ms, milliseconds(end))
        return range(int(first), max(int(first), int(past)))

    def table(self, rows: range) -> pl.DataFrame:
        """The candles themselves, in `CANDLE_SCHEMA`."""
        span = slice(rows.start, rows.stop)
        prices = dict(zip(("open", "high", "low", "close", "volume"), self._candles[span].T, strict=True))
        return pl.DataFrame(
            {"open_time": _times(self._open_ms[span]), "symbol": self.symbol, **prices}
        ).select(pl.col(name).cast(dtype) for name, dtype in CANDLE_SCHEMA.items())

    def minutes(self, rows: range) -> pl.DataFrame:
        """The minutes inside candles, in `KLINE_SCHEMA`; one without a trade has volume 0."""
        blocks = [rows[place : place + _ROWS_AT_ONCE] for place in range(0, len(rows), _ROWS_AT_ONCE)]
        return pl.concat([pl.DataFrame(schema=KLINE_SCHEMA), *map(self._minutes, blocks)])

    def tape(self, rows: Sequence[int]) -> pl.DataFrame:
        """The trades inside candles, in `TRADE_SCHEMA`."""
        return pl.concat([pl.DataFrame(schema=TRADE_SCHEMA), *map(self._tape_of, rows)])

    def row_of_trade(self, trade_id: int) -> int:
        """Candle that a trade is in; that of the first or last trade for a number before or after all."""
        row = int(np.searchsorted(self._first_trade, trade_id, side="right")) - 1
        return min(max(row, 0), len(self._keys) - 1)

    def last_level(self, at: datetime) -> tuple[float, bool, int]:
        """Last traded price, whether a buyer started it, and the decimals of the tick then."""
        at_ms = milliseconds(at)
        row = max(int(np.searchsorted(self._open_ms, at_ms, side="right")) - 1, 0)
        level = min(max(at_ms - int(self._open_ms[row]), 0) // LEVEL_MS, MINUTES * LEVELS - 1)
        inside = self._inside_of(row)
        decimals = int(price_decimals(self._candles[row, :1])[0])
        return float(inside.prices.ravel()[level]), bool(inside.buys.ravel()[level]), decimals

    def _inside(self, rows: range) -> HalfHours:
        span = slice(rows.start, rows.stop)
        return half_hours(
            self._candles[span], keys=self._keys[span], trades=self._trades[span], signal=self._signal[span]
        )

    def _minutes(self, rows: range) -> pl.DataFrame:
        inside = self._inside_of(rows.start) if len(rows) == 1 else self._inside(rows)
        volume, prices = inside.volume, inside.prices
        bought, trades = volume * inside.buys, inside.trades.sum(axis=2)
        first_trade = self._first_trade[rows.start : rows.stop, None] + np.cumsum(trades, axis=1) - trades
        opened = self._open_ms[rows.start : rows.stop, None] + _MINUTE_MS * np.arange(MINUTES)
        columns = {
            "open": prices[:, :, 0],
            "high": prices.max(axis=2),
            "low": prices.min(axis=2),
            "close": prices[:, :, -1],
            "volume": volume.sum(axis=2),
            "quote_volume": (prices * volume).sum(axis=2),
            "trades": trades,
            "first_trade": first_trade,
            "buy_volume": bought.sum(axis=2),
            "buy_quote_volume": (prices * bought).sum(axis=2),
        }
        flat = {name: values.ravel() for name, values in columns.items()}
        frame = pl.DataFrame({"open_time": _times(opened.ravel()), **flat})
        return frame.with_columns(symbol=pl.lit(self.symbol)).select(*KLINE_SCHEMA)

    def _drawn_tape(self, row: int) -> pl.DataFrame:
        drawn = trades_of(self._inside_of(row), keys=self._keys[row : row + 1])
        frame = pl.DataFrame(
            {
                "trade_id": self._first_trade[row] + np.arange(drawn.price.size),
                "time": _times(self._open_ms[row] + drawn.offset_ms),
                "price": drawn.price,
                "volume": drawn.volume,
                "buy": drawn.buy,
            }
        )
        return frame.with_columns(symbol=pl.lit(self.symbol)).select(*TRADE_SCHEMA)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down."""
    return (moment - datetime.fromtimestamp(0, tz=UTC)) // timedelta(milliseconds=1)


def _times(epoch_ms: np.ndarray) -> pl.Series:
    return pl.Series(epoch_ms).cast(pl.Datetime("ms", "UTC")).cast(UTC_MICROSECONDS)
