"""Bars of book and trades: hand-made values, nulls where nothing is known, and the real capture's signal."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.orderbook.book import BINANCE_FUTURES, BITSTAMP, LocalBook, TradeTape
from cryptoai_assets.lib.orderbook.events import Diff, Event, OrderBookError, Snapshot, Trade
from cryptoai_assets.lib.orderbook.microstructure import (
    BAR_SCHEMA,
    FLOW_COLUMNS,
    MINUTE,
    SECOND,
    TRADE_SCHEMA,
    VALUE_COLUMNS,
    BarRecorder,
    BarSettings,
    BookState,
    MicrostructureBar,
    TradeFlow,
    bar_facts,
    bar_frame,
    recording,
    trade_bars,
)
from edge_bundle.facts import as_of_join, validated_facts

START = datetime(2024, 1, 1, tzinfo=UTC)
START_NS = int(START.timestamp()) * 10**9
SETTINGS = BarSettings((SECOND,), levels=2, depth_bps=150.0, greatest_silence=timedelta(seconds=5))


def at(seconds: float) -> int:
    return START_NS + round(seconds * 10**9)


def snapshot(seconds: float, last_id: int = 10) -> Snapshot:
    bids, asks = [(99.0, 3.0), (98.0, 1.0)], [(101.0, 1.0), (102.0, 1.0)]
    return Snapshot("BTCUSDT", at(seconds), None, last_id, bids, asks, None)


def trade(
    seconds: float, number: int, *, price: float = 100.0, quantity: float = 1.0, side: int = 1
) -> Trade:
    return Trade("BTCUSDT", at(seconds), None, number, price, quantity, side)


def recorder(settings: BarSettings = SETTINGS) -> BarRecorder:
    book = LocalBook("BTCUSDT", BINANCE_FUTURES, kept_diffs=1000)
    return BarRecorder(book, TradeTape("BTCUSDT", BINANCE_FUTURES, kept_ids=1000), settings)


def bars_of(events: Sequence[Event], settings: BarSettings = SETTINGS) -> list[MicrostructureBar]:
    return recording(recorder(settings), events)[0]


def test_bar_measures_the_book_at_its_end_and_the_trades_during_it() -> None:
    events = [
        snapshot(0.0),
        trade(0.1, 1, price=100.0, quantity=3.0),
        trade(0.999999999, 2, price=104.0, quantity=1.0, side=-1),
        trade(1.0, 3, price=500.0),
    ]
    (bar,) = bars_of(events)
    assert bar.open_time_ns == START_NS
    assert astuple(bar.flow) == pytest.approx((2.0, 4.0, 2.0, 101.0))
    assert astuple(bar.book) == pytest.approx(
        (99.0, 101.0, 0.5, 1 / 3, 200.0, 100.5, 50.0, 99.0 * 3, 101.0), rel=1e-12
    )


def test_book_changes_that_come_at_the_end_belong_to_the_next_bar() -> None:
    change = Diff("BTCUSDT", at(1.0), None, 11, 11, 10, [(100.0, 1.0)], [])
    first, second = bars_of([snapshot(0.0), change, trade(2.0, 1)])
    assert (first.book.bid, second.book.bid) == (99.0, 100.0)


def test_bar_of_a_book_without_synchronisation_knows_its_trades_only() -> None:
    (bar,) = bars_of([trade(0.0, 1), trade(1.0, 2)])
    assert bar.book == BookState()
    assert bar.flow == TradeFlow(1.0, 1.0, 1.0, 100.0)


def test_bar_after_a_gap_is_null_and_after_a_snapshot_is_not() -> None:
    gap = Diff("BTCUSDT", at(0.5), None, 20, 21, 19, [], [])
    bars = bars_of([snapshot(0.0), gap, snapshot(1.5, last_id=21), trade(2.0, 1)])
    assert [bar.book.bid for bar in bars] == [None, 99.0]


def test_depth_is_null_beyond_what_a_limited_snapshot_told() -> None:
    (bar,) = bars_of([replace(snapshot(0.0), limit=2), trade(1.0, 1)])
    assert bar.book.depth_imbalance == pytest.approx(1 / 3)
    assert (bar.book.bid_depth_quote, bar.book.ask_depth_quote) == (297.0, 101.0)
    wide = replace(SETTINGS, levels=3, depth_bps=250.0)
    (bar,) = bars_of([replace(snapshot(0.0), limit=2), trade(1.0, 1)], wide)
    assert (bar.book.depth_imbalance, bar.book.bid_depth_quote, bar.book.ask_depth_quote) == (
        None,
        None,
        None,
    )
    assert bar.book.top_imbalance == 0.5


def test_second_without_a_trade_has_no_vwap_and_one_with_a_lost_trade_no_flow() -> None:
    bars = bars_of([snapshot(0.0), trade(1.0, 1), trade(2.0, 3), trade(3.0, 4), trade(4.0, 5)])
    assert [bar.flow for bar in bars] == [
        TradeFlow(0.0, 0.0, 0.0, None),
        TradeFlow(1.0, 1.0, 1.0, 100.0),
        TradeFlow(),
        TradeFlow(1.0, 1.0, 1.0, 100.0),
    ]


def test_doubled_trade_counts_once_and_a_late_one_when_it_comes() -> None:
    tape = TradeTape("BTCUSDT", BITSTAMP, kept_ids=10)
    watching = BarRecorder(LocalBook("BTCUSDT", BITSTAMP, kept_diffs=9), tape, SETTINGS)
    events = [trade(0.0, 5), trade(0.1, 5), trade(0.2, 9), trade(1.5, 7), trade(2.0, 10)]
    bars, anomalies = recording(watching, events)
    assert [bar.flow.volume for bar in bars] == [2.0, 1.0]
    assert [anomaly.kind for anomaly in anomalies] == ["duplicate", "out of order"]


def test_second_in_which_the_stream_began_is_left_out() -> None:
    bars = bars_of([trade(0.5, 1), trade(0.7, 2), trade(1.2, 3), trade(2.0, 4)])
    assert [(bar.open_time_ns, bar.flow.volume) for bar in bars] == [(at(1), 1.0)]


def test_no_bar_ends_in_a_silence_that_is_too_long() -> None:
    bars = bars_of(
        [snapshot(0.0), trade(2.5, 1), trade(9.5, 2), trade(9.9, 3), trade(10.5, 4), trade(11.0, 5)]
    )
    assert [bar.open_time_ns for bar in bars] == [at(second) for second in (0, 1, 2, 3, 4, 5, 6, 10)]


def test_bars_end_on_a_live_clock_as_they_do_on_the_next_event() -> None:
    live, lazy = recorder(), recorder()
    for watching in (live, lazy):
        watching.take(trade(0.0, 1))
    early = [bar for second in (0.5, 1.0, 2.5, 3.0, 60.0) for bar in live.advance(at(second))]
    assert early + live.take(trade(60.0, 2))[0] == lazy.take(trade(60.0, 2))[0]
    assert len(early) == 5


def test_clock_that_steps_back_reopens_no_bar() -> None:
    bars = bars_of([trade(0.0, 1), trade(1.1, 2), trade(0.5, 3), trade(2.0, 4)])
    assert [bar.flow.volume for bar in bars] == [1.0, 2.0]
    bars = bars_of([trade(0.5, 1), trade(1.1, 2), trade(0.7, 3), trade(2.0, 4)])
    assert [bar.flow.volume for bar in bars] == [2.0]


def test_minutes_and_seconds_come_from_one_pass() -> None:
    settings = replace(SETTINGS, intervals=(SECOND, MINUTE))
    bars = bars_of([trade(second, number) for number, second in enumerate(range(61))], settings)
    seconds, minutes = bar_frame(bars, interval=SECOND), bar_frame(bars, interval=MINUTE)
    assert (seconds.height, minutes.height) == (60, 1)
    assert seconds["volume"].sum() == minutes["volume"][0] == 60.0
    assert dict(seconds.schema) == dict(minutes.schema) == BAR_SCHEMA


def test_frame_of_no_bars_keeps_its_schema() -> None:
    assert dict(bar_frame([], interval=SECOND).schema) == BAR_SCHEMA


def test_facts_are_known_at_the_end_of_their_bar_and_join_then() -> None:
    bars = bar_frame(bars_of([snapshot(0.0), trade(1.0, 1), trade(2.0, 2)]), interval=SECOND)
    facts = validated_facts(bar_facts(bars, interval=SECOND, source="a capture"))
    assert facts.height == 2 * len(VALUE_COLUMNS)
    assert (facts["known_at"] - facts["event_time"]).unique().to_list() == [SECOND]
    candles = pl.DataFrame(
        {"symbol": "BTCUSDT", "open_time": [START - SECOND, START, START + SECOND]},
        schema_overrides={"open_time": BAR_SCHEMA["open_time"]},
    )
    day = timedelta(days=1)
    joined = as_of_join(candles, facts, name="microstructure/vwap", interval=SECOND, greatest_age=day)
    assert joined["microstructure/vwap"].to_list() == [None, None, 100.0]
    joined = as_of_join(candles, facts, name="microstructure/bid", interval=SECOND, greatest_age=day)
    assert joined["microstructure/bid"].to_list() == [None, 99.0, 99.0]


def trade_frame(trades: Sequence[Trade]) -> pl.DataFrame:
    rows = [(one.symbol, one.known_at_ns, one.price, one.quantity, one.taker_side) for one in trades]
    schema = {**TRADE_SCHEMA, "known_at": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row").cast(pl.Schema(TRADE_SCHEMA))


def assert_same_flow(recorded: pl.DataFrame, vectorised: pl.DataFrame) -> None:
    assert recorded["open_time"].equals(vectorised["open_time"])
    for name in FLOW_COLUMNS:
        assert recorded[name].is_null().equals(vectorised[name].is_null())
        scale = recorded["volume" if name == "signed_volume" else name].abs()
        assert ((recorded[name] - vectorised[name]).abs() <= 1e-12 * scale).all()


@given(
    trades=st.lists(
        st.tuples(
            st.integers(0, 4 * 10**9),
            st.floats(1e-3, 1e6),
            st.floats(1e-8, 1e6),
            st.sampled_from([1, -1]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_stored_trades_give_the_bars_of_the_event_path(trades: list[tuple[int, float, float, int]]) -> None:
    events = [
        Trade("BTCUSDT", START_NS + moment, None, number, price, quantity, side)
        for number, (moment, price, quantity, side) in enumerate(sorted(trades))
    ]
    bars = bar_frame(bars_of([snapshot(0.0), *events, replace(snapshot(5.0))]), interval=SECOND)
    end = START + timedelta(seconds=5)
    stored = trade_bars(trade_frame(events), interval=SECOND, start=START, end=end)
    assert bars.height == 5
    assert_same_flow(bars, stored)


def test_stored_trades_outside_of_whole_bars_are_not_read() -> None:
    other = replace(trade(2.1, 1), symbol="ETHUSDT")
    frame = trade_frame([trade(0.2, 1), trade(1.5, 2), trade(2.5, 3), other])
    late = START + timedelta(seconds=0.1)
    bars = trade_bars(frame, interval=SECOND, start=late, end=START + timedelta(seconds=2.9))
    assert bars.select("open_time", "symbol").rows() == [(START + SECOND, "BTCUSDT")]
    assert bars["volume"].to_list() == [1.0]


def test_stored_trades_with_another_column_are_refused() -> None:
    with pytest.raises(OrderBookError, match="schema of the trades"):
        trade_bars(pl.DataFrame({"price": [1.0]}), interval=SECOND, start=START, end=START)


@pytest.fixture(scope="module")
def real_bars(futures_events: list[Event]) -> list[MicrostructureBar]:
    settings = BarSettings((SECOND, MINUTE), levels=5, depth_bps=10.0, greatest_silence=MINUTE)
    bars, anomalies = recording(recorder(settings), futures_events)
    assert anomalies == []
    return bars


def test_real_top_imbalance_foretells_the_next_seconds_return(real_bars: list[MicrostructureBar]) -> None:
    bars = bar_frame(real_bars, interval=SECOND)
    forward = ((pl.col("bid") + pl.col("ask")) / 2).log().diff().shift(-1)
    assert bars.height == 343
    for name in ("top_imbalance", "microprice_deviation_bps"):
        assert bars.select(pl.corr(name, forward)).item() >= 0.20


def test_real_bars_lie_within_their_bounds(real_bars: list[MicrostructureBar]) -> None:
    bars = bar_frame(real_bars, interval=SECOND)
    assert bars["top_imbalance"].is_between(-1, 1).all()
    assert (bars["spread_bps"] > 0).all()
    assert bars.select(pl.col("microprice").is_between("bid", "ask").all()).item()
    assert bars["vwap"].is_between(bars["bid"].min() * 0.99, bars["ask"].max() * 1.01).all()
    # The market falls below the 1,000 levels of the one snapshot: the depth there is said to be unknown.
    nulls = bars.null_count().row(0, named=True)
    assert {name for name, count in nulls.items() if count} == {"depth_imbalance", "bid_depth_quote"}
    assert bars.filter(pl.col("bid") < 61653.4)["depth_imbalance"].null_count() > 0


@pytest.mark.parametrize("interval", [SECOND, MINUTE])
def test_real_stored_trades_give_the_bars_of_the_capture(
    real_bars: list[MicrostructureBar], shared_data: Callable[[str], Path], interval: timedelta
) -> None:
    raw = pl.read_parquet(shared_data("orderbook/hft_usdm_btcusdt_trades.parquet"))
    taker_side = pl.when("buyer_is_maker").then(-1).otherwise(1)
    trades = raw.select(
        pl.lit("BTCUSDT").alias("symbol"),
        pl.col("recv_time").alias("known_at"),
        "price",
        pl.col("qty").alias("quantity"),
        taker_side.cast(pl.Int8).alias("taker_side"),
    )
    bars = bar_frame(real_bars, interval=interval)
    start, end = bars["open_time"][0], bars["open_time"][-1] + interval
    stored = trade_bars(
        trades.sample(fraction=1.0, shuffle=True, seed=1), interval=interval, start=start, end=end
    )
    assert_same_flow(bars, stored)
