"""Weights of the candlestick network: trained by a plan, with the scores of those very bytes."""

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cryptoai_assets.lib.candle_patterns.plan import CANDLE_MODEL, CandlePlan, CandleSet
from cryptoai_assets.lib.candle_patterns.scores import candle_scores
from cryptoai_assets.lib.charts.dataset import TEST
from cryptoai_assets.lib.models.networks.problem import Epoch
from cryptoai_assets.lib.quantization import ChosenPrecision, labels_precision
from edge_bundle.candle_reader import (
    PRESENT,
    WINDOW_BARS,
    CandleReader,
    CandleReaderManifest,
    candle_pattern_names,
)
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, file_sha256
from edge_bundle.session import ModelSession

RECORD_NAME = "record.json"
# Of the project, which a user has without training.
SHIPPED = Path(__file__).parents[2] / "weights" / "candles"
BUNDLE_NAME = "reader"
GOLDEN_ROWS = 16
# Windows that precisions are compared on.
COMPARED = 20_000


def train_candle_reader(
    data: CandleSet,
    plan: CandlePlan,
    folder: Path,
    *,
    checkpoints: Path | None,
    threads: int,
    as_of: datetime,
    git_commit: str,
    after_epoch: Callable[[Epoch], None],
) -> CandleReader:
    """Train the network, or go on with it, and write its bundle; the reader is loaded from there.

    Raises
    ------
    QuantizationError
        When there are too few windows to compare precisions on.
    """
    # PyTorch is not wanted by those who only read.
    from cryptoai_assets.lib.candle_patterns.network import CandleProblem, CandleSolver, candle_graph

    problem = CandleProblem(plan.network, data.pool, data.training, data.validation, plan.seed)
    module = CandleSolver(threads, checkpoints)(problem, after_epoch=after_epoch)
    rows = np.random.default_rng(plan.seed).permutation(len(data.tests[TEST]))[:COMPARED]
    test = data.tests[TEST][rows]
    precision = labels_precision(candle_graph(module), test.windows, test.present, PRESENT)
    write_reader(folder, precision, data, as_of=as_of, git_commit=git_commit, kind=plan.network.kind)
    return CandleReader.load(folder)


def write_reader(
    folder: Path, precision: ChosenPrecision, data: CandleSet, *, as_of: datetime, git_commit: str, kind: str
) -> None:
    """Write a bundle; the same network gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH_NAME).write_bytes(precision.graph.SerializeToString(deterministic=True))
    test = data.tests[TEST].windows
    windows = np.ascontiguousarray(test[:: max(1, len(test) // GOLDEN_ROWS)][:GOLDEN_ROWS])
    said = ModelSession.open(folder / GRAPH_NAME).run(windows)
    np.savez_compressed(folder / GOLDEN_NAME, allow_pickle=False, windows=windows, **said)
    CandleReaderManifest(
        model=CANDLE_MODEL,
        kind=kind,
        patterns=candle_pattern_names(),
        bars=WINDOW_BARS,
        trained_until=str(np.datetime_as_string(data.trained_until, unit="s", timezone="UTC")),
        as_of=as_of.isoformat(),
        git_commit=git_commit,
        quantization=precision.record(),
        files={name: file_sha256(folder / name) for name in (GRAPH_NAME, GOLDEN_NAME)},
    ).write(folder)


def reader_scores(reader: CandleReader, data: CandleSet) -> Mapping[str, Any]:
    """Scores of a reader on every test of a set, as JSON holds them."""
    scores = {name: candle_scores(reader, windows) for name, windows in data.tests.items()}
    return {
        name: {"macro_f1": own.macro_f1, "windows": own.windows, "classes": own.classes.to_dicts()}
        for name, own in scores.items()
    }


def ship_reader(
    folder: Path,
    bundle: Path,
    data: CandleSet,
    plan: CandlePlan,
    *,
    command: str,
    source: str,
    commit: str,
    hours: float,
) -> Mapping[str, Any]:
    """Copy a bundle into the project, with the record of what made it and the scores of those bytes."""
    shutil.rmtree(folder / BUNDLE_NAME, ignore_errors=True)
    shutil.copytree(bundle, folder / BUNDLE_NAME)
    reader = CandleReader.load(folder / BUNDLE_NAME)
    record = {
        "command": command,
        "data": source,
        "commit": commit,
        "hours": round(hours, 2),
        "plan": plan.to_json(),
        "bundle": reader.digest,
        "scores": reader_scores(reader, data),
    }
    (folder / RECORD_NAME).write_text(json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")
    return record
