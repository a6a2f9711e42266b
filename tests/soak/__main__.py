"""`make soak [SECONDS=600]`: the service at 50 requests a second for ten minutes, with its memory watched.

Every second a bar closes, so that forecasts are computed, kept and dropped all the time. The rows are written
to ``build/soak.json`` with what they were measured on.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import psutil
from benchmarks.__main__ import current_commit, table_line
from benchmarks.paced_load import Paced, http_request, paced
from benchmarks.rows import BenchRow
from benchmarks.serving_load import port_of
from fakes.api_keys import made_key
from fakes.bento_process import bento_service
from fakes.forecast_service import columns
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from cryptoai_serving.bars import BarStore
from cryptoai_serving.settings import ServingSettings

A_SECOND, SECONDS = 50, 600
SYMBOLS = ("BTCUSD", "ETHUSD")
BARS, USERS = 60, 97
# Of the run: what comes before is warm-up.
STEADY_FROM = 0.2
FLAT_PERCENT = 5.0
REPORT = Path("build/soak.json")


def soak(seconds: int) -> list[BenchRow]:
    """Rows of memory, latency and answers."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        settings = ServingSettings.inside(root)
        release_tiny_bundle(settings.releases, version=1, seed=1, symbols=SYMBOLS)
        key = made_key(settings.keys)
        candles = walk_candles(SYMBOLS, bars=BARS + seconds + 1, interval="30m", seed=7)
        times = candles["open_time"].unique().sort()
        memory: list[float] = []
        with BarStore(settings.bars) as store, bento_service(root) as client:
            store.write_bars(candles.filter(pl.col("open_time") < times[BARS]))
            [supervisor] = psutil.Process().children()

            def each_second(passed: int) -> None:
                store.write_bars(candles.filter(open_time=times[BARS + passed - 1]))
                memory.append(_megabytes(supervisor))

            requests = _requests(port_of(client), key, candles.filter(symbol="BTCUSD").head(BARS))
            found = paced(
                port_of(client), requests, a_second=A_SECOND, seconds=seconds, each_second=each_second
            )
    return _rows(found, memory, seconds)


def _requests(port: int, key: str, candles: pl.DataFrame) -> list[bytes]:
    """Every kind of forecast, from many users, in turn."""
    body = json.dumps({"candles": columns(candles)}).encode()
    kinds: Iterator[tuple[str, bytes | None]] = cycle(
        (
            ("/forecast/BTCUSD", None),
            ("/api/ml/insights/ETHUSD", None),
            ("/forecast", body),
            ("/forecast/ETHUSD", None),
            ("/api/ml/signals/BTCUSD", None),
        )
    )
    return [
        http_request(f"{path}?user_id=user-{number}", port=port, key=key, body=content)
        for number, (path, content) in enumerate(islice(kinds, USERS))
    ]


def _megabytes(process: psutil.Process) -> float:
    """Resident memory of a process and all below it."""
    every = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in every) / 2**20


def _rows(found: Paced, memory: list[float], seconds: int) -> list[BenchRow]:
    steady = memory[int(STEADY_FROM * len(memory)) :]
    tenth = max(len(steady) // 10, 1)
    first, last = statistics.median(steady[:tenth]), statistics.median(steady[-tenth:])
    growth = 100 * (last / first - 1)
    refused = sum(count for status, count in found.statuses.items() if status != 200)
    what = f"{A_SECOND} requests a second for {seconds} s"
    return [
        BenchRow("soak/requests", float(len(found.seconds)), "", reference=what),
        BenchRow("soak/not-answered", float(refused), "", 0.0, refused == 0, what),
        BenchRow("soak/memory-first", first, "MiB", reference=what),
        BenchRow("soak/memory-growth", growth, "%", FLAT_PERCENT, abs(growth) <= FLAT_PERCENT, what),
        *(
            BenchRow(f"soak/p{percentile}", float(np.percentile(found.seconds, percentile)) * 1e3, "ms")
            for percentile in (50, 99)
        ),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run, print and write; the status is 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="default: %(default)s")
    seconds = parser.parse_args(arguments).seconds
    rows = soak(seconds)
    command = f"make soak SECONDS={seconds}"
    for row in rows:
        sys.stdout.write(table_line(row) + "\n")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    records = [row.record(command=command, commit=current_commit()) for row in rows]
    REPORT.write_text(json.dumps(records, indent=1) + "\n")
    return 0 if all(row.met in (None, True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
