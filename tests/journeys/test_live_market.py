"""A market that grows, from wire to forecast: bars arrive, assets refresh, forecasts follow."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.asgi_client import client_of
from fakes.live_platform import LivePlatform, environment, live_platform
from fakes.loopback_app import serving
from fakes.project_root import PROJECT
from fakes.releases import release_tiny_bundle
from starlette.applications import Starlette
from starlette.routing import Mount

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.live_bars import StreamRecord
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.binance import binance_app
from cryptoai_assets.sandbox.market import SandboxMarket
from cryptoai_serving.app import create_app
from cryptoai_serving.bars import BarStore
from cryptoai_serving.settings import ServingSettings

MONTH = datetime(2019, 9, 1, tzinfo=UTC)
# On the second day: on the first one the month before is asked for too.
OPENED = MONTH + timedelta(hours=25)
MINUTE = timedelta(minutes=1)
SYMBOL = "BTCUSDT"


@dataclass
class Clock:
    """Shows the time that it is set to."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@dataclass
class LiveMarket:
    """Everything that runs, and the clock that drives it."""

    root: Path
    clock: Clock
    venue: SandboxMarket
    address: str
    platform: LivePlatform
    client: httpx.Client

    def forecast(self) -> datetime:
        """Open time of the bar that is forecast from; the answer is whole."""
        answer = self.client.get(f"/forecast/{SYMBOL}")
        assert answer.status_code == 200, answer.text
        [told] = answer.json()["forecasts"]
        assert told["abstention"] is None
        assert all(0 < horizon["probability_up"] < 1 for horizon in told["horizons"])
        return datetime.fromisoformat(told["open_time"])

    def forecasts_from(self, newest: datetime) -> bool:
        """Whether `newest` is the open time of the bar that is forecast from."""
        return self.forecast() == newest

    def newest_features(self) -> datetime:
        """Open time of the newest row of features."""
        stored = MarketResource(name="sandbox", root=str(self.root)).home.features.month(SYMBOL, "2019-09")
        newest = stored["open_time"].max()
        assert isinstance(newest, datetime)
        return newest

    def pass_minutes(self, minutes: int) -> datetime:
        """Let market time go by; the open time of the newest closed bar."""
        self.clock.time += minutes * MINUTE
        newest = self.venue.bars(SYMBOL, "1m", MONTH, self.venue.now())["open_time"].max()
        assert isinstance(newest, datetime)
        return newest


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveMarket]:
    (tmp_path / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
    release_tiny_bundle(
        tmp_path / "releases",
        version=1,
        seed=1,
        market="sandbox",
        interval="1m",
        symbols=("BTCUSDT", "ETHUSDT"),
    )
    clock = Clock()
    sample = pl.read_parquet(sample_file()).sort("symbol", "open_time")
    # Within a minute, so that there is a running bar for the socket to tell of while the clock stands.
    venue = SandboxMarket(sample, seed=1, start=OPENED + MINUTE / 2, speed=1, clock=clock)
    venues = Starlette(routes=[Mount("/binance", binance_app(venue, push_seconds=0.1))])
    app = create_app(ServingSettings.inside(tmp_path, market="sandbox", poll_seconds=0.05), clock=clock)
    with (
        serving(venues) as server,
        live_platform(tmp_path, server.http) as platform,
        client_of(app) as client,
    ):
        yield LiveMarket(tmp_path, clock, venue, server.http, platform, client)


@contextmanager
def streaming(live: LiveMarket) -> Iterator[subprocess.Popen[bytes]]:
    """The program that `make up` starts, until the block ends."""
    command = (sys.executable, "-m", "cryptoai_assets.stream")
    with subprocess.Popen(command, cwd=live.root, env=environment(live.address)) as program:
        try:
            yield program
        finally:
            program.kill()


def tells_of(record: Path, newest: datetime) -> bool:
    """Whether the record of a stream that goes well says that this bar came over it."""
    told = StreamRecord.read(record)
    assert told is not None
    return told.newest.get(SYMBOL) == newest and told.last_failure is None


def becomes(true: Callable[[], bool], program: subprocess.Popen[bytes]) -> bool:
    """Whether something becomes true while a program lives, for at most a minute."""
    deadline = time.monotonic() + 60
    while not (holds := true()) and program.poll() is None and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            program.wait(0.1)
    return holds


def test_bars_arrive_assets_refresh_and_forecasts_follow(live: LiveMarket) -> None:
    first, market = OPENED - MINUTE, MarketResource(name="sandbox", root=str(live.root))
    made = live.platform.refresh()
    assert made == {
        "asked": ["2019-09-01|BTCUSDT", "2019-09-01|ETHUSDT"],
        "followed": True,
        "succeeded": True,
    }
    assert live.newest_features() == first
    assert live.forecast() == first
    with streaming(live) as program:
        record = market.home.stream_record
        assert becomes(record.is_file, program)
        # Over the stream a bar is forecast from as soon as it has closed, whatever the schedule does.
        for minutes in (1, 2, 4):
            newest = live.pass_minutes(minutes)
            assert becomes(partial(live.forecasts_from, newest), program)
        assert newest == first + 7 * MINUTE
        # The record is written after the bars that it tells of.
        assert becomes(partial(tells_of, record, newest), program)
    assert live.newest_features() == first
    # Without the stream the schedule brings them, and what it brings are the bars that the stream brought.
    with BarStore(market.home.bars_database) as store:
        streamed = store.latest([SYMBOL], 7)
    newest = live.pass_minutes(5)
    assert live.platform.refresh() == made
    assert live.newest_features() == live.forecast() == newest == first + 12 * MINUTE
    assert market.stores.clean_candles.month(SYMBOL, "2019-09").tail(12).head(7).equals(streamed)
