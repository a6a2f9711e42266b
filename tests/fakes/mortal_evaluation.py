"""An evaluation of random walks, in a process that ends by SIGKILL right before a fold is marked as finished.

Run as ``python tests/fakes/mortal_evaluation.py ROOT FOLD``; without a fold it works in two processes, tells
what they do, and waits to be killed.
"""

import os
import signal
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from fakes.walk_rows import BAR, FEW_FEATURES

from cryptoai_assets.evaluate.fold_files import EvaluatedMarket, FoldFiles, Plan
from cryptoai_assets.evaluate.rows import say
from cryptoai_assets.lib.canaries import random_walk_candles
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.splits import walk_forward

BARS, FOLDS = 2600, 4
PLAN = Plan(kinds=("xgboost",), trials=1, seeds=(7, 8), threads=1, processes=1)
# Two coins that walk at random, and a history that holds them.
WALKS = replace(
    market_preset("sample"),
    name="walks",
    symbols=("BTCUSD", "ETHUSD"),
    horizons=(1, 6),
    history_start=date(2000, 1, 1),
    history_end=None,
)


def write_archive(root: Path) -> Path:
    path = root / "candles.parquet"
    pl.concat(
        random_walk_candles(symbol, bars=BARS, interval=WALKS.interval, seed=seed)
        for seed, symbol in enumerate(WALKS.symbols, start=1)
    ).write_parquet(path)
    return path


def files_at(root: Path) -> FoldFiles:
    """Few features and folds, so that they are quickly learnt from."""
    archive = root / "candles.parquet"
    times = pl.read_parquet(archive)["open_time"].unique().sort().to_list()
    folds = walk_forward(
        times, bar=BAR, folds=FOLDS, test_share=0.6, horizon_bars=max(WALKS.horizons), embargo_bars=0
    )
    return FoldFiles(root / "evaluate", EvaluatedMarket(WALKS, archive, FEW_FEATURES, tuple(folds)), PLAN)


def die_before_fold(number: int) -> None:
    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith(f"fold-{number}.json"):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    if sys.argv[2:]:
        die_before_fold(int(sys.argv[2]))
        files_at(Path(sys.argv[1])).work(minutes=None, tell=lambda _: None)
    else:
        files = files_at(Path(sys.argv[1]))
        replace(files, plan=replace(PLAN, trials=100_000, processes=2)).work(minutes=None, tell=say)
