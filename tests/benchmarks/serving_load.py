"""The service under load, by wrk: BentoML, bare uvicorn, a BentoML service of a constant, and no HTTP at all.

Keys, limits and both logs are on; wrk shares the cores. Goals are of two cores.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import polars as pl
from benchmarks.paced_load import http_request, paced
from benchmarks.rows import BenchRow, alternated_seconds
from fakes.api_keys import made_key
from fakes.bento_process import BENTOML, PROJECT, UVICORN, bento_service
from fakes.forecast_service import columns
from fakes.releases import name_champion
from fakes.tiny_bundle import walk_candles, write_tiny_bundle

from cryptoai_serving.bars import BarStore
from cryptoai_serving.settings import ServingSettings
from edge_bundle.features.catalog import catalog
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest, bundle_digest
from edge_bundle.releases import ReleasedVersion, release_folder
from edge_bundle.windows import MarketWindow

SYMBOLS = tuple(f"{base}USD" for base in ("BTC", "ETH", "LTC", "XRP", "EOS", "BCH", "ADA", "SOL"))
# Bars beyond those that are needed, for windows that differ.
SKIPPED = 4

CONNECTIONS = (1, 16, 64)
SECONDS, PACED_SECONDS, LOOP_ROUNDS = 4, 10, 200
# Of the bare BentoML service, and of a bare loop of features and onnxruntime.
CACHED_SHARE, UNCACHED_SHARE = 0.8, 0.6
PERCENTILES = (50, 95, 99)
# Requests a second, and the 99th percentile that is allowed at them.
PACED_GOALS = {"cached": (100, 25.0), "uncached": (50, 40.0), "insights": (50, 60.0)}
ABSENT = "nothing: wrk is not installed (apt install wrk)"
SCRIPT = """
local methods, paths, bodies, turn = {methods}, {paths}, {bodies}, 0
wrk.headers["authorization"] = "Bearer {key}"
wrk.headers["content-type"] = "application/json"
request = function()
  turn = turn % #paths + 1
  return wrk.format(methods[turn], paths[turn], nil, bodies[turn])
end
done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    "\\nFOUND {{\\"requests\\": %d, \\"microseconds\\": %d, \\"failed\\": %d, "
    .. "\\"p50\\": %f, \\"p95\\": %f, \\"p99\\": %f}}\\n",
    summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests of one kind, sent in turn."""

    paths: tuple[str, ...]
    body: bytes | None = None

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk found: requests a second, and percentiles of the latency in milliseconds."""

    a_second: float
    milliseconds: Mapping[int, float]


def wrk(folder: Path, port: int, asked: Asked, *, key: str, connections: int, seconds: int = SECONDS) -> Load:
    """Ask over and over on so many connections.

    Raises
    ------
    RuntimeError
        When a request fails: a speed of refusals is none.
    """
    lists = {
        "methods": [asked.method] * len(asked.paths),
        "paths": list(asked.paths),
        "bodies": [(asked.body or b"").decode()] * len(asked.paths),
    }
    tables = {
        name: "{" + ", ".join(json.dumps(one) for one in values) + "}" for name, values in lists.items()
    }
    script = folder / "wrk.lua"
    script.write_text(SCRIPT.format(**tables, key=key))
    command = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s")
    done = subprocess.run(
        (*command, str(script), f"http://127.0.0.1:{port}"), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.partition("FOUND ")[2].splitlines()[0])
    if found["failed"] or not found["requests"]:
        raise RuntimeError(f"{found['failed']} of {found['requests']} requests to {asked.paths[0]} failed")
    return Load(
        found["requests"] * 1e6 / found["microseconds"],
        {percentile: found[f"p{percentile}"] / 1e3 for percentile in PERCENTILES},
    )


def load_rows() -> list[BenchRow]:
    """Rows of all servers and kinds of request, at each number of connections and at fixed rates."""
    with TemporaryDirectory() as folder, ExitStack() as servers:
        root = Path(folder)
        settings = ServingSettings.inside(root)
        forecaster, candles = _subject(settings)
        key = made_key(settings.keys)
        ports: dict[str, int] = {}
        for server, command in (("bentoml", BENTOML), ("uvicorn", UVICORN)):
            for cache, seconds in (("cached", "30"), ("uncached", "0")):
                place = root / f"{server}-{cache}"
                place.mkdir()
                own = {
                    "CRYPTOAI_ROOT": str(root),
                    "CRYPTOAI_CACHE_SECONDS": seconds,
                    "CRYPTOAI_FORECAST_LOG": str(place / "forecasts.db"),
                }
                client = servers.enter_context(bento_service(place, command=command, settings=own))
                ports[f"{server}-{cache}"] = port_of(client)
        (root / "constant").mkdir()
        bare = ("bentoml", "serve", "benchmarks.constant_bento:Constant")
        paths = {"PYTHONPATH": f"{PROJECT / 'tests'}{os.pathsep}{PROJECT}"}
        constant = servers.enter_context(bento_service(root / "constant", command=bare, settings=paths))
        what = f"{len(forecaster.manifest.symbols)} symbols, {forecaster.manifest.bars_needed} bars each"
        kinds = _kinds(forecaster.manifest, candles)
        loop = _bare_loop(forecaster, candles)
        rows = _load_rows("bare-loop", loop, what=what)
        if shutil.which("wrk") is None:
            rows.append(BenchRow("serving/load", None, "", reference=ABSENT))
        else:
            measured = partial(wrk, root, key=key)
            rows += _wrk_rows(measured, ports, port_of(constant), kinds, loop=loop, what=what)
        return rows + _paced_rows(ports, kinds, key=key, what=what)


def _subject(settings: ServingSettings) -> tuple[Forecaster, pl.DataFrame]:
    """Bundle of eight symbols with every feature of the catalog, released; and its candles, stored."""
    model, features = settings.model, tuple(catalog())
    folder = release_folder(settings.releases, model, 1)
    write_tiny_bundle(folder, symbols=SYMBOLS, features=features, seed=1)
    name_champion(settings.releases, model, ReleasedVersion(1, bundle_digest(folder)))
    forecaster = Forecaster.load(folder)
    manifest = forecaster.manifest
    candles = walk_candles(SYMBOLS, bars=manifest.bars_needed + SKIPPED, interval=manifest.interval, seed=7)
    with BarStore(settings.bars) as store:
        store.write_bars(candles)
    return forecaster, candles


def _kinds(manifest: Manifest, candles: pl.DataFrame) -> dict[str, Asked]:
    """Requests by kind; the first two differ by the server's cache alone."""
    forecasts = Asked(tuple(f"/forecast/{symbol}" for symbol in manifest.symbols))
    newest = candles.filter(symbol=manifest.symbols[0]).tail(manifest.bars_needed)
    body = json.dumps({"candles": columns(newest)}).encode()
    return {
        "cached": forecasts,
        "uncached": forecasts,
        "request": Asked(("/forecast",), body),
        "insights": Asked(tuple(f"/api/ml/insights/{symbol}" for symbol in manifest.symbols)),
    }


def _bare_loop(forecaster: Forecaster, candles: pl.DataFrame) -> Load:
    """Forecasts of one process that does nothing else, another window every time."""
    needed = forecaster.manifest.bars_needed
    windows = [
        MarketWindow(candles.filter(symbol=symbol).slice(skipped, needed))
        for skipped in range(SKIPPED)
        for symbol in forecaster.manifest.symbols
    ]
    turns = cycle(windows)
    [seconds] = alternated_seconds(lambda: forecaster.forecast(next(turns)), rounds=LOOP_ROUNDS)
    return Load(
        len(seconds) / sum(seconds),
        {percentile: float(np.percentile(seconds, percentile)) * 1e3 for percentile in PERCENTILES},
    )


def _wrk_rows(
    measured: Callable[..., Load],
    ports: Mapping[str, int],
    constant_port: int,
    kinds: Mapping[str, Asked],
    *,
    loop: Load,
    what: str,
) -> list[BenchRow]:
    rows: list[BenchRow] = []
    limits = {"uncached": (UNCACHED_SHARE, loop, "a bare loop of features and onnxruntime")}
    for connections in CONNECTIONS:
        constant = measured(constant_port, Asked(("/constant",), b"{}"), connections=connections)
        rows += _load_rows(f"constant-c{connections}", constant, what="a BentoML service of a constant")
        limits["cached"] = (CACHED_SHARE, constant, "a BentoML service of a constant")
        for name, port in ports.items():
            cache = name.partition("-")[2]
            found = measured(port, kinds[cache], connections=connections)
            rows += _load_rows(f"{name}-c{connections}", found, what=what, limit=limits[cache])
            if cache == "cached":
                asked = measured(port, kinds["request"], connections=connections)
                name = name.replace("cached", "request")
                rows += _load_rows(f"{name}-c{connections}", asked, what=what)
    return rows


def _paced_rows(
    ports: Mapping[str, int], kinds: Mapping[str, Asked], *, key: str, what: str
) -> list[BenchRow]:
    """Rows of the 99th percentile at a fixed rate, which wrk cannot keep."""
    rows = []
    for name, port in ports.items():
        server, _, cache = name.partition("-")
        for kind in (cache, "insights"):
            rate, goal = PACED_GOALS[kind]
            paths = kinds[kind].paths
            requests = [http_request(path, port=port, key=key) for path in paths]
            found = paced(port, requests, a_second=rate, seconds=PACED_SECONDS)
            if set(found.statuses) != {200}:
                raise RuntimeError(f"{name} answered {dict(found.statuses)} to {kind}")
            value = float(np.percentile(found.seconds, 99)) * 1e3
            shown = f"{server}-{cache}" if kind == cache else f"{server}-{cache}-insights"
            goal_row = BenchRow(f"serving/{shown}-at-{rate}-p99", value, "ms", goal, value <= goal, what)
            rows.append(goal_row)
    return rows


def _load_rows(
    name: str, load: Load, *, what: str, limit: tuple[float, Load, str] | None = None
) -> list[BenchRow]:
    speed = BenchRow(f"serving/load-{name}", load.a_second, "1/s", reference=what)
    if limit is not None:
        share, peer, peer_name = limit
        goal = share * peer.a_second
        met = load.a_second >= goal
        speed = BenchRow(speed.name, speed.value, "1/s", goal, met, f"{peer_name}; {what}", peer.a_second)
    latencies = [
        BenchRow(f"serving/load-{name}-p{percentile}", value, "ms", reference=what)
        for percentile, value in load.milliseconds.items()
    ]
    return [speed, *latencies]


def port_of(client: httpx.Client) -> int:
    """Port of the server that a client asks."""
    port = client.base_url.port
    assert port is not None
    return port
