"""Weights of the chart networks: trained by a plan, shipped with the record of what made them."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl

from cryptoai_assets.lib.charts.bundle import (
    chosen_chart_precision,
    compared_rows,
    read_rows,
    set_fingerprint,
    write_detector,
)
from cryptoai_assets.lib.charts.dataset import NATURAL, TEST, VALIDATION, ChartSet
from cryptoai_assets.lib.charts.labels import BoolArray, Int64Array
from cryptoai_assets.lib.charts.pieces import BarPool
from cryptoai_assets.lib.charts.plan import PATTERN_MODEL, ChartPlan, planned_set
from cryptoai_assets.lib.charts.problem import ChartProblem
from cryptoai_assets.lib.charts.scores import (
    PatternScores,
    ceiling,
    class_table,
    lost_intervals,
    macro_f1,
    natural_interval,
    pattern_intervals,
    pattern_scores,
    recall_intervals,
)
from cryptoai_assets.lib.charts.settings import ChartSettings
from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.models.networks.problem import Epoch
from cryptoai_assets.lib.quantization import FP32, MOST_ACCURACY_LOST, ChosenPrecision
from cryptoai_assets.lib.scoring import Score
from edge_bundle.detector import BY_NETWORK, BY_RULE, Detector, DetectorManifest

RECORD_NAME = "record.json"
# Part of a manifest's quantization: what the decisions lose, by `lost_intervals`.
DECIDED = "decided"
# Scores of which no precision may lose more than `MOST_ACCURACY_LOST`.
DECIDING = ("balanced_ten", "macro_f1")
# Of the project, which a user has without training.
SHIPPED = Path(__file__).parents[2] / "weights" / "charts"
# Of what the dataset is made by.
DATASET_CODE = (
    "cryptoai_assets.lib.charts.dataset",
    "cryptoai_assets.lib.charts.drawings",
    "cryptoai_assets.lib.charts.labels",
    "cryptoai_assets.lib.charts.windows",
    "edge_bundle.chart",
    "edge_bundle.chart_rule",
)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """Scores of a bundle's very bytes on what it never saw.

    Parameters
    ----------
    everything, stable
        Over separate events: all of them, and those on which the neighbouring rules agree.
    by_part
        All events of the held-out period, of the held-out symbol, and of both at once.
    natural_macro_f1
        Over windows as they come, most of which hold nothing.
    intervals
        Of the scores, by where they stand and their name, as in ``stable/macro_f1``, ``both/balanced_ten``,
        ``natural/macro_f1`` and ``recall/double_top``.
    """

    everything: PatternScores
    stable: PatternScores
    by_part: Mapping[str, PatternScores]
    natural_macro_f1: float
    classes: pl.DataFrame
    intervals: Mapping[str, Score]

    def to_json(self) -> Mapping[str, Any]:
        """Scores as JSON holds them."""
        return {
            "everything": asdict(self.everything),
            "stable": asdict(self.stable),
            "by_part": {name: asdict(scores) for name, scores in self.by_part.items()},
            "natural_macro_f1": self.natural_macro_f1,
            "classes": self.classes.to_dicts(),
            "intervals": {name: [score.lower, score.upper] for name, score in self.intervals.items()},
        }


def held_out_rows(data: ChartSet) -> Int64Array:
    """Separate events, and what is none, that nothing was trained on."""
    return np.flatnonzero(data.part == TEST)


def detector_scores(detector: Detector, data: ChartSet, plan: ChartPlan) -> DetectorScores:
    """Scores of a detector on the held-out windows of a set."""
    rows = held_out_rows(data)
    test, said = data[rows], read_rows(detector, data, rows)
    rows = np.flatnonzero(data.part == NATURAL)
    natural, as_it_comes = data[rows], read_rows(detector, data, rows)
    parts = {name: own for name, own in _parts(test, plan).items() if own.any()}
    scored = {"everything": np.ones(len(test), dtype=bool), "stable": test.stable, **parts}
    scores = {name: pattern_scores(test[own], said[own]) for name, own in scored.items()}
    return DetectorScores(
        everything=scores["everything"],
        stable=scores["stable"],
        by_part={name: scores[name] for name in parts},
        natural_macro_f1=macro_f1(natural.pattern, as_it_comes.pattern, none_as_one=False),
        classes=class_table(test, said),
        intervals={
            f"{name}/{score}": found
            for name, own in scored.items()
            for score, found in pattern_intervals(test[own], said[own]).items()
        }
        | {"natural/macro_f1": natural_interval(natural, as_it_comes)}
        | {f"recall/{one.name}": one for one in recall_intervals(test, said)},
    )


def tested_ceiling(data: ChartSet) -> Mapping[str, Score]:
    """Ceiling of the rule on the events that are tested on."""
    return ceiling(data[held_out_rows(data)])


def _parts(test: ChartSet, plan: ChartPlan) -> Mapping[str, BoolArray]:
    held_out = test.symbol == plan.split.held_out_symbol
    late = test.window_end >= np.datetime64(plan.split.test_start.replace(tzinfo=None))
    return {
        "held_out_period": late & ~held_out,
        "held_out_symbol": held_out & ~late,
        "both": held_out & late,
    }


def stored_set(candles: pl.DataFrame, plan: ChartPlan, folder: Path, tell: Tell) -> ChartSet:
    """Dataset of a plan, made once for the same candles, plan and code.

    Raises
    ------
    ChartDatasetError
        When the candles are too few for it.
    """
    told = {name: value for name, value in plan.to_json().items() if name != "networks"}
    hashed = int(candles.hash_rows(seed=0).sum())
    name = settings_fingerprint({"plan": told, "candles": hashed, "code": code_fingerprint(*DATASET_CODE)})
    path = folder / f"{name[:16]}.npz"
    if not path.is_file():
        planned_set(candles, plan, tell).save(path)
    return ChartSet.load(path)


def train_detector(
    data: ChartSet,
    pool: BarPool,
    plan: ChartPlan,
    settings: ChartSettings,
    folder: Path,
    *,
    checkpoints: Path,
    threads: int,
    as_of: datetime,
    git_commit: str,
    after_epoch: Callable[[Epoch], None],
) -> Detector:
    """Train a network, or go on with it, and write its bundle; the detector is loaded from there.

    Raises
    ------
    QuantizationError
        When there are too few windows to compare precisions on.
    """
    # PyTorch is not wanted by those who only read.
    from cryptoai_assets.lib.charts.gradients import ChartSolver, chart_graph

    problem = ChartProblem(settings, plan.chart, plan.rule, data, pool, plan.seed)
    solver = ChartSolver(threads, checkpoints)
    solution = solver(problem, after_epoch=after_epoch)
    return exported_detector(
        chart_graph(solution.module, plan.chart),
        data,
        plan,
        folder,
        kind=settings.kind,
        as_of=as_of,
        git_commit=git_commit,
    )


def plain_folder(folder: Path) -> Path:
    """Where the bundle of the same network in FP32 stands, beside the one that is to be run."""
    return folder.with_name(f"{folder.name}-{FP32}")


def exported_detector(
    graph: onnx.ModelProto,
    data: ChartSet,
    plan: ChartPlan,
    folder: Path,
    *,
    kind: str,
    as_of: datetime,
    git_commit: str,
) -> Detector:
    """Write a network's bundle, and beside it the same in FP32, on which it is chosen who decides.

    An INT8 graph that says what FP32 says, and yet loses more than half a point of what is decided, is not
    taken.

    Raises
    ------
    QuantizationError
        When there are too few windows to compare precisions on.
    """
    write = partial(
        write_detector,
        data=data,
        model=PATTERN_MODEL,
        kind=kind,
        chart=plan.chart,
        rule=plan.rule,
        as_of=as_of,
        git_commit=git_commit,
    )
    write(plain_folder(folder), ChosenPrecision(graph, FP32, "as it was trained"), decision=BY_NETWORK)
    plain = better_decided(Detector.load(plain_folder(folder)), data)
    precision = chosen_chart_precision(graph, data, plan.chart)
    write(folder, precision, decision=plain.manifest.decision)
    rows = compared_rows(data)
    found = lost_against_plain(Detector.load(folder), plain, data, rows)
    lost = {name: score.value for name, score in found.items()} | {"windows": len(rows)}
    write(folder, kept_precision(precision, graph, lost), decision=plain.manifest.decision)
    manifest = DetectorManifest.read(folder)
    replace(manifest, quantization={**manifest.quantization, DECIDED: lost}).write(folder)
    return Detector.load(folder)


def kept_precision(
    precision: ChosenPrecision, graph: onnx.ModelProto, lost: Mapping[str, float]
) -> ChosenPrecision:
    """Precision that was chosen by what graphs say, or FP32's where what is decided loses too much."""
    if max(lost[score] for score in DECIDING) <= MOST_ACCURACY_LOST:
        return precision
    why = f"what {precision.name} decides loses more than {MOST_ACCURACY_LOST}"
    return replace(precision, graph=graph, name=FP32, why=why)


def lost_against_plain(
    detector: Detector, plain: Detector, data: ChartSet, rows: Int64Array
) -> Mapping[str, Score]:
    """What a detector's decisions on some rows lose against those of the same network in FP32."""
    return lost_intervals(data[rows], read_rows(plain, data, rows), read_rows(detector, data, rows))


def better_decided(detector: Detector, data: ChartSet) -> Detector:
    """Same graph with the decision that agrees more with the rule on the validation windows."""
    rows = np.flatnonzero(data.part == VALIDATION)
    scores = {}
    for decision in (BY_NETWORK, BY_RULE):
        tried = replace(detector, manifest=replace(detector.manifest, decision=decision))
        said = read_rows(tried, data, rows).pattern
        scores[decision] = macro_f1(data.pattern[rows], said, none_as_one=True)
    best = max(scores, key=lambda decision: scores[decision])
    replace(detector.manifest, decision=best).write(detector.folder)
    return Detector.load(detector.folder)


def ship(
    folder: Path,
    bundles: Mapping[str, Path],
    data: ChartSet,
    plan: ChartPlan,
    *,
    source: str,
    made: Mapping[str, Mapping[str, Any]],
) -> Mapping[str, Any]:
    """Copy bundles into the project, and write down what made each network there, and its bytes' scores.

    Beside an INT8 bundle stands the same network in FP32, so that anyone can measure what is lost.
    Networks that were shipped before stay, and are scored again.

    Parameters
    ----------
    made
        By kind: command, commit and hours.
    """
    for kind, bundle in bundles.items():
        for shipped in (folder / kind, plain_folder(folder / kind)):
            shutil.rmtree(shipped, ignore_errors=True)
        shutil.copytree(bundle, folder / kind)
        if DetectorManifest.read(bundle).quantization["precision"] != FP32:
            shutil.copytree(plain_folder(bundle), plain_folder(folder / kind))
    path = folder / RECORD_NAME
    before = json.loads(path.read_text())["scores"] if path.is_file() else {}
    scores = {}
    for kind in [one.kind for one in plan.networks if (folder / one.kind).is_dir()]:
        detector = Detector.load(folder / kind)
        scores[kind] = {
            "bundle": detector.digest,
            "made": made[kind] if kind in made else before[kind]["made"],
            **detector_scores(detector, data, plan).to_json(),
        }
    record = {
        "data": source,
        "dataset_sha256": set_fingerprint(data),
        "images": len(data),
        "plan": plan.to_json(),
        "rule_sha256": plan.rule.fingerprint,
        "ceiling": {name: score.value for name, score in tested_ceiling(data).items()},
        "scores": scores,
    }
    path.write_text(json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")
    return record
