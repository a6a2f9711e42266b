"""How fast a forecast is, from candles to answer: in process, and over HTTP under uvicorn and under BentoML.

All calls take turns in one run, beside the raw onnxruntime call on the same input, which is the limit.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import httpx
import numpy as np
import numpy.typing as npt
import polars as pl
from benchmarks.rows import BenchRow, alternated_seconds
from benchmarks.serving_load import load_rows
from fakes.releases import name_champion
from fakes.tiny_bundle import walk_candles, write_tiny_bundle

from cryptoai_serving.bars import BarStore
from cryptoai_serving.settings import ServingSettings
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import bundle_digest
from edge_bundle.releases import ReleasedVersion, read_channel, release_folder
from edge_bundle.windows import MarketWindow, window_grid

ROUNDS, WARM_UP_ROUNDS = 200, 10
START_SECONDS = 60.0
# On two cores that the client shares: well within what a person, or a bar of a minute, notices.
GOALS_MS = {
    "in-process": (15.0, 30.0),
    "kept": (5.0, 25.0),
    "store": (25.0, 40.0),
    "request": (30.0, 40.0),
}
STORE_GOAL_MS = 2.0
PROJECT = Path(__file__).parents[2]
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Subject:
    """The bundle that is measured, and where it comes from."""

    forecaster: Forecaster
    origin: str


def measure() -> list[BenchRow]:
    """Rows of the room."""
    with TemporaryDirectory() as folder, ExitStack() as servers:
        root = Path(folder)
        subject = _subject(root)
        manifest = subject.forecaster.manifest
        commands = _commands()
        later = len(commands) * (ROUNDS + WARM_UP_ROUNDS)
        known = manifest.bars_needed
        whole = walk_candles(manifest.symbols[:1], bars=known + later, interval=manifest.interval, seed=7)
        candles, new_bars = whole.head(known), iter(whole.tail(later).iter_slices(1))
        window, symbol = MarketWindow(candles), manifest.symbols[0]
        store = servers.enter_context(BarStore(ServingSettings.inside(root).bars))
        store.write_bars(candles)
        _assert_answers(subject.forecaster, window)
        columns = {
            name: (values.dt.epoch("ms") if name == "open_time" else values).to_list()
            for name, values in candles.to_dict().items()
        }
        body = json.dumps({"candles": columns}).encode()
        calls: dict[str, Call] = {
            "onnxruntime": partial(subject.forecaster.outputs, _input(subject.forecaster, window)),
            "store-read": partial(store.window, [symbol], manifest.bars_needed),
            "in-process": partial(subject.forecaster.forecast, window),
        }
        for name, command in commands.items():
            client = servers.enter_context(_served(root, command))
            # A new bar first, written within the time: otherwise nothing would be computed.
            calls[f"{name}-store"] = partial(_get_after_bar, client, f"/forecast/{symbol}", store, new_bars)
            calls[f"{name}-kept"] = partial(_get, client, f"/forecast/{symbol}")
            calls[f"{name}-request"] = partial(_post, client, body)
        alternated_seconds(*calls.values(), rounds=WARM_UP_ROUNDS)
        seconds = alternated_seconds(*calls.values(), rounds=ROUNDS)
    durations = {name: np.array(own) * 1e3 for name, own in zip(calls, seconds, strict=True)}
    rows = _rows(durations, f"{subject.origin}, {manifest.bars_needed} bars of one symbol")
    return rows + load_rows()


def _rows(durations_ms: dict[str, npt.NDArray[np.float64]], what: str) -> list[BenchRow]:
    limit = durations_ms.pop("onnxruntime")
    store = float(np.median(durations_ms.pop("store-read")))
    rows = [
        BenchRow(
            "serving/store-read-p50", store, "ms", STORE_GOAL_MS, store <= STORE_GOAL_MS, f"none ({what})"
        )
    ]
    for name, own in durations_ms.items():
        goals = GOALS_MS[name.rpartition("-")[2] if name != "in-process" else name]
        for percentile, goal in zip((50, 99), goals, strict=True):
            value, raw = float(np.percentile(own, percentile)), float(np.percentile(limit, percentile))
            rows.append(
                BenchRow(
                    f"serving/forecast-{name}-p{percentile}",
                    value,
                    "ms",
                    goal,
                    value <= goal,
                    f"raw onnxruntime call; {what}",
                    raw,
                )
            )
    return rows


def _subject(root: Path) -> Subject:
    """Put the released champion into the folder, or a miniature bundle where nothing is released."""
    here, there = ServingSettings.from_environment(), ServingSettings.inside(root)
    channel = read_channel(PROJECT / here.releases, here.model)
    if channel and channel.champion:
        version = channel.champion.version
        source = release_folder(PROJECT / here.releases, here.model, version)
        shutil.copytree(source, release_folder(there.releases, there.model, version))
        origin = f"champion version {version}"
    else:
        version, origin = 1, "miniature bundle with every feature of the catalog"
        folder = release_folder(there.releases, there.model, version)
        write_tiny_bundle(folder, features=tuple(catalog()), seed=1)
    folder = release_folder(there.releases, there.model, version)
    name_champion(there.releases, there.model, ReleasedVersion(version, bundle_digest(folder)))
    return Subject(Forecaster.load(folder), origin)


def _input(forecaster: Forecaster, window: MarketWindow) -> npt.NDArray[np.float32]:
    manifest = forecaster.manifest
    grid = window_grid(window, interval=manifest.interval, max_missing_bars=manifest.max_missing_bars)
    frame = feature_frame(grid, manifest.features).tail(manifest.lookback)
    values: npt.NDArray[np.float32] = frame.select(manifest.features).to_numpy().astype(np.float32)
    return values[np.newaxis]


def _assert_answers(forecaster: Forecaster, window: MarketWindow) -> None:
    """No abstention hides the work: the range that a walk may leave is checked after the graph ran."""
    (forecast,) = forecaster.forecast(window)
    assert forecast.input_sha256 is not None, forecast.abstention


def _commands() -> dict[str, tuple[str, ...]]:
    return {
        "uvicorn": ("uvicorn", "--factory", "cryptoai_serving.app:application", "--no-access-log"),
        "bentoml": ("bentoml", "serve", "cryptoai_serving.service:CryptoAI"),
    }


def _get(client: httpx.Client, path: str) -> None:
    client.get(path).raise_for_status()


def _get_after_bar(client: httpx.Client, path: str, store: BarStore, bars: Iterator[pl.DataFrame]) -> None:
    store.write_bars(next(bars))
    _get(client, path)


def _post(client: httpx.Client, body: bytes) -> None:
    client.post("/forecast", content=body, headers={"content-type": "application/json"}).raise_for_status()


@contextmanager
def _served(root: Path, command: tuple[str, ...]) -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "BENTOML_HOME": str(root / "bentoml")}
    process = subprocess.Popen(
        (sys.executable, "-m", *command, "--port", port),
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_until_ready(client)
            yield client
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_until_ready(client: httpx.Client) -> None:
    deadline, pause = monotonic() + START_SECONDS, threading.Event()
    while monotonic() < deadline:
        with suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        pause.wait(0.05)
    raise TimeoutError(f"no server answered within {START_SECONDS:.0f} s")
