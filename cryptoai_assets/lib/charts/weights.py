"""Weights of the chart networks: trained by a plan, shipped with the record of what made them."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoai_assets.lib.charts.bundle import (
    chosen_chart_precision,
    read_rows,
    set_fingerprint,
    write_detector,
)
from cryptoai_assets.lib.charts.dataset import NATURAL, TEST, VALIDATION, ChartSet
from cryptoai_assets.lib.charts.labels import BoolArray
from cryptoai_assets.lib.charts.pieces import BarPool
from cryptoai_assets.lib.charts.plan import PATTERN_MODEL, ChartPlan, planned_set
from cryptoai_assets.lib.charts.problem import ChartProblem
from cryptoai_assets.lib.charts.scores import (
    Ceiling,
    PatternScores,
    ceiling,
    class_table,
    macro_f1,
    pattern_scores,
)
from cryptoai_assets.lib.charts.settings import ChartSettings
from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.models.networks.problem import Epoch
from edge_bundle.detector import BY_NETWORK, BY_RULE, Detector

RECORD_NAME = "record.json"
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
    """

    everything: PatternScores
    stable: PatternScores
    by_part: Mapping[str, PatternScores]
    natural_macro_f1: float
    classes: pl.DataFrame

    def to_json(self) -> Mapping[str, Any]:
        """Scores as JSON holds them."""
        return {
            "everything": asdict(self.everything),
            "stable": asdict(self.stable),
            "by_part": {name: asdict(scores) for name, scores in self.by_part.items()},
            "natural_macro_f1": self.natural_macro_f1,
            "classes": self.classes.to_dicts(),
        }


def detector_scores(detector: Detector, data: ChartSet, plan: ChartPlan) -> DetectorScores:
    """Scores of a detector on the held-out windows of a set."""
    rows = np.flatnonzero(data.part == TEST)
    test, said = data[rows], read_rows(detector, data, rows)
    natural = np.flatnonzero(data.part == NATURAL)
    as_it_comes = read_rows(detector, data, natural)
    parts = {name: own for name, own in _parts(test, plan).items() if own.any()}
    return DetectorScores(
        everything=pattern_scores(test, said),
        stable=pattern_scores(test[test.stable], said[test.stable]),
        by_part={name: pattern_scores(test[own], said[own]) for name, own in parts.items()},
        natural_macro_f1=macro_f1(data.pattern[natural], as_it_comes.pattern, none_as_one=False),
        classes=class_table(test, said),
    )


def tested_ceiling(data: ChartSet) -> Ceiling:
    """Ceiling of the rule on the events that are tested on."""
    return ceiling(data[data.part == TEST])


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
    precision = chosen_chart_precision(chart_graph(solution.module, plan.chart), data, plan.chart)
    write_detector(
        folder,
        precision,
        data,
        model=PATTERN_MODEL,
        kind=settings.kind,
        chart=plan.chart,
        rule=plan.rule,
        decision=BY_NETWORK,
        as_of=as_of,
        git_commit=git_commit,
    )
    return better_decided(Detector.load(folder), data)


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
    command: str,
    source: str,
    commit: str,
    hours: float,
) -> Mapping[str, Any]:
    """Copy bundles into the project, with the record of what made them and the scores of those bytes."""
    scores = {}
    for kind, bundle in bundles.items():
        shutil.rmtree(folder / kind, ignore_errors=True)
        shutil.copytree(bundle, folder / kind)
        detector = Detector.load(folder / kind)
        scores[kind] = {"bundle": detector.digest, **detector_scores(detector, data, plan).to_json()}
    record = {
        "command": command,
        "data": source,
        "dataset_sha256": set_fingerprint(data),
        "images": len(data),
        "commit": commit,
        "hours": round(hours, 2),
        "plan": plan.to_json(),
        "rule_sha256": plan.rule.fingerprint,
        "ceiling": asdict(tested_ceiling(data)),
        "scores": scores,
    }
    (folder / RECORD_NAME).write_text(json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")
    return record
