"""Whatever fails while users ask: no wrong answer, no error that is not documented, and soon all is well.

How long each recovery took is printed: ``pytest -s tests/serving/test_faults_under_load.py``.
"""

import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import psutil
import pytest
from fakes.bento_process import bento_service
from fakes.forecast_service import columns
from fakes.hand_clock import HandClock
from fakes.loopback_app import serving
from fakes.postgresql_server import PostgresqlServer, postgresql_server
from fakes.redis_server import RedisServer, redis_server
from fakes.releases import name_champion, release_tiny_bundle
from fakes.tiny_bundle import START, walk_candles, write_tiny_bundle
from fakes.waiting import wait_until

from cryptoai_serving.app import create_app
from cryptoai_serving.bar_shelf import RedisPlace
from cryptoai_serving.bars import BarStore
from cryptoai_serving.forecast_log import ForecastLog
from cryptoai_serving.settings import ServingSettings
from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME, bundle_digest
from edge_bundle.releases import ReleasedVersion, release_folder
from edge_bundle.windows import MarketWindow

CANDLES = walk_candles(("BTCUSD",), bars=60, interval="30m", seed=3)
CLOSED = START + timedelta(minutes=30 * 60)
NOW = CLOSED + timedelta(minutes=5)
BODY = {"candles": columns(CANDLES)}
# What the documentation calls "not for now".
UNAVAILABLE = {"no_model", "no_bars", "store_unavailable"}
# Good answers in a row, of each user, after which all is well.
WELL = 5
# Who asks over and over for as long as a slow machine takes would come to the limit that a caller has.
REQUESTS_A_MINUTE = 10**7


@dataclass
class Seen:
    """What one user saw."""

    well_in_a_row: int = 0
    version: int = 0
    answered: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Scene:
    """A service under load, and what may be done to it.

    A store of another kind brings its own ways to fail: whoever makes one adds them to `FAULTS`.
    """

    settings: ServingSettings
    clock: HandClock
    client: httpx.Client
    users: list[Seen]
    expected: dict[int, tuple[Forecast, ...]]

    def release(self, version: int, seed: int) -> Path:
        folder = release_folder(self.settings.releases, self.settings.model, version)
        write_tiny_bundle(folder, live=True, seed=seed)
        self.expected[version] = forecasts_of(folder, self.clock.now)
        self.name(version)
        return folder

    def name(self, version: int) -> None:
        folder = release_folder(self.settings.releases, self.settings.model, version)
        released = ReleasedVersion(version, bundle_digest(folder))
        name_champion(self.settings.releases, self.settings.model, released)

    def all_have(self, version: int) -> bool:
        return all(user.version == version for user in self.users)

    def well(self) -> bool:
        return all(user.well_in_a_row >= WELL for user in self.users)

    def answers_on(self) -> None:
        """Wait until all users had good answers again, from now on."""
        for user in self.users:
            user.well_in_a_row = 0
        wait_until(self.well, "all users are answered")


def forecasts_of(folder: Path, now: datetime | None) -> tuple[Forecast, ...]:
    return Forecaster.load(folder).forecast(MarketWindow(CANDLES), now)


def promotion(scene: Scene) -> None:
    scene.release(2, seed=2)
    wait_until(lambda: scene.all_have(2), "version 2 answers")


def rollback(scene: Scene) -> None:
    scene.name(1)
    wait_until(lambda: scene.all_have(1), "version 1 answers again")


def corrupt_bundle(scene: Scene) -> None:
    graph = scene.release(3, seed=3) / GRAPH_NAME
    graph.write_bytes(graph.read_bytes()[:-1])
    wait_until(lambda: scene.client.get("/models").json()["refused"] is not None, "version 3 is refused")
    scene.answers_on()
    assert scene.all_have(1)
    rollback(scene)


def locked_databases(scene: Scene) -> None:
    places = (scene.settings.bars, scene.settings.forecast_log)
    with ExitStack() as held:
        holders = [
            held.enter_context(closing(sqlite3.connect(each, isolation_level=None))) for each in places
        ]
        for holder in holders:
            holder.execute("BEGIN EXCLUSIVE")
        scene.answers_on()
        for holder in holders:
            holder.execute("ROLLBACK")


def lost_database(scene: Scene) -> None:
    """The file of bars becomes something that is none, and comes back."""
    path = scene.settings.bars
    aside, none = path.with_name("aside.db"), path.with_name("none.db")
    none.write_bytes(b"no database " * 100)
    aside.hardlink_to(path)
    # At one blow: a service that finds no file begins a new store, which is no fault.
    none.replace(path)
    wait_until(lambda: scene.users[0].others["store_unavailable"] > 0, "the store cannot be read")
    assert scene.client.get("/readyz").status_code == 503
    aside.replace(path)


def stopped_ingestion(scene: Scene) -> None:
    scene.clock.now = CLOSED + timedelta(minutes=61)
    wait_until(lambda: scene.users[0].others["stale_data"] > 0, "what is stale is abstained on")
    assert scene.client.get("/readyz").status_code == 503
    assert scene.client.get("/api/ml/signals/BTCUSD").json()["signals"][0]["type"] == "HOLD"
    scene.clock.now = NOW


@dataclass
class FarAway:
    """Databases that other machines run, and that die there."""

    redis: RedisServer
    postgresql: PostgresqlServer

    def killed_redis(self, scene: Scene) -> None:
        self.redis.save()
        self.redis.kill()
        wait_until(lambda: scene.users[0].others["store_unavailable"] > 0, "the store is gone")
        assert scene.client.get("/readyz").status_code == 503
        self.redis.start()

    def killed_postgresql(self, scene: Scene) -> None:
        self.postgresql.kill()
        scene.answers_on()
        self.postgresql.start()


FAULTS: tuple[Callable[[Scene], None], ...] = (
    promotion,
    rollback,
    corrupt_bundle,
    locked_databases,
    lost_database,
    stopped_ingestion,
)


def ask(scene: Scene, seen: Seen, request: httpx.Request, client: httpx.Client) -> None:
    """One question; whatever comes back is judged."""
    try:
        response = client.send(request)
    except httpx.TransportError as error:
        seen.others[type(error).__name__] += 1
        seen.well_in_a_row = 0
        return
    answer: dict[str, Any] = response.json()
    if response.status_code == 200:
        seen.answered.append(answer["request_id"])
        seen.version = answer["model_version"]
        forecasts = tuple(Forecast.from_dict(record) for record in answer["forecasts"])
        abstention = forecasts[0].abstention
        if abstention and abstention.reason == "stale_data":
            seen.others["stale_data"] += 1
            seen.well_in_a_row = 0
        elif forecasts == scene.expected[answer["model_version"]]:
            seen.well_in_a_row += 1
        else:
            seen.wrong.append(response.text)
    elif response.status_code == 503 and answer["code"] in UNAVAILABLE:
        seen.others[answer["code"]] += 1
        seen.well_in_a_row = 0
    else:
        seen.wrong.append(f"{response.status_code} {response.text}")


@contextmanager
def under_load(scene: Scene) -> Iterator[None]:
    """Users ask over and over while the block lasts; afterwards all that they saw was right."""
    stop = threading.Event()

    def user(seen: Seen, number: int) -> None:
        with httpx.Client(base_url=scene.client.base_url, timeout=30) as own:
            requests = [
                own.build_request("GET", "/forecast/BTCUSD"),
                own.build_request("POST", "/forecast", json=BODY),
            ]
            while not stop.is_set():
                ask(scene, seen, requests[number % 2], own)

    with ThreadPoolExecutor(len(scene.users)) as pool:
        asking = [pool.submit(user, seen, number) for number, seen in enumerate(scene.users)]
        try:
            scene.answers_on()
            yield
        finally:
            stop.set()
        for one in asking:
            one.result()
    for seen in scene.users:
        assert seen.wrong == []


def recovered_after(fault: Callable[[Scene], None], scene: Scene) -> None:
    """Let something fail, and wait until all users are answered well again."""
    fault(scene)
    ended = monotonic()
    scene.answers_on()
    seconds = monotonic() - ended
    sys.stdout.write(f"{fault.__name__}: all is well {seconds:.2f} s after its end\n")


@pytest.mark.timeout(240)
def test_no_fault_brings_a_wrong_answer_or_an_error_that_is_not_documented(
    tmp_path: Path,
) -> None:
    settings = replace(
        ServingSettings.inside(tmp_path, poll_seconds=0.1), requests_a_minute=REQUESTS_A_MINUTE
    )
    clock = HandClock(NOW)
    with BarStore(settings.bars) as store:
        store.write_bars(CANDLES)
    app = create_app(settings, clock=clock)
    released = release_tiny_bundle(settings.releases, version=1, seed=1, live=True)
    with serving(app, lifespan="on") as loopback, httpx.Client(base_url=loopback.http) as client:
        scene = Scene(settings, clock, client, [Seen(), Seen()], {1: forecasts_of(released, clock.now)})
        with under_load(scene):
            for fault in FAULTS:
                recovered_after(fault, scene)
    broken = Counter[str]()
    for seen in scene.users:
        broken.update(seen.others)
    assert set(broken) == {"stale_data", "store_unavailable"}
    with ForecastLog(settings.forecast_log) as log:
        assert log.request_ids(model=settings.model) >= {
            request_id for seen in scene.users for request_id in seen.answered
        }


@pytest.mark.timeout(240)
def test_redis_and_postgresql_that_die_and_come_back_bring_no_wrong_answer_and_lose_none(
    tmp_path: Path,
) -> None:
    with redis_server() as redis, postgresql_server() as postgresql:
        settings = replace(
            ServingSettings.inside(tmp_path, poll_seconds=0.1),
            bars=RedisPlace(redis.address, "sample"),
            forecast_log=postgresql.address,
            requests_a_minute=REQUESTS_A_MINUTE,
        )
        clock, far = HandClock(NOW), FarAway(redis, postgresql)
        with BarStore(settings.bars) as store:
            store.write_bars(CANDLES)
        app = create_app(settings, clock=clock)
        released = release_tiny_bundle(settings.releases, version=1, seed=1, live=True)
        with serving(app, lifespan="on") as loopback, httpx.Client(base_url=loopback.http) as client:
            scene = Scene(settings, clock, client, [Seen(), Seen()], {1: forecasts_of(released, clock.now)})
            with under_load(scene):
                for fault in (far.killed_redis, far.killed_postgresql):
                    recovered_after(fault, scene)
        assert set(scene.users[0].others) == {"store_unavailable"}
        assert not scene.users[1].others
        with ForecastLog(settings.forecast_log) as log:
            assert log.request_ids(model=settings.model) >= {
                request_id for seen in scene.users for request_id in seen.answered
            }


@pytest.mark.timeout(240)
def test_other_worker_answers_when_one_is_killed(
    tmp_path: Path,
) -> None:
    settings = ServingSettings.inside(tmp_path)
    with BarStore(settings.bars) as store:
        store.write_bars(CANDLES)
    released = release_tiny_bundle(settings.releases, version=1, seed=1)
    chosen = {"CRYPTOAI_WORKERS": "2", "CRYPTOAI_REQUESTS_A_MINUTE": f"{REQUESTS_A_MINUTE}"}
    with bento_service(tmp_path, settings=chosen) as client:
        users = [Seen(), Seen()]
        scene = Scene(settings, HandClock(NOW), client, users, {1: forecasts_of(released, None)})
        with under_load(scene):
            recovered_after(killed_worker, scene)
    assert {name for seen in users for name in seen.others} <= {
        "ConnectError",
        "ReadError",
        "RemoteProtocolError",
        "WriteError",
    }


def killed_worker(scene: Scene) -> None:
    """Of the two, one that a user is connected with; BentoML puts another in its place in its own time."""
    wait_until(lambda: len(workers_of(scene.client)) == 2, "two workers run")
    stream = scene.client.get("/livez").extensions["network_stream"]
    ours = stream.get_extra_info("client_addr")[1]
    service = scene.client.base_url.port
    users = {one.laddr.port for one in open_connections(psutil.Process()) if one.raddr.port == service} - {
        ours
    }
    worker = next(
        each
        for each in workers_of(scene.client)
        if users & {one.raddr.port for one in open_connections(each)}
    )
    lost = users & {one.raddr.port for one in open_connections(worker)}
    worker.kill()
    # Who was not waiting for an answer just then sees no error: the next question takes another connection.
    wait_until(
        lambda: not lost & {one.laddr.port for one in open_connections(psutil.Process())},
        "the killed worker's connections end",
    )


def open_connections(process: psutil.Process) -> list[Any]:
    """Connections that are open on both sides."""
    return [one for one in process.net_connections() if one.status == psutil.CONN_ESTABLISHED]


def workers_of(client: httpx.Client) -> list[psutil.Process]:
    """Processes that answer, among those that this test started."""
    started = psutil.Process().children()
    [supervisor] = [each for each in started if f"{client.base_url.port}" in arguments(each)]
    return [each for each in supervisor.children() if "worker" in " ".join(arguments(each))]


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
