"""The chart network on its way to a release: trained or taken as shipped, scored on what it never saw."""

from pathlib import Path

import numpy as np

from cryptoai_assets.lib.charts.bundle import read_rows
from cryptoai_assets.lib.charts.dataset import NATURAL, TEST, TRAINING, VALIDATION, ChartSet
from cryptoai_assets.lib.charts.figures import answers_figure, confusion_figure
from cryptoai_assets.lib.charts.labels import Int64Array
from cryptoai_assets.lib.charts.scores import class_table, confusion, pattern_scores
from cryptoai_assets.lib.charts.weights import DECIDED
from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.gate import Evidence
from cryptoai_assets.lib.quantization import CALIBRATION_WINDOWS, LEAST_WINDOWS
from cryptoai_assets.lib.reader_candidates import ReaderReport, class_losses, reader_evidence
from edge_bundle.detection import Pattern
from edge_bundle.detector import Detector

EXAMPLES = 16


def trainable(data: ChartSet) -> bool:
    """Whether a network can be trained on a set, and its precision be chosen."""
    trained = set(data.pattern[data.part == TRAINING].tolist())
    compared = np.isin(data.part, [TEST, NATURAL]).sum()
    return (
        trained == set(Pattern)
        and bool((data.part == VALIDATION).any())
        and compared >= LEAST_WINDOWS + CALIBRATION_WINDOWS + 1
    )


def unseen_rows(data: ChartSet, *detectors: Detector) -> Int64Array:
    """Test windows that end after the trainings of all detectors did."""
    ends = [np.datetime64(one.manifest.trained_until.removesuffix("Z")) for one in detectors]
    found: Int64Array = np.flatnonzero((data.part == TEST) & (data.window_end > max(ends)))
    return found


def chart_report(detector: Detector, data: ChartSet, *, seed: int) -> ReaderReport:
    """What MLflow keeps of a detector, over windows that it never saw."""
    rows = unseen_rows(data, detector)
    test, said = data[rows], read_rows(detector, data, rows)
    held = test.pattern != Pattern.NONE
    scored = {"all": held.any(), "stable": (held & test.stable).any()}
    own = {"all": np.ones(len(rows), dtype=bool), "stable": test.stable}
    scores = {name: pattern_scores(test[own[name]], said[own[name]]) for name, any_ in scored.items() if any_}
    # A bundle of before the decisions were compared has none.
    lost = detector.manifest.quantization.get(DECIDED, {})
    images = np.ascontiguousarray(data.images(np.arange(min(EXAMPLES, len(data))), detector.chart))
    return ReaderReport(
        parameters={"kind": detector.manifest.kind, "rule": detector.manifest.rule_fingerprint},
        metrics={
            f"{name}/{score}": float(getattr(found, score))
            for name, found in scores.items()
            for score in ("balanced_ten", "macro_f1", "near_points", "all_near", "windows")
        }
        | {f"lost_by_precision/{score}": float(value) for score, value in lost.items()},
        classes=class_table(test, said),
        figures={
            "confusion": confusion_figure(confusion(test, said), title="What is taken for what"),
            "answers": answers_figure(test, said, detector.chart, seed=seed),
        },
        example=images,
        said=detector.read(images).probabilities,
    )


def chart_evidence(folder: Path, champion: Path | None, data: ChartSet, *, cause: str) -> Evidence:
    """What the gate is told of a detector; the baseline says the shares of the training windows.

    Parameters
    ----------
    champion
        Folder of the bundle that it has to beat; None for a first version.
    cause
        Why it was trained, where the champion is of its kind.
    """
    ours = Detector.load(folder)
    other = None if champion is None else Detector.load(champion)
    rows = unseen_rows(data, *([ours] if other is None else [ours, other]))
    classes = data.pattern[rows]
    return reader_evidence(
        class_losses(read_rows(ours, data, rows).probabilities, classes),
        champion=None if other is None else class_losses(read_rows(other, data, rows).probabilities, classes),
        baseline=_shares_losses(data, rows),
        times=data.window_end[rows],
        replayed=ours.selftest(),
        refresh_cause=cause if other is not None and other.manifest.kind == ours.manifest.kind else None,
    )


def _shares_losses(data: ChartSet, rows: Int64Array) -> Float64Array:
    trained = data.pattern[(data.part == TRAINING) & ~data.drawn]
    shares = np.bincount(trained, minlength=len(Pattern)) / max(len(trained), 1)
    return class_losses(
        np.broadcast_to(shares, (len(rows), len(Pattern))).astype(np.float32), data.pattern[rows]
    )
