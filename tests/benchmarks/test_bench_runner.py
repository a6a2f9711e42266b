"""The benchmark runner with toy rooms: what it prints is what it writes, and a crash is seen."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import ROOMS, existing_rooms, run
from benchmarks.rows import BenchRow, alternated_seconds

TESTS = Path(__file__).parents[1]


def toy_rows() -> list[BenchRow]:
    return [
        BenchRow("toy/quick", 2.0, "ms", goal=3.0, met=True, reference="a peer", reference_value=8.0),
        BenchRow("toy/slow", 9.0, "ms", goal=3.0, met=False),
    ]


def toy_crash() -> list[BenchRow]:
    raise ZeroDivisionError("nothing to divide by")


def test_rows_are_printed_and_written_with_ratio_command_and_commit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "build" / "bench.json"
    assert run({"toy": toy_rows}, report=report, command="make bench", commit="abc") == 0
    quick, slow = json.loads(report.read_text())
    assert quick == {
        "name": "toy/quick",
        "value": 2.0,
        "unit": "ms",
        "goal": 3.0,
        "met": True,
        "reference": "a peer",
        "reference_value": 8.0,
        "ratio": 0.25,
        "command": "make bench",
        "commit": "abc",
    }
    assert slow["met"] is False
    assert slow["ratio"] is None
    printed = capsys.readouterr().out
    assert "0.25×" in printed
    assert "MISSED" in printed


def test_crash_of_a_room_is_a_row_and_a_failure_and_the_next_room_still_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "bench.json"
    status = run({"ill": toy_crash, "toy": toy_rows}, report=report, command="make bench", commit="abc")
    assert status == 1
    names = [row["name"] for row in json.loads(report.read_text())]
    assert names == ["ill/crashed", "toy/quick", "toy/slow"]
    assert "nothing to divide by" in capsys.readouterr().out


def test_row_named_outside_its_room_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    assert run({"edge": toy_rows}, report=report, command="make bench", commit="abc") == 1
    assert "toy/quick" in json.loads(report.read_text())[0]["reference"]


def test_calls_are_timed_in_turns() -> None:
    order: list[str] = []
    durations = alternated_seconds(lambda: order.append("a"), lambda: order.append("b"), rounds=2)
    assert order == ["a", "b", "a", "b"]
    assert [len(own) for own in durations] == [2, 2]


def test_each_room_that_exists_has_a_measure_function() -> None:
    for room in existing_rooms(None):
        spec = importlib.util.find_spec(f"benchmarks.{room}")
        assert spec is not None
        assert spec.origin is not None
        assert "def measure() -> list[BenchRow]:" in Path(spec.origin).read_text()


def test_unknown_room_is_refused_with_the_rooms_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "cellar"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert all(room in done.stderr for room in ROOMS)
