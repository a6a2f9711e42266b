"""How fast and how small a forecast is on the device: as its timer runs it, and from database to database.

The model is a linear one over every feature that a champion may read, the costly part of a forecast; the bars
are two symbols' minutes, as many as it needs and a day more.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.rows import BenchRow, alternated_seconds
from fakes.installed_device import SYMBOLS, installed_device, settings_file
from fakes.project_root import PROJECT
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from edge_bundle.device.bench import infer_steps
from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.features.catalog import short_memory

BARS, ROUNDS_PROCESS, ROUNDS_WARM = 3000, 9, 40
PROCESS_GOAL_MS, MEMORY_GOAL_MB, WARM_GOAL_MS = 700.0, 160.0, 60.0
MINUTE = timedelta(minutes=1)
TIMED = """
import resource, subprocess, sys, time
begun = time.perf_counter()
done = subprocess.run([sys.executable, "-m", "edge_bundle.device", "--settings", sys.argv[1], "infer"],
                      capture_output=True, text=True)
seconds = time.perf_counter() - begun
assert done.returncode == 0 and "0 of them abstained" in done.stderr, done.stderr
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def measure() -> list[BenchRow]:
    """Rows of the room."""
    with TemporaryDirectory() as name:
        settings = _device(Path(name))
        return [*_process(settings), *_warm(settings)]


def _device(folder: Path) -> DeviceSettings:
    """A device whose model reads every feature."""
    settings = installed_device(folder)
    release_tiny_bundle(
        settings.releases,
        version=1,
        seed=1,
        market="live",
        live=True,
        interval="1m",
        symbols=SYMBOLS,
        features=short_memory(),
    )
    return settings


def _fill(database: DeviceDatabase, *, bars: int) -> datetime:
    """Bars until the minute that has just closed; that time."""
    closed = datetime.now(UTC).replace(second=0, microsecond=0)
    start = closed - bars * MINUTE
    database.add_candles(
        walk_candles(SYMBOLS, bars=bars, interval="1m", seed=3, start=start), source="bench", now=closed
    )
    return closed


def _process(settings: DeviceSettings) -> list[BenchRow]:
    """A whole run of the program, its start included, on one thread."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{PROJECT}",
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
    }
    runs = []
    for _ in range(ROUNDS_PROCESS):
        _fill(DeviceDatabase(settings.database), bars=BARS)
        done = subprocess.run(
            [sys.executable, "-c", TIMED, settings_file(settings.home.parent)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        runs.append([float(number) for number in done.stdout.split()])
    milliseconds, megabytes = median(run[0] for run in runs) * 1e3, max(run[1] for run in runs)
    told = (
        f"infer for {len(SYMBOLS)} symbols as the timer runs it, {len(short_memory())} features, one thread"
    )
    return [
        BenchRow(
            "edge/infer-process", milliseconds, "ms", PROCESS_GOAL_MS, milliseconds <= PROCESS_GOAL_MS, told
        ),
        BenchRow("edge/infer-memory", megabytes, "MB", MEMORY_GOAL_MB, megabytes <= MEMORY_GOAL_MB, told),
    ]


def _warm(settings: DeviceSettings) -> list[BenchRow]:
    """From the database to the stored forecast, and the share of each step."""
    database, forecaster = DeviceDatabase(settings.database), installed_model(settings).forecaster
    _fill(database, bars=BARS)
    steps = infer_steps(database, forecaster)
    medians = [
        median(durations) * 1e3 for durations in alternated_seconds(*steps.values(), rounds=ROUNDS_WARM)
    ]
    whole = medians[0]
    return [
        BenchRow(
            "edge/infer-warm", whole, "ms", WARM_GOAL_MS, whole <= WARM_GOAL_MS, "from database to database"
        ),
        *(
            BenchRow(f"edge/{name}", milliseconds, "ms", reference="of the whole", reference_value=whole)
            for name, milliseconds in list(zip(steps, medians, strict=True))[1:]
        ),
    ]
