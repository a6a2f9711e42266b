"""Streams read from the sandbox by ccxt.pro: every bar once, whole and in order, whatever the socket does."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from fakes.loopback_app import Loopback, serving
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from cryptoai_assets.lib.freshness import FreshnessWatch
from cryptoai_assets.lib.sources.bar_sequence import StreamedBars
from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.exchange import ExchangeSource
from cryptoai_assets.lib.sources.exchange_stream import (
    ExchangeStream,
    LostConnectionError,
    Reconnecting,
    streamed_book,
)
from cryptoai_assets.lib.sources.patience import Patience
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import binance_app
from cryptoai_assets.sandbox.faults import Fault, FaultPlan, Faults
from cryptoai_assets.sandbox.market import SandboxMarket

SAMPLE = pl.read_parquet(sample_file()).sort("symbol", "open_time")
START = datetime(2019, 1, 10, 12, 17, 31, tzinfo=UTC)
CURSOR = datetime(2019, 1, 10, 11, 50, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Rest:
    """Whether the venue gives candles over REST; markets and its clock it always tells."""

    is_down: bool = False


@dataclass
class Venue:
    """A running sandbox, and what reads from it."""

    market: SandboxMarket
    server: Loopback
    source: ExchangeSource
    rest: "Rest"

    def stream(self, *, silence_seconds: float = 5.0) -> ExchangeStream:
        reconnecting = Reconnecting(silence_seconds, 0.01, 0.05, asyncio.sleep, lambda: 0.5)
        return ExchangeStream(
            "Binance.US",
            "1m",
            source=self.source,
            base_url=self.server.http,
            reconnecting=reconnecting,
            looks=2,
        )

    def bars(self, symbol: str, count: int) -> pl.DataFrame:
        return self.market.bars(symbol, "1m", CURSOR, CURSOR + count * MINUTE)


@contextmanager
def venue(*, speed: float = 2400, sockets: bool = True, **shares: float) -> Iterator[Venue]:
    """Market in which a minute lasts 25 ms; faults are of the sockets, or there is none; REST is sound."""
    market = SandboxMarket(SAMPLE, seed=1, start=START, speed=speed, clock=lambda: datetime.now(UTC))
    plan = FaultPlan(6, {Fault(name): share for name, share in shares.items()})
    sound = binance_app(market, push_seconds=0.005)
    spoiled = Faults(sound, plan)
    rest = Rest()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not sockets:
            await send({"type": "websocket.close"})
        elif rest.is_down and scope["path"].endswith("/klines"):
            await Response("down", status_code=503)(scope, receive, send)
        else:
            await (spoiled if scope["type"] == "websocket" else sound)(scope, receive, send)

    with serving(app) as server:
        source = ExchangeSource(
            "Binance.US",
            "1m",
            base_url=server.http,
            patience=Patience(3, 0.01, 0.1, lambda _: None, lambda: 0.5),
            timeout_seconds=5,
            clock=lambda: datetime.now(UTC),
            simulated=True,
            milliseconds_between_requests=0.01,
        )
        yield Venue(market, server, source, rest)
        source.close()


@contextmanager
def lying_once(place: Venue, part: str | None, name: str, lie: object) -> Iterator[ExchangeStream]:
    """Stream of the venue behind a server that tells one message with another value in one place."""
    told = False

    def lied(text: str) -> str:
        nonlocal told
        message = json.loads(text)
        data = message.get("data", message)
        holder = data.get(part) if part else data
        if told or not isinstance(holder, dict) or name not in holder:
            return text
        told, holder[name] = True, lie
        return json.dumps(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(event: Message) -> None:
            await send({**event, "text": lied(event["text"])} if event.get("text") else event)

        await binance_app(place.market, push_seconds=0.005)(scope, receive, sent)

    with serving(app) as server:
        yield replace(place, server=server).stream()


async def bars_of(
    stream: AsyncGenerator[StreamedBars, None],
    count: int,
    *,
    over_rest_too: bool = True,
    until: Callable[[], bool] = lambda: True,
) -> list[StreamedBars]:
    """What the stream told until there are that many bars of each symbol that it told of, and it is so."""
    told: list[StreamedBars] = []
    heights: dict[str, int] = {}
    async with asyncio.timeout(60), aclosing(stream):
        async for bars in stream:
            told.append(bars)
            counted = bars.fetched.candles.height * (over_rest_too or not bars.over_rest)
            heights[bars.symbol] = heights.get(bars.symbol, 0) + counted
            if min(heights.values()) >= count and until():
                break
    return told


def frame(told: list[StreamedBars], symbol: str) -> pl.DataFrame:
    return pl.concat([bars.fetched.candles for bars in told if bars.symbol == symbol])


async def test_bars_from_a_cursor_are_first_those_of_rest_and_then_those_of_the_stream() -> None:
    with venue() as place:
        told = await bars_of(place.stream().candles({"BTCUSDT": CURSOR}), 30, over_rest_too=False)
        bars = frame(told, "BTCUSDT")
        assert bars.equals(place.bars("BTCUSDT", bars.height))
    assert told[0].over_rest
    assert told[0].fetched.candles["open_time"][0] == CURSOR


@pytest.mark.parametrize(
    "shares",
    [
        {"dropped": 1.0},
        {"missing_bar": 0.3, "duplicated_bar": 0.3},
        {"late_bar": 0.3, "out_of_order_bar": 0.3},
        {"dropped": 1.0, "missing_bar": 0.2, "duplicated_bar": 0.2, "late_bar": 0.2},
    ],
    ids=lambda shares: "+".join(shares),
)
async def test_no_bar_is_lost_doubled_reordered_or_half_whatever_the_socket_does(
    shares: dict[str, float],
) -> None:
    with venue(**shares) as place:
        cursors = {"BTCUSDT": CURSOR, "ETHUSDT": CURSOR + 7 * MINUTE}
        stream = place.stream()
        drops = "dropped" in shares
        # On a busy machine most bars come over REST, and a socket takes long to get as far as to drop.
        told = await bars_of(
            stream.candles(cursors), 130, until=lambda: not drops or stream.last_failure is not None
        )
        btc, eth = frame(told, "BTCUSDT"), frame(told, "ETHUSDT")
        assert btc.equals(place.bars("BTCUSDT", btc.height))
        assert eth.equals(place.bars("ETHUSDT", eth.height + 7)[7:])
    assert sum(part.over_rest for part in told) > 2
    assert drops == (stream.last_failure is not None)


async def test_bars_go_on_behind_holes_while_rest_is_down_and_holes_are_filled_once_it_is_up() -> None:
    with venue(missing_bar=0.2) as place:
        place.rest.is_down = True
        told: list[StreamedBars] = []
        alone = 0
        async with asyncio.timeout(60), aclosing(place.stream().candles({"BTCUSDT": CURSOR})) as stream:
            async for part in stream:
                told.append(part)
                alone += part.fetched.candles.height
                # Both the history before the stream and bars of its own are missing by then.
                place.rest.is_down = alone < 40
                if part.over_rest:
                    break
        bars = frame(told, "BTCUSDT")
        count = (bars["open_time"][-1] - CURSOR) // MINUTE + 1
        due = place.bars("BTCUSDT", count)
        assert bars.equals(due.join(bars.select("open_time"), on="open_time", how="semi"))
        steps = bars["open_time"].diff().drop_nulls()
        assert bars["open_time"][0] > START
        assert steps.max() > MINUTE
    assert not any(part.over_rest for part in told[:-1])


async def test_bars_come_over_rest_while_no_socket_opens() -> None:
    with venue(sockets=False) as place:
        stream = place.stream()
        told = await bars_of(stream.candles({"BTCUSDT": CURSOR}), 60)
        candles = frame(told, "BTCUSDT")
        assert candles.equals(place.bars("BTCUSDT", candles.height))
    assert all(part.over_rest for part in told)
    assert stream.last_failure is not None


async def test_socket_that_looks_healthy_and_delivers_nothing_is_an_alarm_and_bars_come_over_rest() -> None:
    with venue(speed=300, half_open=1.0) as place:
        told: list[StreamedBars] = []
        watch = FreshnessWatch(("BTCUSDT",), MINUTE, place.market.now(), MINUTE / 2)
        stream = place.stream(silence_seconds=1.0)
        async with asyncio.timeout(60), aclosing(stream.candles({"BTCUSDT": CURSOR})) as bars:
            async for part in bars:
                told.append(part)
                if not part.over_rest:
                    watch.received("BTCUSDT", part.fetched.candles["open_time"])
                if stream.last_failure and place.market.now() > START + 20 * MINUTE:
                    break
        assert stream.last_failure == "BTCUSDT: no message in 1 seconds"
        assert told[-1].over_rest
        last = told[-1].fetched.candles["open_time"][-1]
        (verdict,) = watch.verdicts(last + 2 * MINUTE)
        assert verdict.late
        heard = verdict.newest or watch.since
        assert watch.late(heard + 3 * MINUTE)
        candles = frame(told, "BTCUSDT")
        assert candles.equals(place.bars("BTCUSDT", candles.height))


@dataclass
class Broken:
    """A source that answers nothing."""

    name: str = "broken"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        raise SourceError(f"no answer about {symbol} from {start} to {end}")


async def test_alarm_does_not_wait_for_a_bar_that_never_comes() -> None:
    with venue(speed=300, half_open=1.0) as place:
        place.source = Broken()
        watch = FreshnessWatch(("BTCUSDT",), MINUTE, place.market.now(), MINUTE / 2)

        async def consume() -> None:
            async for part in place.stream(silence_seconds=30).candles({"BTCUSDT": START}):
                watch.received("BTCUSDT", part.fetched.candles["open_time"])

        consuming = asyncio.create_task(consume())
        async with asyncio.timeout(30):
            while not (alarms := watch.late(place.market.now())):
                await asyncio.sleep(0.01)
        newest = alarms[0].newest
        since = watch.since if newest is None else newest + MINUTE
        assert place.market.now() - since <= 3 * MINUTE
        assert not consuming.done()
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


async def test_trades_are_told_once_and_the_first_of_a_connection_are_marked() -> None:
    with venue(speed=60, dropped=1.0) as place:
        parts = []
        stream = place.stream()
        async with asyncio.timeout(60), aclosing(stream.trades(["BTCUSDT"])) as trades:
            async for part in trades:
                parts.append(part)
                if len(parts) > 15 and sum(one.after_gap for one in parts) > 1:
                    break
        assert parts[0].after_gap
        for part in parts:
            first, count = int(part.trades["trade_id"][0]), part.trades.height
            true = place.market.trades_from("BTCUSDT", first, count)
            expected = true.with_columns(pl.col("trade_id").cast(pl.String)).select(part.trades.columns)
            assert part.trades.equals(expected)
        for before, part in pairwise(parts):
            step = int(part.trades["trade_id"][0]) - int(before.trades["trade_id"][-1])
            assert step >= 1 if part.after_gap else step == 1


async def test_order_book_is_that_of_the_market_and_a_hole_in_its_numbers_starts_it_anew() -> None:
    with venue(speed=60, book_gap=0.2) as place:
        books = []
        stream = place.stream()
        async with asyncio.timeout(60), aclosing(stream.order_books(["ETHUSDT"], levels=10)) as told:
            async for book in told:
                books.append(book)
                if len(books) > 25 and stream.last_failure:
                    break
        assert "out of sync" in stream.last_failure or "checksum" in stream.last_failure.lower()
        for book in books:
            assert book.bids[0][0] < book.asks[0][0]
            assert book.update_id is not None
            at = datetime.fromtimestamp(book.update_id / 8 / 10, tz=UTC)
            true = place.market.book("ETHUSDT", at)
            assert (true.update_id, list(book.bids)) == (
                book.update_id,
                list(map(tuple, true.bids[:10].tolist())),
            )


async def test_book_that_crosses_is_a_lost_connection() -> None:
    book = {"timestamp": None, "nonce": None, "bids": [[10.0, 1.0]], "asks": [[11.0, 1.0], [12.0, 1.0]]}
    told = streamed_book("BTCUSD", book, levels=1)
    assert (told.time, told.update_id, told.bids, told.asks) == (None, None, ((10.0, 1.0),), ((11.0, 1.0),))
    assert streamed_book("BTCUSD", book | {"bids": []}, levels=1).bids == ()
    with pytest.raises(LostConnectionError, match="the book is crossed: bid 11, ask 11"):
        streamed_book("BTCUSD", book | {"bids": [[11.0, 2.0]]}, levels=1)


async def test_bar_and_trade_of_impossible_times_are_lost_connections() -> None:
    with venue(speed=600) as place, lying_once(place, "k", "t", 10**20) as stream:
        bars = stream.candles({"BTCUSDT": CURSOR})
        await bars_of(bars, 5, until=lambda: stream.last_failure is not None)
        assert "BTCUSDT: OverflowError" in stream.last_failure
    with venue(speed=60) as place, lying_once(place, None, "T", None) as stream:
        async with asyncio.timeout(60), aclosing(stream.trades(["BTCUSDT"])) as trades:
            assert (await anext(trades)).trades["time"].null_count() == 0
        assert "BTCUSDT: TypeError" in stream.last_failure


async def test_what_is_not_traded_is_refused() -> None:
    with venue() as place:
        with pytest.raises(SourceRefusedError, match="0 spot markets DOGEUSDT"):
            await bars_of(place.stream().candles({"BTCUSDT": CURSOR, "DOGEUSDT": CURSOR}), 10_000)
        with pytest.raises(SourceRefusedError, match="has no streams"):
            ExchangeStream(
                "Nowhere",
                "1m",
                source=place.source,
                base_url=None,
                reconnecting=Reconnecting(1, 1, 1, asyncio.sleep, lambda: 0.5),
                looks=1,
            )


async def test_stream_that_is_left_leaves_nothing_running() -> None:
    with venue() as place:
        before = asyncio.all_tasks()
        stream = place.stream().candles({"BTCUSDT": CURSOR, "ETHUSDT": CURSOR})
        await anext(stream)
        assert asyncio.all_tasks() > before
        await stream.aclose()
        async with asyncio.timeout(10):
            while asyncio.all_tasks() > before:
                await asyncio.sleep(0)
