"""An alias moved in MLflow's interface, by its requests to a real server, as Dagster's daemon notices it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import httpx
import pytest
from fakes.dagster_daemon import evaluate
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, desk_at, tracking_at
from fakes.tiny_bundle import write_disagreeing_bundle

from cryptoai_assets.lib.ledger import Entry
from cryptoai_assets.lib.tracking import CHAMPION
from edge_bundle.releases import read_channel

pytestmark = MLFLOW_WARNINGS
NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
LOCATION = """
import dagster as dg
from cryptoai_assets.defs.release.sensors import releases_follow_aliases
from cryptoai_assets.defs.resources import MarketResource
market = MarketResource(name="sample", root={root!r}, time={time!r})
defs = dg.Definitions(sensors=[releases_follow_aliases], resources={{"market": market}})
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A root with a registry, MLflow's server on it, and Dagster beside it."""

    root: Path
    address: str

    def ask(self, path: str, body: dict[str, str] | None = None) -> Any:
        """Ask MLflow as its interface does."""
        url = f"{self.address}/ajax-api/2.0/mlflow/{path}"
        answer = httpx.get(url) if body is None else httpx.post(url, json=body)
        return answer.raise_for_status().json()

    def move_champion(self, version: int) -> None:
        self.ask("registered-models/alias", {"name": MODEL, "alias": CHAMPION, "version": str(version)})

    @property
    def champion(self) -> int:
        """Version that MLflow's interface shows as champion."""
        found = self.ask(f"registered-models/alias?name={MODEL}&alias={CHAMPION}")
        return int(found["model_version"]["version"])

    @property
    def released(self) -> int | None:
        """Version that the service and the devices run."""
        channel = read_channel(self.root / "releases", MODEL)
        return channel.champion.version if channel and channel.champion else None

    @property
    def last_line(self) -> Entry:
        return desk_at(self.root).ledger.entries(MODEL)[-1]

    def tick(self) -> str:
        """Let the daemon evaluate the sensor, and return what it says."""
        with TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
            evaluate(self.root, instance, LOCATION.format(root=str(self.root), time=NOW.isoformat()))
            [state] = instance.all_instigator_state()
            [tick] = instance.get_ticks(state.instigator_origin_id, state.selector_id)
            assert tick.error is None, tick.error
            return str(tick.skip_reason)


@pytest.fixture
def place(copied_registry: Callable[[], Path], tmp_path: Path) -> Iterator[Place]:
    root = copied_registry()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        while not answers(f"{address}/health"):
            assert server.poll() is None, (tmp_path / "server.log").read_text()[-3000:]
        yield Place(root, address)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def spoiled_version(root: Path) -> int:
    bundle = write_disagreeing_bundle(root)
    tracking = tracking_at(root)
    with tracking.run("training", tags={}) as run_id:
        return tracking.register(run_id, bundle, model=MODEL, tags={}).version


def test_promotion_refusal_and_rollback_by_hand_reach_release_and_ledger(place: Place) -> None:
    assert place.tick() == "alias and channel agree"
    place.move_champion(3)
    assert place.released == 1
    assert place.tick() == f"version 3 of {MODEL} is released, as MLflow's alias says"
    assert (place.released, place.champion) == (3, 3)
    assert (place.last_line.kind, place.last_line.version, place.last_line.previous) == ("promotion", 3, 1)
    assert place.last_line.actor == "a person, in MLflow"

    spoiled = spoiled_version(place.root)
    place.move_champion(spoiled)
    told = place.tick()
    assert told.startswith("the alias was moved back")
    assert "golden rows differ" in told
    assert (place.released, place.champion) == (3, 3)
    assert (place.last_line.kind, place.last_line.version) == ("refusal", spoiled)
    assert "golden rows differ" in place.last_line.reason

    place.move_champion(1)
    assert place.tick() == f"version 1 of {MODEL} is released, as MLflow's alias says"
    assert (place.released, place.champion) == (1, 1)
    assert (place.last_line.kind, place.last_line.version, place.last_line.previous) == ("rollback", 1, 3)
