"""A detector's bundle on disk: graph, golden pictures, manifest."""

import hashlib
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
import onnx

from cryptoai_assets.lib.charts.dataset import NATURAL, TEST, TRAINING, ChartSet
from cryptoai_assets.lib.charts.labels import Int64Array
from cryptoai_assets.lib.charts.windows import MAX_MISSING_BARS
from cryptoai_assets.lib.quantization import ChosenPrecision, classifier_precision
from edge_bundle.chart import ChartFormat
from edge_bundle.chart_rule import PatternRule
from edge_bundle.detector import (
    PATTERN,
    ChartReading,
    Detector,
    DetectorManifest,
    chart_record,
    pattern_names,
)
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, file_sha256
from edge_bundle.session import ModelSession

GOLDEN_ROWS = 16
# Windows that precisions are compared on, where there are as many.
COMPARED = 4000
READING_BATCH = 256


def chosen_chart_precision(graph: onnx.ModelProto, data: ChartSet, chart: ChartFormat) -> ChosenPrecision:
    """Precision of a detector's graph, measured on real windows that it was not trained on.

    Raises
    ------
    QuantizationError
        When there are too few of them.
    """
    rows = compared_rows(data)
    return classifier_precision(graph, data.images(rows, chart), data.pattern[rows], PATTERN)


def compared_rows(data: ChartSet) -> Int64Array:
    """Windows that precisions are compared on: none was trained on."""
    rows = np.flatnonzero(np.isin(data.part, [TEST, NATURAL]))
    chosen: Int64Array = rows[:: max(1, len(rows) // COMPARED)]
    return chosen


def write_detector(
    folder: Path,
    precision: ChosenPrecision,
    *,
    data: ChartSet,
    model: str,
    kind: str,
    chart: ChartFormat,
    rule: PatternRule,
    decision: str,
    as_of: datetime,
    git_commit: str,
) -> DetectorManifest:
    """Write a bundle; the same network gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH_NAME).write_bytes(precision.graph.SerializeToString(deterministic=True))
    images = np.ascontiguousarray(data.images(np.flatnonzero(data.part == TEST)[:GOLDEN_ROWS], chart))
    said = ModelSession.open(folder / GRAPH_NAME).run(images)
    np.savez_compressed(folder / GOLDEN_NAME, allow_pickle=False, images=images, **said)
    trained = data.window_end[(data.part == TRAINING)].max()
    manifest = DetectorManifest(
        model=model,
        kind=kind,
        chart=chart_record(chart),
        patterns=pattern_names(),
        rule=asdict(rule),
        rule_fingerprint=rule.fingerprint,
        decision=decision,
        max_missing_bars=MAX_MISSING_BARS,
        trained_until=str(np.datetime_as_string(trained, unit="s", timezone="UTC")),
        as_of=as_of.isoformat(),
        git_commit=git_commit,
        quantization=precision.record(),
        files={name: file_sha256(folder / name) for name in (GRAPH_NAME, GOLDEN_NAME)},
    )
    manifest.write(folder)
    return manifest


def read_rows(detector: Detector, data: ChartSet, rows: Int64Array) -> ChartReading:
    """What a detector says of the pictures of some rows."""
    starts = range(0, max(1, len(rows)), READING_BATCH)
    parts = [
        detector.read(data.images(rows[start : start + READING_BATCH], detector.chart)) for start in starts
    ]
    return ChartReading(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.key_points for part in parts]),
    )


def set_fingerprint(data: ChartSet) -> str:
    """SHA-256 of pictures and labels."""
    digest = hashlib.sha256()
    for values in (data.planes, data.pattern, data.key_points, data.turns, data.stable, data.part):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
