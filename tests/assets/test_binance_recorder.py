"""The recorder against the simulated venue: what it keeps becomes bars, also after a lost connection."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
from fakes.archives import embedded_candles
from fakes.loopback_app import Loopback, serving
from fakes.project_root import PROJECT
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.microstructure_days import day_bars, days_to_go_on_with, microstructure_facts
from cryptoai_assets.lib.sources.binance_recorder import BinanceRecorder, EventStamp, heard
from cryptoai_assets.lib.sources.patience import SourceUnavailableError
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.record import PAUSE_SECONDS, record, recorder_of
from cryptoai_assets.sandbox.__main__ import sandbox_app
from cryptoai_assets.sandbox.market import SandboxMarket
from edge_bundle.facts import validated_facts

START = datetime(2019, 9, 1, 12, tzinfo=UTC)
# Of which one passes in a second.
MARKET_SECONDS = 60
MAKE = """
import dagster as dg
from cryptoai_assets.defs.orderbook.assets import microstructure_bars
from cryptoai_assets.defs.resources import MarketResource
import json, sys

market = MarketResource(name="sandbox", root=sys.argv[1], time=sys.argv[2])
made = dg.materialize([microstructure_bars], resources={"market": market}, partition_key=sys.argv[3])
[event] = made.asset_materializations_for_node("microstructure_bars")
print(json.dumps({name: entry.value for name, entry in event.metadata.items() if name != "preview"}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    market = SandboxMarket(
        embedded_candles(),
        seed=1,
        start=START,
        speed=MARKET_SECONDS,
        clock=lambda: datetime.now(UTC),
    )
    with serving(sandbox_app(market, seed=1)) as running:
        yield running


def minutes_more(home: Home, minutes: int) -> Callable[[], bool]:
    """True once so many market minutes more are recorded; nothing at all for a minute is a failure."""
    path, last = home.recordings.path("BTCUSDT", START.date()), monotonic() + 60

    def newest() -> int:
        lines = path.read_bytes().splitlines() if path.is_file() else []
        return int(lines[-1].partition(b" ")[0]) if lines else int(START.timestamp()) * 10**9

    wanted = newest() + minutes * 60 * 10**9

    def enough() -> bool:
        assert monotonic() < last, "nothing is recorded"
        return newest() >= wanted

    return enough


@pytest.fixture(scope="module")
def recorded(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> MarketResource:
    """Two recordings of a few market minutes, with a hole between them; never to be changed."""
    root = tmp_path_factory.mktemp("recorded")
    market = MarketResource(name="sandbox", root=str(root), sandbox=server.http, tries=1)
    recorder_of(market).record(minutes_more(market.home, 4))
    recorder_of(market).record(minutes_more(market.home, 3))
    return market


def test_what_was_recorded_becomes_bars_of_both_symbols(recorded: MarketResource) -> None:
    home = recorded.home
    for symbol in recorded.settings.symbols:
        bars, _ = day_bars(home, symbol, START.date(), until=recorded.now(), resume=False)
        assert bars.height >= 2
        known = bars.drop_nulls("top_imbalance")
        assert known.height >= 2
        assert known["top_imbalance"].is_between(-1, 1).all()
        assert (known["spread_bps"] > 0).all()
        assert (bars["trade_intensity"].drop_nulls() > 0).any()
    facts = microstructure_facts(home, recorded.settings.symbols, START, None)
    validated_facts(facts)
    assert set(facts["symbol"]) == set(recorded.settings.symbols)


def test_bars_that_are_gone_on_with_are_those_of_the_whole_recording(recorded: MarketResource) -> None:
    home, now = recorded.home, recorded.now()
    make = partial(day_bars, home, "ETHUSDT", START.date())
    whole, _ = make(until=now, resume=False)
    middle = whole["open_time"][whole.height // 2]
    assert make(until=middle, resume=False)[0].height == whole.height // 2
    assert make(until=now, resume=True)[0].equals(whole)
    assert days_to_go_on_with(home, now)["ETHUSDT"] == [START.date()]


def test_day_is_made_to_its_end_by_a_run_after_it(recorded: MarketResource, tmp_path: Path) -> None:
    home, day = recorded.home, START.date()
    shutil.copytree(home.recordings.root, tmp_path / home.recordings.root.relative_to(home.root))
    own, later = Home(tmp_path, recorded.settings), day + timedelta(days=1)
    midnight = datetime.combine(later, time(), UTC)
    day_bars(own, "ETHUSDT", day, until=midnight - timedelta(minutes=1), resume=True)
    day_bars(own, "ETHUSDT", later, until=midnight + timedelta(minutes=1), resume=True)
    now = midnight + timedelta(minutes=5)
    assert days_to_go_on_with(own, now)["ETHUSDT"] == [day]
    day_bars(own, "ETHUSDT", day, until=now, resume=True)
    assert days_to_go_on_with(own, now)["ETHUSDT"] == []


def test_bars_stay_where_the_recording_is_gone(recorded: MarketResource, tmp_path: Path) -> None:
    home = Home(tmp_path, recorded.settings)
    day = START.date()
    bars, _ = day_bars(recorded.home, "BTCUSDT", day, until=recorded.now(), resume=False)
    write_parquet_atomically(bars, home.microstructure.path("BTCUSDT", day))
    for resume in (False, True):
        assert day_bars(home, "BTCUSDT", day, until=recorded.now(), resume=resume)[0].equals(bars)
    assert days_to_go_on_with(home, recorded.now()) == {"BTCUSDT": [], "ETHUSDT": []}


def test_book_is_known_from_when_it_was_answered(server: Loopback, tmp_path: Path) -> None:
    market = MarketResource(name="sandbox", root=str(tmp_path), sandbox=server.http, tries=1)
    asked, answered = (int(START.timestamp()) * 10**9 + seconds * 10**9 for seconds in (55, 63))
    now = [asked]

    async def slow(_request: Request) -> JSONResponse:
        now[0] = answered
        return JSONResponse({"lastUpdateId": 1, "bids": [], "asks": []})

    looks = iter([False] * 40)
    with serving(Starlette(routes=[Route("/api/v3/depth", slow)])) as venue:
        recorder = recorder_of(market)
        assert isinstance(recorder, BinanceRecorder)
        web = replace(recorder.web, base_url=venue.http)
        replace(recorder, web=web, stamp=lambda _message: now[0]).record(lambda: next(looks, True))
    lines = [
        line.split(" ", 1)
        for symbol in market.settings.symbols
        for line in market.home.recordings.path(symbol, START.date()).read_text().splitlines()
    ]
    assert f"{asked}" in {moment for moment, _ in lines}
    books = {moment for moment, message in lines if "lastUpdateId" in message}
    assert books == {f"{answered}"}


def test_venue_that_cannot_be_had_is_tried_again_after_a_pause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []
    market = MarketResource(name="sandbox", root=str(tmp_path), sandbox="http://127.0.0.1:9", tries=1)
    recorder = recorder_of(market)
    record(recorder, lambda: len(pauses) == 2, pauses.append)
    assert pauses == [PAUSE_SECONDS] * 2
    assert "ended (ConnectionRefusedError)" in capsys.readouterr().err


def test_asset_keeps_a_day_of_bars_and_says_what_was_wrong_with_the_stream(recorded: MarketResource) -> None:
    key = f"{START:%Y-%m-%d}|BTCUSDT"
    run = subprocess.run(
        [sys.executable, "-c", MAKE, recorded.root, recorded.now().isoformat(), key],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "CRYPTOAI_MARKET": "sandbox"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["state"] == "configured"
    assert told["dagster/row_count"] >= 2
    path = recorded.home.microstructure.path("BTCUSDT", START.date())
    assert list(recorded.home.microstructure.files(["BTCUSDT"], START, None).values()) == [path]
    assert not Path(recorded.home.recordings.path("BTCUSDT", START.date().replace(day=2))).exists()


@pytest.mark.parametrize("text", ["", "{]", "[]", "7", '{"data": null}', '{"data": []}', "[" * 100_000])
def test_message_that_is_none_is_a_reason_to_connect_anew(text: str) -> None:
    with pytest.raises(SourceUnavailableError, match="told what is no message"):
        heard(text, lambda _: 1)


@pytest.mark.parametrize("sent_at", ["soon", None, [], "9" * 5000])
def test_message_without_a_time_of_a_simulated_venue_is_a_reason_to_connect_anew(sent_at: object) -> None:
    with pytest.raises(SourceUnavailableError, match="told what is no message"):
        heard(json.dumps({"data": {"s": "BTCUSDT", "E": sent_at}}), EventStamp())
