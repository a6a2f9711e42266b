"""Bench: what a forecast takes on this very device, by its steps, its memory, its heat and its throttling."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from edge_bundle.device.database import EPOCH, DeviceDatabase
from edge_bundle.device.health import THERMAL_ZONE, celsius
from edge_bundle.device.infer import infer
from edge_bundle.errors import WindowRefusedError
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

# Bits of the firmware's word, now and since the start:
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
SLOWED = {
    0: "the voltage is too low now",
    1: "the clock is capped now",
    2: "it is slowed down now",
    3: "it is hot and slowed now",
    16: "the voltage was too low",
    17: "the clock was capped",
    18: "it was slowed down",
    19: "it was hot and slowed",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a forecast of all symbols costs here.

    Parameters
    ----------
    abstained
        Symbols without an answer, whose forecast costs less.
    milliseconds
        Median of each step over the rounds; ``infer`` is all of them together.
    peak_megabytes
        Of this program since its start, the model loaded.
    celsius_before, celsius_after
        None where the machine does not tell.
    slowed
        What the firmware says of it, in words; empty when nothing, None where it does not tell.
    """

    rounds: int
    abstained: int
    milliseconds: Mapping[str, float]
    peak_megabytes: float
    celsius_before: float | None
    celsius_after: float | None
    slowed: tuple[str, ...] | None


def bench(
    database: DeviceDatabase,
    forecaster: Forecaster,
    *,
    rounds: int,
    stopwatch: Callable[[], float] = time.perf_counter,
    thermal_zone: Path = THERMAL_ZONE,
    throttled: Path = THROTTLED,
) -> Measured:
    """Forecast from the newest bars again and again, in turns with each step alone, in a copy of the bars.

    Raises
    ------
    WindowRefusedError
        When the database holds no bar yet.
    """
    before, manifest = celsius(thermal_zone), forecaster.manifest
    candles = database.candles(manifest.symbols, bars=manifest.bars_needed)
    if candles.is_empty():
        raise WindowRefusedError("the database holds no bar yet: let harvest run first")
    with TemporaryDirectory(dir=database.path.parent) as folder:
        copy = DeviceDatabase(Path(folder) / "bench.db")
        copy.add_candles(candles, source="bench", now=EPOCH)
        steps = infer_steps(copy, forecaster)
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                begun = stopwatch()
                step()
                taken[name].append((stopwatch() - begun) * 1e3)
    return Measured(
        rounds,
        sum(forecast.abstention is not None for forecast in forecaster.forecast(MarketWindow(candles))),
        {name: median(durations) for name, durations in taken.items()},
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        before,
        celsius(thermal_zone),
        slowed(throttled),
    )


def infer_steps(database: DeviceDatabase, forecaster: Forecaster) -> dict[str, Callable[[], object]]:
    """The whole of `edge_bundle.device.infer.infer` as of the newest bar, and its steps alone; they store."""
    manifest = forecaster.manifest
    window = MarketWindow(database.candles(manifest.symbols, bars=manifest.bars_needed))
    forecasts = forecaster.forecast(window)
    now: datetime = max(forecast.known_at for forecast in forecasts)

    def stored() -> None:
        for forecast in forecasts:
            database.add_forecast(forecast, made_at=now)

    return {
        "infer": lambda: infer(database, forecaster, now=now),
        "read-bars": lambda: database.candles(manifest.symbols, bars=manifest.bars_needed),
        "features-and-graph": lambda: forecaster.forecast(window, now),
        "store-forecasts": stored,
    }


def slowed(throttled: Path) -> tuple[str, ...] | None:
    """What the firmware says of the machine's speed; None where there is none that tells."""
    try:
        word = int(throttled.read_text(), 16)
    except (OSError, ValueError):
        return None
    return tuple(told for bit, told in SLOWED.items() if word >> bit & 1)
