"""Bars of the order book and the trades: how the book stood when a bar ended, and who traded during it."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import polars as pl

from cryptoai_assets.lib.orderbook.book import Anomaly, AnomalyKind, LocalBook, TradeTape
from cryptoai_assets.lib.orderbook.events import Event, OrderBookError, Trade
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import FACT_SCHEMA

FACT_PREFIX = "microstructure/"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
TRADE_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "known_at": pl.Datetime("ns", "UTC"),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "taker_side": pl.Int8(),
}


@dataclass(frozen=True, slots=True)
class BookState:
    """How the book stood when the bar ended. All are null when it was unsynchronised or a side was empty.

    Parameters
    ----------
    bid, ask
        Best prices, in quote currency.
    top_imbalance
        (bid − ask) / (bid + ask) of the best levels' quantities, −1 to 1.
    depth_imbalance
        The same of the sums over the best `levels` of each side; null when a side has fewer, or when they go
        beyond what the snapshot told of.
    spread_bps
        (ask − bid) / mid.
    microprice
        Mid weighted by the quantity of the other side, in quote currency.
    microprice_deviation_bps
        Microprice over mid, less one.
    bid_depth_quote, ask_depth_quote
        Price times quantity summed from the mid to `depth_bps` below or above it, in quote currency; null
        when that is beyond what the snapshot told of.
    """

    bid: float | None = None
    ask: float | None = None
    top_imbalance: float | None = None
    depth_imbalance: float | None = None
    spread_bps: float | None = None
    microprice: float | None = None
    microprice_deviation_bps: float | None = None
    bid_depth_quote: float | None = None
    ask_depth_quote: float | None = None


@dataclass(frozen=True, slots=True)
class TradeFlow:
    """What was traded during the bar. All are null when a trade of the bar is known to be lost.

    Parameters
    ----------
    trade_intensity
        Trades a second; 0 when nobody traded.
    volume
        Quantity in base; 0 when nobody traded.
    signed_volume
        Quantity that takers bought less what they sold; 0 when nobody traded.
    vwap
        Quote currency over base; null when nobody traded.
    """

    trade_intensity: float | None = None
    volume: float | None = None
    signed_volume: float | None = None
    vwap: float | None = None


@dataclass(frozen=True, slots=True)
class MicrostructureBar:
    """One bar of one symbol: ``open_time <= received < open_time + interval``, known at its end."""

    symbol: str
    interval: timedelta
    open_time_ns: int
    book: BookState
    flow: TradeFlow


BOOK_COLUMNS = tuple(field.name for field in fields(BookState))
FLOW_COLUMNS = tuple(field.name for field in fields(TradeFlow))
VALUE_COLUMNS = (*BOOK_COLUMNS, *FLOW_COLUMNS)
BAR_SCHEMA: dict[str, pl.DataType] = {
    "open_time": UTC_MICROSECONDS,
    "symbol": pl.String(),
    **dict.fromkeys(VALUE_COLUMNS, pl.Float64()),
}


@dataclass(frozen=True, slots=True)
class BarSettings:
    """What the bars measure.

    Parameters
    ----------
    intervals
        Lengths of the bars, such as `SECOND` and `MINUTE`.
    levels
        Levels of each side in the depth imbalance.
    depth_bps
        Distance from the mid up to which depth is summed.
    greatest_silence
        A stream that says nothing for longer has perhaps lost something: no bar ends later than this after
        its last message, and the next ones start as at the beginning.
    """

    intervals: tuple[timedelta, ...]
    levels: int
    depth_bps: float
    greatest_silence: timedelta


class BarRecorder:
    """Bars of one symbol from its events in the order of receipt.

    Bars lie on the receive clock, so that a bar never changes once it has ended; a clock that steps back puts
    its messages into the bar that is open. The bar during which the stream began is left out, for its trades
    are not all known, and so is one that has not ended.

    Parameters
    ----------
    book
        Kept by the recorder from here on; it may be read between events.
    """

    def __init__(self, book: LocalBook, tape: TradeTape, settings: BarSettings) -> None:
        self.book = book
        self.tape = tape
        self.settings = settings
        self._silence_ns = _nanoseconds(settings.greatest_silence)
        self._now_ns: int | None = None
        self._open: list[_OpenBar] = []

    def take(self, event: Event) -> tuple[list[MicrostructureBar], list[Anomaly]]:
        """Bars that ended before the event was received, and what is wrong with the event.

        Raises
        ------
        OrderBookError
            When the event is of another symbol.
        """
        bars = self.advance(event.known_at_ns)
        if self._now_ns is None or event.known_at_ns > self._now_ns + self._silence_ns:
            self._open = [_OpenBar(interval, event.known_at_ns) for interval in self.settings.intervals]
        self._now_ns = now_ns = max(event.known_at_ns, self._now_ns or 0)
        if not isinstance(event, Trade):
            return bars, self.book.take(event)
        anomaly = self.tape.take(event)
        for bar in self._open:
            bar.take(event, anomaly, now_ns)
        return bars, [] if anomaly is None else [anomaly]

    def advance(self, known_at_ns: int) -> list[MicrostructureBar]:
        """Bars that have ended by this time without a new event, as a live stream's clock asks."""
        if self._now_ns is None:
            return []
        until = min(known_at_ns, self._now_ns + self._silence_ns)
        ended = [bar for bar in self._open if bar.end_ns <= until]
        if not ended:
            return []
        state = book_state(self.book, levels=self.settings.levels, depth_bps=self.settings.depth_bps)
        bars = []
        for bar in ended:
            while bar.end_ns <= until:
                opened = bar.open_ns
                bars.append(MicrostructureBar(self.book.symbol, bar.interval, opened, state, bar.end()))
        return bars


@dataclass(slots=True)
class _TradeSums:
    """What the trades of one bar add up to so far."""

    lost: bool = False
    trades: int = 0
    volume: float = 0.0
    signed: float = 0.0
    value: float = 0.0

    def add(self, trade: Trade, anomaly: Anomaly | None) -> None:
        if anomaly is not None and anomaly.kind is AnomalyKind.DUPLICATE:
            return
        self.lost = self.lost or (anomaly is not None and anomaly.kind is AnomalyKind.GAP)
        self.trades += 1
        self.volume += trade.quantity
        self.signed += trade.taker_side * trade.quantity
        self.value += trade.price * trade.quantity

    def flow(self, interval: timedelta) -> TradeFlow:
        if self.lost:
            return TradeFlow()
        vwap = self.value / self.volume if self.trades else None
        return TradeFlow(self.trades / interval.total_seconds(), self.volume, self.signed, vwap)


class _OpenBar:
    """The bar of one interval that has not ended; the first is one that the stream will see whole."""

    __slots__ = ("_begin_ns", "_step", "_sums", "interval", "open_ns")

    def __init__(self, interval: timedelta, since_ns: int) -> None:
        self.interval = interval
        self._step = _nanoseconds(interval)
        self._sums = _TradeSums()
        self.open_ns = self._begin_ns = -(-since_ns // self._step) * self._step

    @property
    def end_ns(self) -> int:
        return self.open_ns + self._step

    def take(self, trade: Trade, anomaly: Anomaly | None, now_ns: int) -> None:
        if now_ns >= self._begin_ns:
            self._sums.add(trade, anomaly)

    def end(self) -> TradeFlow:
        """What was traded; the next bar is open then."""
        flow = self._sums.flow(self.interval)
        self._sums = _TradeSums()
        self.open_ns += self._step
        return flow


def book_state(book: LocalBook, *, levels: int, depth_bps: float) -> BookState:
    """How the book stands now."""
    if not book.synchronised:
        return BookState()
    bids, asks = book.bids(levels), book.asks(levels)
    if not bids or not asks:
        return BookState()
    (bid, bid_quantity), (ask, ask_quantity) = bids[0], asks[0]
    mid, both = (bid + ask) / 2, bid_quantity + ask_quantity
    microprice = (bid * ask_quantity + ask * bid_quantity) / both
    lowest, highest = book.reach()
    told = len(bids) == len(asks) == levels and bids[-1][0] >= lowest and asks[-1][0] <= highest
    floor, ceiling = mid * (1 - depth_bps / 10_000), mid * (1 + depth_bps / 10_000)
    near_bids, near_asks = book.within(floor, ceiling)
    return BookState(
        bid=bid,
        ask=ask,
        top_imbalance=(bid_quantity - ask_quantity) / both,
        depth_imbalance=_imbalance(bids, asks) if told else None,
        spread_bps=(ask - bid) / mid * 10_000,
        microprice=microprice,
        microprice_deviation_bps=(microprice / mid - 1) * 10_000,
        bid_depth_quote=_value(near_bids) if floor >= lowest else None,
        ask_depth_quote=_value(near_asks) if ceiling <= highest else None,
    )


def recording(
    recorder: BarRecorder, events: Iterable[Event]
) -> tuple[list[MicrostructureBar], list[Anomaly]]:
    """All bars of a recorded stream, and all that is wrong with it; the bar that is open at its end is none.

    Raises
    ------
    OrderBookError
        When an event is of another symbol.
    """
    bars: list[MicrostructureBar] = []
    anomalies: list[Anomaly] = []
    for event in events:
        ended, found = recorder.take(event)
        bars += ended
        anomalies += found
    return bars, anomalies


def bar_frame(bars: Iterable[MicrostructureBar], *, interval: timedelta) -> pl.DataFrame:
    """The bars of one interval in `BAR_SCHEMA`, in their order; nulls as in `BookState` and `TradeFlow`."""
    rows = [
        (
            bar.open_time_ns // 1000,
            bar.symbol,
            *(getattr(bar.book, name) for name in BOOK_COLUMNS),
            *(getattr(bar.flow, name) for name in FLOW_COLUMNS),
        )
        for bar in bars
        if bar.interval == interval
    ]
    schema = {**BAR_SCHEMA, "open_time": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row").cast({"open_time": UTC_MICROSECONDS})


def bar_facts(bars: pl.DataFrame, *, interval: timedelta, source: str) -> pl.DataFrame:
    """Every value of the bars as a fact ``microstructure/<column>``, known when its bar ended.

    The event is the bar's opening, as with candles. A null stays a fact without a value, so that no older
    value stands in for it. The names do not tell the interval: keep facts of one interval together.

    Parameters
    ----------
    bars
        Columns of `BAR_SCHEMA`, or those of `trade_bars`.
    """
    values = [name for name in VALUE_COLUMNS if name in bars.columns]
    return (
        bars.unpivot(values, index=["open_time", "symbol"])
        .select(
            symbol=pl.col("symbol"),
            event_time=pl.col("open_time"),
            known_at=pl.col("open_time") + interval,
            source=pl.lit(source),
            name=pl.lit(FACT_PREFIX) + pl.col("variable"),
            value=pl.col("value"),
        )
        .cast(pl.Schema(FACT_SCHEMA))
        .sort("known_at", "symbol", "name")
    )


def trade_bars(trades: pl.DataFrame, *, interval: timedelta, start: datetime, end: datetime) -> pl.DataFrame:
    """The trade columns of the bars from stored trades; sums agree with the recorder's to 1e-12.

    Parameters
    ----------
    trades
        In `TRADE_SCHEMA`, in any order, without duplicates; rows outside of the span are not read.
    start, end
        Span in which every trade is known. Bars that lie in it wholly are given, also those in which nobody
        traded, for each symbol that has a trade in it.

    Returns
    -------
    DataFrame
        ``open_time``, ``symbol`` and the columns of `TradeFlow`, sorted by symbol and open time.

    Raises
    ------
    OrderBookError
        When a column or type differs from `TRADE_SCHEMA`.
    """
    if dict(trades.schema) != TRADE_SCHEMA:
        raise OrderBookError(f"schema of the trades is {dict(trades.schema)}, {TRADE_SCHEMA} needed")
    step_us = interval // timedelta(microseconds=1)
    first, last = -(-_microseconds(start) // step_us) * step_us, _microseconds(end) // step_us * step_us
    slot = (pl.col("known_at").dt.epoch("ns") // 1000 // step_us * step_us).alias("open_time")
    inside = trades.with_columns(slot).filter(pl.col("open_time").is_between(first, last, closed="left"))
    sums = inside.group_by("symbol", "open_time").agg(
        trade_intensity=pl.len() / interval.total_seconds(),
        volume=pl.col("quantity").sum(),
        signed_volume=(pl.col("taker_side") * pl.col("quantity")).sum(),
        vwap=(pl.col("price") * pl.col("quantity")).sum() / pl.col("quantity").sum(),
    )
    slots = pl.DataFrame({"open_time": pl.int_range(first, last, step_us, eager=True)})
    grid = inside.select(pl.col("symbol").unique()).join(slots, how="cross")
    return (
        grid.join(sums, on=["symbol", "open_time"], how="left")
        .with_columns(pl.col("trade_intensity", "volume", "signed_volume").fill_null(0.0))
        .select(pl.col("open_time").cast(UTC_MICROSECONDS), "symbol", *FLOW_COLUMNS)
        .sort("symbol", "open_time")
    )


def _imbalance(bids: Iterable[tuple[float, float]], asks: Iterable[tuple[float, float]]) -> float:
    bought, sold = sum(quantity for _, quantity in bids), sum(quantity for _, quantity in asks)
    return (bought - sold) / (bought + sold)


def _value(levels: Iterable[tuple[float, float]]) -> float:
    return sum((price * quantity for price, quantity in levels), 0.0)


def _nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000


def _microseconds(moment: datetime) -> int:
    return int(pl.Series([moment], dtype=UTC_MICROSECONDS).dt.epoch("us")[0])
