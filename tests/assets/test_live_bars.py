"""Bars of a stream reach the service as they come; what the stream itself brings is what it is judged by."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.tiny_bundle import walk_candles
from starlette.types import Receive, Scope, Send

from cryptoai_assets.defs.monitoring.sensors import silent_streams_are_told
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.live_bars import StreamRecord, cursors, keep_online
from cryptoai_assets.lib.market import Market, market_preset
from cryptoai_assets.lib.quality import FAR_OFF, screened
from cryptoai_assets.lib.sources.bar_sequence import StreamedBars
from cryptoai_assets.lib.sources.candle_source import Fetched
from cryptoai_assets.lib.sources.exchange_stream import ExchangeStream, Reconnecting
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import binance_app
from cryptoai_assets.sandbox.faults import Fault, FaultPlan, Faults
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_serving.bar_shelf import KEPT_BARS
from cryptoai_serving.bars import BarStore
from edge_bundle.alerts import Outbox
from edge_bundle.facts import empty_facts

pytestmark = pytest.mark.anyio
MARKET = market_preset("sandbox")
NOON = datetime(2019, 9, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CANDLES = walk_candles(MARKET.symbols, bars=6, interval="1m", seed=1, start=NOON)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BarStore]:
    with BarStore(tmp_path / "bars.db") as store:
        yield store


def part(symbol: str, first: int, last: int, *, over_rest: bool) -> StreamedBars:
    own = CANDLES.filter(symbol=symbol)[first:last]
    return StreamedBars(symbol, Fetched(own, empty_facts()), over_rest=over_rest)


async def told(*parts: StreamedBars) -> AsyncIterator[StreamedBars]:
    for one in parts:
        yield one


async def kept(store: BarStore, record: Path, *parts: StreamedBars, market: Market = MARKET) -> StreamRecord:
    await keep_online(
        told(*parts), store, record, market=market, since=NOON, last_failure=lambda: "a lost connection"
    )
    found = StreamRecord.read(record)
    assert found is not None
    return found


async def test_every_bar_is_put_online_and_only_those_of_the_stream_itself_are_taken_down(
    store: BarStore, tmp_path: Path
) -> None:
    record = await kept(
        store,
        tmp_path / "data" / "stream.json",
        part("BTCUSDT", 0, 2, over_rest=True),
        part("BTCUSDT", 2, 4, over_rest=False),
        part("BTCUSDT", 4, 6, over_rest=True),
        part("ETHUSDT", 0, 6, over_rest=True),
    )
    assert store.latest(MARKET.symbols, 10).equals(CANDLES)
    assert record == StreamRecord(NOON, {"BTCUSDT": NOON + 3 * MINUTE}, "a lost connection")


async def test_record_is_there_before_the_first_bar_and_none_where_no_stream_was_asked_for(
    store: BarStore, tmp_path: Path
) -> None:
    assert StreamRecord.read(tmp_path / "stream.json") is None
    assert await kept(store, tmp_path / "stream.json") == StreamRecord(NOON, {}, "a lost connection")


async def test_broken_bar_is_not_put_online(store: BarStore, tmp_path: Path) -> None:
    own = CANDLES.filter(symbol="BTCUSDT")
    broken = own.with_columns(high=pl.when(pl.col("open_time") == NOON).then(0.5).otherwise("high"))
    bars = StreamedBars("BTCUSDT", Fetched(broken, empty_facts()), over_rest=False)
    await kept(store, tmp_path / "stream.json", bars)
    assert store.latest(["BTCUSDT"], 10).equals(own[1:])


async def test_bars_far_from_those_before_are_left_out_one_by_one_as_cleaning_leaves_them_out(
    store: BarStore, tmp_path: Path
) -> None:
    rule = replace(MARKET.plausibility, bars=20)
    bar, prices = pl.int_range(pl.len()), pl.col("open", "high", "low", "close")
    # One bar with a low of a cent, and a price that doubles and stays, and is believed when it is usual.
    streamed = (
        walk_candles(["BTCUSDT"], bars=100, interval="1m", seed=1, start=NOON)
        .with_columns(low=pl.when(bar == 50).then(0.01).otherwise("low"))
        .with_columns(prices * pl.when(bar < 60).then(1).otherwise(2))
    )
    store.write_bars(streamed[:40])
    parts = [
        StreamedBars("BTCUSDT", Fetched(own, empty_facts()), over_rest=False)
        for own in streamed[40:].iter_slices(1)
    ]
    await kept(store, tmp_path / "stream.json", *parts, market=replace(MARKET, plausibility=rule))
    cleaned = screened(streamed, interval="1m", plausibility=rule)
    assert cleaned.counts[FAR_OFF] == 12
    assert store.latest(["BTCUSDT"], 100).equals(cleaned.accepted)


async def test_stream_goes_on_after_the_newest_bar_that_the_service_has_but_not_from_long_ago(
    store: BarStore,
) -> None:
    assert cursors(store, MARKET, NOON) == {"BTCUSDT": NOON, "ETHUSDT": NOON}
    store.write_bars(CANDLES.filter(symbol="BTCUSDT"))
    soon, late = NOON + 20 * MINUTE, NOON + 2 * KEPT_BARS * MINUTE
    assert cursors(store, MARKET, soon) == {"BTCUSDT": NOON + 6 * MINUTE, "ETHUSDT": soon}
    assert cursors(store, MARKET, late)["BTCUSDT"] == late - KEPT_BARS * MINUTE


@dataclass
class Watch:
    """The sensor at the times that it is asked at, with what it remembers."""

    root: Path
    cursor: str | None = None
    said: list[str] = field(default_factory=list)

    def look(self, now: datetime) -> list[str]:
        """Evaluate the sensor; causes of all alerts by now."""
        market = MarketResource(name="sandbox", root=str(self.root), time=now.isoformat())
        resources = {"market": market, "alerts": AlertsResource()}
        with dg.build_sensor_context(cursor=self.cursor, resources=resources) as context:
            result = silent_streams_are_told(context)
        assert isinstance(result, dg.SensorResult)
        assert result.skip_reason is not None
        self.cursor = result.cursor
        self.said.append(result.skip_reason.skip_message or "")
        return [alert.cause for alert in Outbox(market.home.alerts_database).alerts()]

    def record(self, **newest: datetime) -> None:
        path = MarketResource(name="sandbox", root=str(self.root)).home.stream_record
        StreamRecord(NOON, newest, None).write(path)


async def test_silence_is_told_once_and_a_market_that_is_only_faster_than_the_looks_never(
    tmp_path: Path,
) -> None:
    watch = Watch(tmp_path)
    assert watch.look(NOON) == []
    assert watch.said[-1].startswith("no stream was started")
    # Sixty bars between two looks, and the newest two of them not here yet.
    for hour in range(1, 4):
        now = NOON + timedelta(hours=hour)
        watch.record(BTCUSDT=now - 4 * MINUTE, ETHUSDT=now - 4 * MINUTE)
        assert watch.look(now) == []
    last = now - 4 * MINUTE
    for minutes in (1, 2, 30):
        watch.record(BTCUSDT=last, ETHUSDT=now + (minutes - 1) * MINUTE)
        [cause] = watch.look(now + minutes * MINUTE)
        assert cause == f"silent-stream:sandbox:BTCUSDT@{last + 2 * MINUTE}"
    assert watch.said[-1] == "silent: BTCUSDT"


@contextmanager
def half_open_venue() -> Iterator[tuple[SandboxMarket, MarketResource, ExchangeStream]]:
    """A venue whose sockets look healthy and soon deliver nothing; over REST it is sound."""
    sample = pl.read_parquet(sample_file()).sort("symbol", "open_time")
    market = SandboxMarket(sample, seed=1, start=NOON, speed=300, clock=lambda: datetime.now(UTC))
    sound_app = binance_app(market, push_seconds=0.005)
    spoiled = Faults(sound_app, FaultPlan(6, {Fault.HALF_OPEN: 1.0}))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        under = {**scope, "path": scope["path"].removeprefix("/binance")}
        await (spoiled if scope["type"] == "websocket" else sound_app)(under, receive, send)

    with serving(app) as server:
        resource = MarketResource(name="sandbox", sandbox=server.http)
        stream = ExchangeStream(
            "Binance.US",
            "1m",
            source=resource.exchange(),
            base_url=f"{server.http}/binance",
            reconnecting=Reconnecting(0.5, 0.01, 0.05, asyncio.sleep, lambda: 0.5),
            looks=2,
        )
        yield market, resource, stream


async def test_socket_that_looks_healthy_and_delivers_nothing_is_told_within_two_intervals(
    tmp_path: Path, store: BarStore
) -> None:
    watch = Watch(tmp_path)
    path = MarketResource(name="sandbox", root=str(tmp_path)).home.stream_record
    with half_open_venue() as (market, _, stream):
        since = market.now()

        async def consume() -> None:
            async with aclosing(stream.candles(cursors(store, MARKET, since))) as bars:
                await keep_online(
                    bars,
                    store,
                    path,
                    market=MARKET,
                    since=since,
                    last_failure=lambda: stream.last_failure,
                )

        def newest_streamed() -> datetime:
            record = StreamRecord.read(path)
            return record.newest.get("BTCUSDT", since) if record else since

        def overtaken() -> bool:
            """Whether bars have come over REST after the stream's own newest one."""
            return any(online > newest_streamed() for online in store.latest(["BTCUSDT"], 1)["open_time"])

        consuming = asyncio.create_task(consume())
        async with asyncio.timeout(60):
            while stream.last_failure is None or not overtaken():
                await asyncio.sleep(0.01)
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
    # Bars came over REST all the while; the stream's own newest one is what counts.
    closed = newest_streamed() + MINUTE
    for half_minutes in range(5):
        causes = watch.look(closed + half_minutes * MINUTE / 2)
    assert any("BTCUSDT" in cause for cause in causes)


async def test_bars_that_cannot_be_put_online_wait_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "bars.db"
    path.mkdir()

    async def mended_in_time() -> AsyncIterator[StreamedBars]:
        yield part("BTCUSDT", 0, 2, over_rest=False)
        kept_back = StreamRecord.read(tmp_path / "stream.json")
        assert kept_back is not None
        assert (kept_back.newest, "bars.db cannot be used" in str(kept_back.last_failure)) == ({}, True)
        path.rmdir()
        yield part("BTCUSDT", 2, 3, over_rest=False)

    with BarStore(path) as store:
        await keep_online(
            mended_in_time(),
            store,
            tmp_path / "stream.json",
            market=MARKET,
            since=NOON,
            last_failure=lambda: None,
        )
        assert store.latest(["BTCUSDT"], 10).height == 3
    assert StreamRecord.read(tmp_path / "stream.json") == StreamRecord(
        NOON, {"BTCUSDT": NOON + 2 * MINUTE}, None
    )
