"""The command line as a device runs it: a real process, CSV in, JSON lines out."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles, write_tiny_bundle

from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME, Manifest
from edge_bundle.windows import MarketWindow

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"), seed=1)


def run(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_bundle", *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PROJECT,
        env={**os.environ, "TZ": "America/New_York"},
        check=False,
    )


def csv(candles: pl.DataFrame) -> str:
    return candles.write_csv()


def candles(bars: int = 40, symbols: tuple[str, ...] = ("BTCUSD",)) -> pl.DataFrame:
    return walk_candles(symbols, bars=bars, interval="30m", seed=4)


def test_forecast_is_one_json_line_a_symbol_with_the_bits_of_the_library(bundle: Path) -> None:
    frame = candles(symbols=("BTCUSD", "ETHUSD"))
    finished = run("forecast", bundle, given=csv(frame))
    assert (finished.returncode, finished.stderr) == (0, "")
    printed = tuple(Forecast.from_dict(json.loads(line)) for line in finished.stdout.splitlines())
    assert printed == Forecaster.load(bundle).forecast(MarketWindow(frame))


def test_epoch_milliseconds_are_read_as_well(bundle: Path) -> None:
    frame = candles()
    in_milliseconds = frame.with_columns(pl.col("open_time").dt.epoch("ms"))
    assert (
        run("forecast", bundle, given=csv(in_milliseconds)).stdout
        == run("forecast", bundle, given=csv(frame)).stdout
    )


def test_time_of_asking_is_the_clock_when_asked_and_for_a_live_market(bundle: Path, tmp_path: Path) -> None:
    live = write_tiny_bundle(tmp_path / "live", live=True, seed=1)
    for arguments in (["forecast", bundle, "--now", "clock"], ["forecast", live]):
        finished = run(*arguments, given=csv(candles()))
        assert finished.returncode == 0
        assert json.loads(finished.stdout)["abstention"]["reason"] == "stale_data"
    replayed = run("forecast", live, "--now", "data", given=csv(candles()))
    assert json.loads(replayed.stdout)["abstention"] is None


@pytest.mark.parametrize(("late", "reason"), [(timedelta(hours=1), None), (timedelta(hours=2), "stale_data")])
def test_time_of_asking_without_a_zone_is_utc(bundle: Path, late: timedelta, reason: str | None) -> None:
    frame = candles()
    now = frame["open_time"].to_list()[-1] + timedelta(minutes=30) + late
    finished = run("forecast", bundle, "--now", f"{now:%Y-%m-%dT%H:%M:%S}", given=csv(frame))
    abstention = json.loads(finished.stdout)["abstention"]
    assert (abstention["reason"] if abstention else None) == reason


@pytest.mark.parametrize(
    ("given", "options", "named"),
    [
        ("", [], "CandlesRefusedError: not a CSV file"),
        ("open,close\n1,2\n", [], "CandlesRefusedError: columns absent"),
        (csv(candles().reverse()).replace(",BTCUSD,", ",DOGEUSD,"), [], "WindowRefusedError: .*DOGEUSD"),
        ("open_time,symbol,open,high,low,close,volume\n", [], "WindowRefusedError: .*no candle"),
        (
            "open_time,symbol,open,high,low,close,volume\n999999999999999999,BTCUSD,1,1,1,1,1\n",
            [],
            "CandlesRefusedError: column open_time, row 0: 999999999999999999",
        ),
        (csv(candles()), ["--now", "2019-01-01"], "WindowRefusedError: the bar of"),
        (csv(candles()), ["--now", "soon"], "WindowRefusedError: --now 'soon'"),
    ],
    ids=range(7),
)
def test_what_cannot_be_answered_is_one_line_of_error(
    bundle: Path, given: str, options: list[str], named: str
) -> None:
    finished = run("forecast", bundle, *options, given=given)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    assert re.match(named, finished.stderr)


def test_folder_that_is_no_bundle_is_one_line_of_error(tmp_path: Path) -> None:
    finished = run("selftest", tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith("BundleRefusedError: ")


def test_selftest_prints_its_result_and_fails_when_an_output_differs(bundle: Path, tmp_path: Path) -> None:
    passed = run("selftest", bundle)
    assert passed.returncode == 0
    assert json.loads(passed.stdout)["passed"] is True
    changed = write_tiny_bundle(tmp_path / "changed", seed=1)
    other = write_tiny_bundle(tmp_path / "other", seed=2)
    (changed / GRAPH_NAME).write_bytes((other / GRAPH_NAME).read_bytes())
    graph = Manifest.read(other).files[GRAPH_NAME]
    manifest = Manifest.read(changed)
    replace(manifest, files={**manifest.files, GRAPH_NAME: graph}).write(changed)
    failed = run("selftest", changed)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["passed"] is False


def test_unknown_command_prints_the_usage() -> None:
    finished = run("predict")
    assert finished.returncode == 2
    assert "usage: python -m edge_bundle" in finished.stderr
