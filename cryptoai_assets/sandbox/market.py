"""The simulated market: real half-hour candles replayed at a chosen speed, their inside drawn by seed.

Minutes, trades and books are simulated; resampled to half-hours they give back the candles bit for bit.
What lies after the market's own time is never told.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl

from cryptoai_assets.sandbox.book import STEP_MS, Book, drawn_book
from cryptoai_assets.sandbox.series import FEWEST_TRADES, HALF_HOUR, KLINE_SCHEMA, Series
from edge_bundle.candles import CANDLE_SCHEMA, interval_duration, validated_candles

_MINUTE = timedelta(minutes=1)
_EPOCH = datetime.fromtimestamp(0, tz=UTC)


class UnknownSymbolError(Exception):
    """The market does not hold the symbol that was asked for."""


class SandboxMarket:
    """Replay of half-hour candles, with everything finer drawn by seed.

    Parameters
    ----------
    candles
        Half-hour candles of markets in USD, such as the embedded sample; BTCUSD is served as BTCUSDT.
    seed
        Decides every minute, trade and book.
    start
        Market time at the moment of construction; what lies before it is history.
    speed
        Market seconds that pass in a second of the clock.
    clock
        Tells the time; its first word is the moment of construction.
    signal
        How much the volume of a minute tells of the minutes after it, see `path.half_hours`; 0 is nothing.
    """

    def __init__(
        self,
        candles: pl.DataFrame,
        *,
        seed: int,
        start: datetime,
        speed: float,
        clock: Callable[[], datetime],
        signal: float = 0.0,
    ) -> None:
        validated_candles(candles, interval="30m")
        named = {f"{bars['symbol'][0]}T": bars for bars in candles.partition_by("symbol")}
        self._series = {
            symbol: Series(symbol, bars, seed=seed, signal=signal) for symbol, bars in named.items()
        }
        self._start, self._speed, self._clock, self._begun = start, speed, clock, clock()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the market, sorted."""
        return tuple(sorted(self._series))

    def now(self) -> datetime:
        """Market time."""
        return self._start + (self._clock() - self._begun) * self._speed

    def bars(self, symbol: str, interval: str, start: datetime, end: datetime) -> pl.DataFrame:
        """Bars with ``start <= open_time < end`` that have closed, in `CANDLE_SCHEMA`.

        A minute without a trade is a row of volume 0 at the last price; a half-hour that the candles do
        not hold is absent.

        Raises
        ------
        UnknownSymbolError
            When the market does not hold the symbol.
        """
        series, step = self._held(symbol), interval_duration(interval)
        rows = series.rows(_floor(start, step), min(end + step, self.now()))
        finer = series.table(rows) if step >= HALF_HOUR else series.minutes(rows).select(*CANDLE_SCHEMA)
        return self._closed(resampled(finer, step), step, start, end)

    def klines(
        self, symbol: str, interval: str, *, start: datetime | None, end: datetime, limit: int
    ) -> pl.DataFrame:
        """At most `limit` closed bars that open before `end`, in `KLINE_SCHEMA`.

        They are the first ones from `start` on, or the newest ones when there is no start.
        """
        series, step = self._held(symbol), interval_duration(interval)
        rows = series.rows(_floor(start or _EPOCH, step), min(end + step, self.now()))
        needed = limit * step // HALF_HOUR + 2 * max(1, step // HALF_HOUR)
        near = rows[-needed:] if start is None else rows[:needed]
        bars = self._closed(resampled(series.minutes(near), step), step, start or _EPOCH, end)
        return bars.tail(limit) if start is None else bars.head(limit)

    def running_bar(self, symbol: str, interval: str) -> pl.DataFrame:
        """The bar that has not closed yet, as one row of `KLINE_SCHEMA`; no row before its first trade."""
        series, step, now = self._held(symbol), interval_duration(interval), self.now()
        opened, minute = _floor(now, step), _floor(now, _MINUTE)
        past = pl.col("open_time").is_between(opened, minute, closed="left")
        closed = series.minutes(series.rows(opened, minute)).filter(past)
        running = _minute_of(self.trades(symbol, minute, minute + _MINUTE), minute)
        return resampled(pl.concat([closed, running]), step)

    def trades(
        self, symbol: str, start: datetime, end: datetime, *, limit: int | None = None
    ) -> pl.DataFrame:
        """The first `limit` trades with ``start <= time < end`` that have happened, in `TRADE_SCHEMA`."""
        series = self._held(symbol)
        rows = series.rows(start, min(end, self.now() + _MINUTE))
        if limit is not None:
            rows = rows[: limit // FEWEST_TRADES + 2]
        inside = pl.col("time").is_between(start, end, closed="left")
        tape = self._happened(series.tape(rows).filter(inside))
        return tape if limit is None else tape.head(limit)

    def trades_from(self, symbol: str, trade_id: int, limit: int) -> pl.DataFrame:
        """At most `limit` trades that have happened, numbered from `trade_id` on."""
        series = self._held(symbol)
        last = trade_id + limit - 1
        rows = range(series.row_of_trade(trade_id), series.row_of_trade(last) + 1)
        return self._happened(series.tape(rows).filter(pl.col("trade_id").is_between(trade_id, last)))

    def newest_trades(self, symbol: str, limit: int) -> pl.DataFrame:
        """The last `limit` trades that have happened."""
        series, now = self._held(symbol), self.now()
        rows = series.rows(_EPOCH, now + timedelta(milliseconds=1))[-(limit // FEWEST_TRADES + 2) :]
        return self._happened(series.tape(rows)).tail(limit)

    def book(self, symbol: str, at: datetime) -> Book:
        """Order book at a moment, in steps of 100 ms of market time."""
        series = self._held(symbol)
        step = _floor(at, timedelta(milliseconds=STEP_MS))
        price, buy, decimals = series.last_level(step)
        return drawn_book(
            symbol,
            step,
            series=series.book_key,
            price=price,
            buy=buy,
            decimals=decimals,
            size=series.level_size,
        )

    def _held(self, symbol: str) -> Series:
        if symbol not in self._series:
            raise UnknownSymbolError(f"the sandbox holds {', '.join(self.symbols)}, not {symbol}")
        return self._series[symbol]

    def _closed(self, bars: pl.DataFrame, step: timedelta, start: datetime, end: datetime) -> pl.DataFrame:
        wanted = pl.col("open_time").is_between(start, end, closed="left")
        return bars.filter(wanted & (pl.col("open_time") + step <= self.now()))

    def _happened(self, tape: pl.DataFrame) -> pl.DataFrame:
        return tape.filter(pl.col("time") <= self.now())


def resampled(bars: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """Bars of one symbol put together to longer ones; the columns stay as they are.

    What is longer than a half-hour is put together from half-hours, so that its volume has one value.
    """
    if step > HALF_HOUR:
        bars = _grouped(bars, HALF_HOUR)
    return _grouped(bars, step)


def _grouped(bars: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    rules = {"open": pl.col("open").first(), "high": pl.col("high").max(), "low": pl.col("low").min()}
    rules |= {"symbol": pl.col("symbol").first(), "close": pl.col("close").last()}
    if "first_trade" in bars.columns:
        rules["first_trade"] = pl.col("first_trade").first()
    summed = [name for name in bars.columns if name not in (*rules, "open_time")]
    slot = pl.col("open_time").dt.truncate(step)
    long = bars.group_by(slot, maintain_order=True).agg(*rules.values(), pl.col(summed).sum())
    return long.select(bars.columns)


def _minute_of(tape: pl.DataFrame, minute: datetime) -> pl.DataFrame:
    """Trades of one minute as a bar; no row when there is none."""
    quote = pl.col("price") * pl.col("volume")
    bar = tape.group_by("symbol").agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("volume").sum(),
        quote_volume=quote.sum(),
        trades=pl.len(),
        first_trade=pl.col("trade_id").first(),
        buy_volume=pl.col("volume").filter("buy").sum(),
        buy_quote_volume=quote.filter(pl.col("buy")).sum(),
    )
    whole = bar.with_columns(open_time=pl.lit(minute)).select(*KLINE_SCHEMA)
    return whole.cast(pl.Schema(KLINE_SCHEMA))


def _floor(moment: datetime, step: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % step
