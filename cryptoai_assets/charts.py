"""`make charts`: train the chart networks on the embedded sample and ship their weights with the project.

A training that was stopped goes on where it was; a finished one is only scored and written again.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from cryptoai_assets.lib.candle_patterns import weights
from cryptoai_assets.lib.candle_patterns.plan import CANDLES, candle_set
from cryptoai_assets.lib.candle_patterns.weights import ship_reader, train_candle_reader
from cryptoai_assets.lib.charts.dataset import ChartSet
from cryptoai_assets.lib.charts.plan import FULL_CHARTS, bar_pool
from cryptoai_assets.lib.charts.settings import ChartSettings
from cryptoai_assets.lib.charts.weights import SHIPPED, ship, stored_set, train_detector
from cryptoai_assets.lib.models.networks.problem import Epoch
from cryptoai_assets.lib.sources.sample import SAMPLE_FILE, sample_candles
from cryptoai_assets.lib.training import git_commit

WORK = Path("build/charts")
COMMAND = "make charts"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train each network in turn, ship."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    kinds = [settings.kind for settings in FULL_CHARTS.networks]
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--score", action="store_true", help="train nothing: score what is shipped again")
    parser.add_argument("--only", nargs="+", choices=[*kinds, CANDLES.network.kind], help="networks to train")
    options = parser.parse_args(arguments)
    candles, commit = sample_candles(), git_commit()
    chosen = [one for one in FULL_CHARTS.networks if one.kind in (options.only or kinds)]
    if options.score:
        _ship({}, {}, stored_set(candles, FULL_CHARTS, WORK, _say))
        return 0
    if chosen:
        _pictures(candles, chosen, options.threads, commit)
    if CANDLES.network.kind in (options.only or [CANDLES.network.kind]):
        _candlesticks(candles, options.threads, commit)
    return 0


def _pictures(candles: pl.DataFrame, networks: Sequence[ChartSettings], threads: int, commit: str) -> None:
    data, pool = stored_set(candles, FULL_CHARTS, WORK, _say), bar_pool(candles, FULL_CHARTS)
    _say(f"{len(data):,} images")
    bundles, made = {}, {}
    for settings in networks:
        start = time.monotonic()
        _say(f"{settings.kind}: training")
        bundles[settings.kind] = train_detector(
            data,
            pool,
            FULL_CHARTS,
            settings,
            WORK / settings.kind,
            checkpoints=WORK / "checkpoints",
            threads=threads,
            as_of=datetime.now(UTC),
            git_commit=commit,
            after_epoch=_say_epoch,
        ).folder
        hours = round((time.monotonic() - start) / 3600, 2)
        made[settings.kind] = {"command": COMMAND, "commit": commit, "hours": hours}
    _ship(bundles, made, data)


def _ship(bundles: Mapping[str, Path], made: Mapping[str, Mapping[str, Any]], data: ChartSet) -> None:
    record = ship(SHIPPED, bundles, data, FULL_CHARTS, source=SAMPLE_FILE, made=made)
    for kind, scores in record["scores"].items():
        _say(f"{kind}: all {scores['everything']}\n{kind}: stable {scores['stable']}")
    _say(f"shipped in {SHIPPED}")


def _candlesticks(candles: pl.DataFrame, threads: int, commit: str) -> None:
    start = time.monotonic()
    _say("candlesticks: training")
    data = candle_set(candles, CANDLES)
    reader = train_candle_reader(
        data,
        CANDLES,
        WORK / CANDLES.network.kind,
        checkpoints=WORK / "checkpoints",
        threads=threads,
        as_of=datetime.now(UTC),
        git_commit=commit,
        after_epoch=_say_epoch,
    )
    hours = (time.monotonic() - start) / 3600
    record = ship_reader(
        weights.SHIPPED,
        reader.folder,
        data,
        CANDLES,
        command=COMMAND,
        source=SAMPLE_FILE,
        commit=commit,
        hours=hours,
    )
    for test, scores in record["scores"].items():
        _say(f"candlesticks, {test}: macro-F1 {scores['macro_f1']:.4f}")
    _say(f"shipped in {weights.SHIPPED}")


def _say_epoch(epoch: Epoch) -> None:
    _say(f"{datetime.now(UTC):%H:%M} {epoch.bar}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
