"""The command line of the evaluation: which rooms are measured, and what one of them needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.mortal_evaluation import BARS, WALKS
from fakes.own_market import write_market

from cryptoai_assets.evaluate.__main__ import ROOMS, minutes_archive, rooms_asked
from cryptoai_assets.evaluate.loop_market import PLANS, ROOM, LoopError
from cryptoai_assets.lib.canaries import random_walk_candles

PROJECT = Path(__file__).parents[2]
SETTINGS = """
preset = "sample"
source = "archive"
venue = "walks"
symbols = ["BTCUSD"]
interval = "30m"
clock = "data"
history_start = 2000-01-01
history_end = 2030-01-01
horizons = [1, 6]
models = ["lightgbm"]
"""


def test_what_needs_a_file_of_ones_own_is_measured_by_name_only() -> None:
    assert set(ROOMS) - set(rooms_asked(None)) == {ROOM}
    assert rooms_asked(ROOM) == [ROOM]


def test_the_loop_without_its_minutes_says_how_to_name_them(tmp_path: Path) -> None:
    assert list(PLANS) == ["BTCUSD", "ETHUSD"]
    for symbol, plan in PLANS.items():
        command = rf"minutes of {symbol}.*ONLY=loop SYMBOL={symbol} CRYPTOAI_ARCHIVE=/path/candles\.parquet"
        with pytest.raises(LoopError, match=command):
            minutes_archive(None, plan)
        assert minutes_archive(str(tmp_path), plan) == tmp_path


def test_command_works_on_folds_in_processes_of_its_own_and_says_what_it_left_out(tmp_path: Path) -> None:
    candles = random_walk_candles("BTCUSD", bars=BARS, interval=WALKS.interval, seed=1)
    environment = write_market(tmp_path, "walks", candles.rename({"open_time": "timestamp"}), SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "cryptoai_assets.evaluate", "forecasting", "--minutes", "0.01"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "fold 1 of 6: lightgbm: trial 1" in done.stdout
    assert "fold 2 of 6: lightgbm: trial 1" in done.stdout
    assert "left out of forecasting" in done.stdout
    rows = json.loads((tmp_path / "build" / "evaluate.json").read_text())
    [extent] = [row for row in rows if row["name"] == "forecasting/folds-scored"]
    assert extent["value"] == 2
    assert extent["reference"] == "left out: fold 3, fold 4, fold 5, fold 6"
    [memory] = [row for row in rows if row["name"] == "forecasting/memory"]
    assert memory["met"] == (memory["value"] <= memory["goal"])
    # A process that has imported the platform holds more, and there are three.
    assert memory["reference_value"] > 0.1
    assert memory["value"] > 3 * 0.1
