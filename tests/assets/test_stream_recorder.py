"""The recorder through ccxt.pro against the simulated venue: every trade once, whole books, bars of both."""

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from time import monotonic

import polars as pl
import pytest
from fakes.archives import embedded_candles
from fakes.loopback_app import Loopback, serving

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.microstructure_days import day_bars
from cryptoai_assets.lib.orderbook.events import Snapshot, Trade
from cryptoai_assets.lib.sources.candle_source import SourceRefusedError
from cryptoai_assets.lib.sources.exchange_stream import (
    TRADE_SCHEMA,
    StreamedBook,
    StreamedTrades,
    counts_changes,
    is_streamed,
)
from cryptoai_assets.lib.sources.stream_recorder import (
    KEPT_TRADES,
    LEVELS,
    StreamRecorder,
    TradeNumbers,
    book_line,
    is_readable,
    trade_lines,
)
from cryptoai_assets.record import is_recorded, recorder_of, unnumbered
from cryptoai_assets.sandbox.__main__ import sandbox_app
from cryptoai_assets.sandbox.market import SandboxMarket

START = datetime(2019, 9, 1, 12, tzinfo=UTC)
MARKET_SECONDS = 60


@dataclass(frozen=True)
class Venue:
    """A running sandbox, in which a minute passes in a second."""

    market: SandboxMarket
    server: Loopback

    def clock_ns(self) -> int:
        return int(self.market.now().timestamp() * 1e9)


@pytest.fixture(scope="module")
def venue() -> Iterator[Venue]:
    market = SandboxMarket(
        embedded_candles(), seed=1, start=START, speed=MARKET_SECONDS, clock=lambda: datetime.now(UTC)
    )
    with serving(sandbox_app(market, seed=1)) as server:
        yield Venue(market, server)


@pytest.fixture(scope="module")
def recorded(venue: Venue, tmp_path_factory: pytest.TempPathFactory) -> MarketResource:
    """Two recordings, each of four market minutes; never to be changed."""
    market = MarketResource(
        name="sandbox", root=str(tmp_path_factory.mktemp("streamed")), sandbox=venue.server.http, tries=1
    )
    for _ in range(2):
        recorder = StreamRecorder(
            market.home.recordings, market.settings.symbols, market.stream(), venue.clock_ns
        )
        since, last = venue.clock_ns(), monotonic() + 120

        def enough(since: int = since, last: float = last) -> bool:
            assert monotonic() < last, "nothing is recorded"
            return venue.clock_ns() - since > 4 * 60 * 10**9

        recorder.record(enough)
    return market


def lines_of(market: MarketResource, symbol: str, kind: str) -> list[dict[str, object]]:
    text = market.home.recordings.path(symbol, START.date()).read_text()
    messages = [json.loads(line.partition(" ")[2]) for line in text.splitlines()]
    return [message[kind] for message in messages if kind in message]


def test_every_trade_is_recorded_once_with_a_hole_between_two_recordings(
    recorded: MarketResource, venue: Venue
) -> None:
    trades = lines_of(recorded, "BTCUSDT", "streamed_trade")
    ids, numbers = ([int(str(trade[name])) for trade in trades] for name in ("trade_id", "number"))
    assert len(set(ids)) == len(ids) > 10
    for (earlier, number), (later, next_number) in pairwise(zip(ids, numbers, strict=True)):
        # Where the venue's numbers have a hole, ours have one.
        assert (later - earlier == 1) == (next_number - number == 1)
    assert sum(after - before > 1 for before, after in pairwise(numbers)) == 1
    true = venue.market.trades_from("BTCUSDT", ids[0], 1).row(0, named=True)
    assert (float(str(trades[0]["price"])), float(str(trades[0]["quantity"])), trades[0]["buy"]) == (
        true["price"],
        true["volume"],
        true["buy"],
    )


def test_what_was_recorded_becomes_bars_with_a_book_and_null_flow_where_trades_were_missed(
    recorded: MarketResource, venue: Venue
) -> None:
    for symbol in recorded.settings.symbols:
        bars, anomalies = day_bars(
            recorded.home, symbol, START.date(), until=venue.market.now(), resume=False
        )
        assert bars["top_imbalance"].drop_nulls().is_between(-1, 1).all()
        assert bars["spread_bps"].drop_nulls().len() >= 2
        assert (bars["spread_bps"].drop_nulls() > 0).all()
        assert (bars["trade_intensity"].drop_nulls() > 0).any()
        assert {str(anomaly.kind) for anomaly in anomalies} <= {"gap"}


class ToldStream:
    """Says what it is given, a second of receipt apart."""

    def __init__(self, told: list[StreamedBook | StreamedTrades]) -> None:
        self.told, self.clock_ns = told, count(int(START.timestamp()) * 10**9, 10**9).__next__

    async def books_and_trades(
        self, _symbols: Sequence[str], *, levels: int
    ) -> AsyncGenerator[StreamedBook | StreamedTrades, None]:
        assert levels == LEVELS
        for one in self.told:
            yield one


def trades_of(*ids: str, after_gap: bool = False, buy: bool | None = True) -> StreamedTrades:
    rows = [(START, "BTCUSDT", name, 10.0, 1.0, buy) for name in ids]
    return StreamedTrades("BTCUSDT", pl.DataFrame(rows, TRADE_SCHEMA, orient="row"), after_gap=after_gap)


def test_trades_count_as_missed_around_a_lost_connection_and_where_the_takers_side_is_not_told(
    tmp_path: Path,
) -> None:
    home = MarketResource(name="sandbox", root=str(tmp_path)).home
    book = StreamedBook("BTCUSDT", None, None, ((10.0, 1.0),), ((11.0, 3.0),))
    told = [
        trades_of("a", after_gap=True),
        book,
        trades_of("b"),
        # The venue tells its last trades once more.
        trades_of("b", "c", after_gap=True),
        trades_of("d", buy=None),
        trades_of("e"),
    ]
    stream = ToldStream(told)
    StreamRecorder(home.recordings, ("BTCUSDT",), stream, stream.clock_ns).record(lambda: False)
    events = list(home.recordings.events("BTCUSDT", START.date(), snapshot_limit=1000))
    numbers = [event.id for event in events if isinstance(event, Trade)]
    assert [after - before for before, after in pairwise(numbers)] == [1, 2, 2]
    [snapshot] = [event for event in events if isinstance(event, Snapshot)]
    assert (snapshot.bids, snapshot.asks, snapshot.limit) == ([(10.0, 1.0)], [(11.0, 3.0)], LEVELS)


def test_trade_that_came_before_has_no_number_and_one_without_a_name_always_has() -> None:
    numbers = TradeNumbers(100)
    assert [numbers.take(name) for name in ("a", "b", "a", None, None)] == [101, 102, None, 103, 104]
    numbers.skip()
    assert numbers.take("c") == 106
    for name in range(KEPT_TRADES):
        numbers.take(str(name))
    assert numbers.take("a") is not None


def market_at(venue: str, root: Path) -> MarketResource:
    (root / "markets").mkdir()
    (root / "markets" / "own.toml").write_text(f'venue = "{venue}"\n')
    return MarketResource(name="own", root=str(root))


def test_venue_without_numbers_is_recorded_and_told_by_name(tmp_path: Path) -> None:
    assert isinstance(recorder_of(market_at("Kraken", tmp_path)), StreamRecorder)
    assert [counts_changes(name) for name in ("Kraken", "Coinbase", "Bitstamp")] == [False] * 3
    assert counts_changes("Binance.US")
    assert unnumbered("Kraken").startswith("Kraken gives no sequence numbers")


def test_venue_without_streams_is_refused_by_name(tmp_path: Path) -> None:
    assert not is_streamed("bigone")
    assert not is_recorded("bigone")
    assert is_recorded("Coinbase")
    with pytest.raises(SourceRefusedError, match="'bigone' has no streams"):
        recorder_of(market_at("bigone", tmp_path))


@pytest.mark.parametrize(
    ("price", "readable"), [(100.5, True), (None, False), (float("nan"), False), (0.0, False)]
)
def test_trade_that_could_not_be_read_back_is_not_recorded(price: float | None, readable: bool) -> None:
    rows = [(START, "BTCUSDT", "a", price, 2.0, True)]
    trades = pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")
    [line] = trade_lines(StreamedTrades("BTCUSDT", trades, after_gap=False), TradeNumbers(0))
    assert is_readable("BTCUSDT", line) is readable


@pytest.mark.parametrize(
    ("size", "readable"), [(2.0, True), (None, False), (float("inf"), False), (-1.0, False)]
)
def test_book_that_could_not_be_read_back_is_not_recorded(size: float | None, readable: bool) -> None:
    line = book_line(StreamedBook("BTCUSDT", START, 7, ((100.0, size),), ((101.0, 1.0),)))
    assert is_readable("BTCUSDT", line) is readable
