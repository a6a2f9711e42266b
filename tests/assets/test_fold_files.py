"""Folds of an evaluation: kept one by one, so that a kill costs one, and all models answer the same rows."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.mortal_evaluation import BARS, FOLDS, PLAN, WALKS, files_at, write_archive

from cryptoai_assets.evaluate.comparison import compared, over_seeds
from cryptoai_assets.evaluate.fold_files import (
    BASELINES,
    CHOSEN,
    REFERENCE,
    EvaluatedMarket,
    FoldFiles,
    archive_grid,
)
from cryptoai_assets.evaluate.forecasting import _extent
from cryptoai_assets.lib.datasets import dataset
from cryptoai_assets.lib.scoring import BootstrapSettings
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import feature_frame, short_memory

DRIVER = Path(__file__).parents[1] / "fakes" / "mortal_evaluation.py"
PROJECT = Path(__file__).parents[2]
BOOTSTRAP = BootstrapSettings(block_bars=48, resamples=50, seed=1, confidence=0.95)
DIED_IN = 1


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_archive(folder)
    return folder


@pytest.fixture(scope="module")
def killed(root: Path) -> pl.DataFrame:
    """What the fold was predicted to be that the process died in."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(root), str(DIED_IN)],
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    files = files_at(root)
    assert files.finished() == list(files.parts[:DIED_IN])
    return read_stored_parquet(files.predictions(files.parts[DIED_IN]))


@pytest.fixture(scope="module")
def finished(root: Path, killed: pl.DataFrame) -> FoldFiles:
    """The same folds in another process; those of before are not touched."""
    files = files_at(root)
    first = files.predictions(files.parts[0])
    before = first.stat().st_mtime_ns
    told: list[str] = []
    files.work(minutes=None, tell=told.append)
    assert first.stat().st_mtime_ns == before
    assert told[0] == f"fold 1 of {FOLDS} is there already"
    again = read_stored_parquet(files.predictions(files.parts[DIED_IN]))
    assert again.equals(killed), "the fold is the same in whichever process"
    return files


def test_killed_evaluation_goes_on_with_the_fold_that_it_died_in(finished: FoldFiles) -> None:
    assert finished.finished() == list(finished.parts)
    assert [part.fold for part in finished.parts] == [*finished.evaluated.folds, finished.evaluated.folds[-1]]
    assert finished.seconds() > 0
    told: list[str] = []
    finished.work(minutes=None, tell=told.append)
    assert len(told) == len(finished.parts)
    assert all("there already" in line for line in told)


def test_every_model_answers_the_same_rows_and_the_last_fold_has_every_seed(finished: FoldFiles) -> None:
    predictions = finished.read()
    one = predictions.filter(pl.col("seed") == PLAN.seeds[0])
    keys = ["fold", "open_time", "symbol", "horizon"]
    [wanted, *others] = [rows.select(keys).sort(keys) for _, rows in one.group_by("model")]
    assert all(rows.equals(wanted) for rows in others)
    assert set(one["model"]) == {"xgboost", CHOSEN, REFERENCE, *BASELINES}
    answered = one.filter(pl.col("model").is_in(["xgboost", CHOSEN, REFERENCE]))
    assert answered["probability_up"].is_finite().all()
    seeds = predictions.filter(model="xgboost").group_by("fold").agg(pl.col("seed").n_unique()).sort("fold")
    assert seeds["seed"].to_list() == [1, 1, 1, len(PLAN.seeds)]
    outside = wanted.filter(
        ~pl.any_horizontal(
            [
                (pl.col("fold") == fold.index)
                & pl.col("open_time").is_between(fold.test_start, fold.test_end, closed="left")
                for fold in finished.evaluated.folds
            ]
        )
    )
    assert outside.is_empty()


def test_random_walks_reach_no_goal_and_no_model_is_far_from_one_half(finished: FoldFiles) -> None:
    market, predictions = finished.evaluated.market, finished.read()
    one = predictions.filter(pl.col("seed") == PLAN.seeds[0])
    rows = {row.name: row for row in compared(one, market, BOOTSTRAP)}
    for place in ("all-1", "all-6", "BTCUSD-1", "ETHUSD-6"):
        # Six bars overlap: of their directions fewer are independent.
        assert abs(rows[f"forecasting/accuracy-{place}"].value - 0.5) < (0.05 if place.endswith("1") else 0.1)
        assert rows[f"forecasting/accuracy-over-reference-{place}"].met is False
        models = [name for name in rows if f"/volatility-rank-ic-{place}-" in name]
        assert models == sorted(models) != [], "the order is the same in every run"
        assert f"forecasting/accuracy-{place}-baseline-linear" in rows
        assert f"forecasting/accuracy-over-reference-{place}-model-xgboost" in rows
        assert rows[f"forecasting/accuracy-most-confident-tenth-{place}"].goal is None
    seeds = list(over_seeds(predictions, market))
    assert {row.name.rpartition("-")[2] for row in seeds} == {"xgboost", CHOSEN}
    assert all(row.lower is not None and row.lower < row.value for row in seeds)


def test_fold_that_would_not_end_within_the_minutes_does_not_begin(finished: FoldFiles) -> None:
    """The clock is a minute later each time that it is read: before and after a fold."""
    files = FoldFiles(finished.root, finished.evaluated, replace(PLAN, seeds=(1,)))
    assert files.folder != finished.folder, "another plan has another folder"
    clock = map(float, itertools.count(0, 60)).__next__
    files.work(minutes=6, tell=lambda _: None, clock=clock)
    assert files.finished() == list(files.parts[:2])
    assert _extent(files).reference == "left out: fold 3, fold 4"


def test_table_says_which_parts_are_left_out(finished: FoldFiles, tmp_path: Path) -> None:
    assert _extent(finished).reference == "all of the last 60 %"
    files = FoldFiles(tmp_path, finished.evaluated, PLAN)
    shutil.copytree(finished.folder, files.folder)
    files.record(files.parts[-1]).unlink()
    assert (_extent(files).value, _extent(files).reference) == (FOLDS, "left out: seeds of the last fold")
    files.record(files.parts[1]).unlink()
    assert _extent(files).reference == "left out: fold 2, seeds of the last fold"


def test_processes_side_by_side_find_the_same_and_tell_it(finished: FoldFiles, tmp_path: Path) -> None:
    files = FoldFiles(tmp_path / "evaluate", finished.evaluated, replace(PLAN, processes=3))
    assert files.folder.name == finished.folder.name, "their number changes nothing"
    log = tmp_path / "told"
    files.work(minutes=None, tell=partial(note, log))
    key = ["model", "seed", "fold", "symbol", "horizon", "open_time"]
    assert files.read().sort(key).equals(finished.read().sort(key))
    lines = log.read_text().splitlines()
    ended = [line for line in lines if ", chosen: xgboost" in line]
    assert sorted(line.partition(": ")[0] for line in ended) == [
        *(f"fold {number} of {FOLDS}" for number in range(1, FOLDS + 1)),
        f"fold {FOLDS} of {FOLDS}, seed 8",
    ]
    after = lines[lines.index(next(line for line in ended if f"{FOLDS} of {FOLDS}: " in line)) :]
    others = [line for line in lines if "seed 8" in line]
    assert others, "another seed is told too"
    assert all(line in after for line in others), "it begins once its fold has been searched"


def test_processes_of_an_evaluation_that_was_killed_end_too(root: Path, tmp_path: Path) -> None:
    """Their standard output is its own: it ends when the last of them has."""
    shutil.copy(root / "candles.parquet", tmp_path)
    with subprocess.Popen(
        [sys.executable, str(DRIVER), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as evaluation:
        assert evaluation.stdout is not None
        begun = [evaluation.stdout.readline() for _ in range(4)]
        assert all("xgboost: trial" in line for line in begun)
        evaluation.kill()
        evaluation.communicate(timeout=120)


def note(log: Path, line: str) -> None:
    """Write a line as a whole, from whichever process."""
    with log.open("a") as file:
        file.write(f"{line}\n")


def test_archive_is_read_as_the_platform_would_hold_it_and_its_last_part_is_scored(root: Path) -> None:
    read = EvaluatedMarket.read(WALKS, root / "candles.parquet")
    assert set(read.names) == {*short_memory(), "symbol_is_BTCUSD", "symbol_is_ETHUSD"}
    last = read.rows(read.folds[-1])
    times = last.candles["open_time"].unique().sort()
    assert read.folds[0].test_start == times[round(0.4 * BARS)]
    assert read.folds[-1].test_end == times[-1] + WALKS.bar
    assert all(fold.train_end == fold.test_start - 6 * WALKS.bar for fold in read.folds)


def test_fold_is_read_to_its_end_with_what_followed_each_row_and_as_the_whole_would_be(root: Path) -> None:
    read = EvaluatedMarket.read(WALKS, root / "candles.parquet")
    first = read.rows(read.folds[0]).data
    _, grid = archive_grid(WALKS, read.archive)
    features, targets = feature_frame(grid, read.names), target_frame(grid, horizons=WALKS.horizons)
    whole = dataset(features, targets, read.names, lookback=WALKS.lookback, bar=WALKS.bar)
    end = read.folds[0].test_end
    assert first.times[-1] == end - WALKS.bar
    assert set(first.keys["symbol"]) == set(WALKS.symbols)
    assert all(first.targets[column].null_count() == 0 for column in first.targets.columns)
    same = whole.between(None, end)
    assert first.keys.equals(same.keys)
    assert first.targets.equals(same.targets)
    np.testing.assert_array_equal(first.values, same.values)
