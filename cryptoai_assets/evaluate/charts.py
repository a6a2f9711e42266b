"""Scores of the shipped chart networks: agreement with the rule on what they never saw."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.candle_patterns.plan import NOISY, CandlePlan, CandleSet, candle_set
from cryptoai_assets.lib.candle_patterns.scores import f1_intervals
from cryptoai_assets.lib.charts.dataset import TEST
from cryptoai_assets.lib.charts.plan import ChartPlan
from cryptoai_assets.lib.charts.scores import BOOTSTRAP, OTHERWISE, PatternScores, drawn_weeks
from cryptoai_assets.lib.charts.weights import (
    DECIDING,
    DetectorScores,
    detector_scores,
    held_out_rows,
    lost_against_plain,
    plain_folder,
    stored_set,
    tested_ceiling,
)
from cryptoai_assets.lib.quantization import MOST_ACCURACY_LOST
from cryptoai_assets.lib.scoring import BlockBootstrap, Score
from edge_bundle.candle_reader import CandleReader
from edge_bundle.detector import Detector

ROOM = "charts"
# What must be reached by the network that is shipped first.
GOALS = {
    "all": PatternScores(balanced_ten=0.87, macro_f1=0.78, near_points=0.90, all_near=0.75, windows=0),
    "stable": PatternScores(balanced_ten=0.92, macro_f1=0.85, near_points=0.90, all_near=0.75, windows=0),
}
CANDLE_GOAL = 0.97
# Windows of twenty bars overlap: in stretches so much longer they hardly do.
STRETCH_WINDOWS = 200
_PARTS = {"all": "everything", "stable": "stable"}
SCORES = {
    "balanced_ten": "balanced accuracy over ten",
    "macro_f1": "macro-F1 over eleven",
    "near_points": "of key points",
    "all_near": "of windows",
}


class ChartEvaluationError(Exception):
    """There are no weights to be evaluated; the message says how they are made."""


def candle_rows(candles: pl.DataFrame, plan: CandlePlan, shipped: Path) -> Iterator[EvaluationRow]:
    """Scores of the shipped candlestick network, by test and by pattern.

    Raises
    ------
    ChartEvaluationError
        When its weights are not there.
    """
    if not shipped.is_dir():
        raise ChartEvaluationError(f"no weights in {shipped}: make charts trains them")
    reader = CandleReader.load(shipped)
    data = candle_set(candles, plan)
    for test, windows in data.tests.items():
        macro, patterns = f1_intervals(reader, windows, _drawn_windows(data, test))
        yield EvaluationRow(
            f"{ROOM}/candles-macro-f1-{test}",
            macro.value,
            f"macro-F1 over {len(patterns)}",
            lower=macro.lower,
            upper=macro.upper,
            goal=CANDLE_GOAL,
            met=macro.value >= CANDLE_GOAL,
        )
        for one, held in zip(patterns, windows.present.sum(axis=0), strict=True) if test == TEST else ():
            name = f"{ROOM}/candles-f1-{one.name.replace('_', '-')}"
            yield EvaluationRow(name, one.value, f"of {held} windows", lower=one.lower, upper=one.upper)


def _drawn_windows(data: CandleSet, test: str) -> BlockBootstrap:
    """Bootstrap over the days on which windows end; of bars that nobody traded, over stretches of them."""
    if test in (TEST, NOISY):
        return drawn_weeks(data.test_times)
    stretches = pl.Series(np.arange(len(data.tests[test])) // STRETCH_WINDOWS)
    return replace(BOOTSTRAP, block_bars=1).over(stretches)


@dataclass(frozen=True, slots=True)
class ChartEvaluation:
    """The shipped networks of a plan.

    Parameters
    ----------
    shipped
        Folder of the bundles, one a kind.
    folder
        Where the dataset is kept.
    """

    plan: ChartPlan
    shipped: Path
    folder: Path

    def rows(self, candles: pl.DataFrame, tell: Callable[[str], None]) -> Iterator[EvaluationRow]:
        """Scores of each network, the shipped one first, beside the rule's own ceiling.

        Raises
        ------
        ChartEvaluationError
            When the weights of the network that is shipped first are not there.
        """
        first, *beside = [self.shipped / settings.kind for settings in self.plan.networks]
        if not first.is_dir():
            raise ChartEvaluationError(f"no weights in {first}: make charts trains them")
        folders = [first, *(folder for folder in beside if folder.is_dir())]
        data = stored_set(candles, self.plan, self.folder, tell)
        limit = tested_ceiling(data)
        for folder in folders:
            detector = Detector.load(folder)
            found = detector_scores(detector, data, self.plan)
            yield from detector_rows(folder.name, found, limit, shipped=folder == first)
            if plain_folder(folder).is_dir():
                plain = Detector.load(plain_folder(folder))
                lost = lost_against_plain(detector, plain, data, held_out_rows(data))
                yield from lost_rows(f"{folder.name}-{detector.manifest.quantization['precision']}", lost)
        for score, own in limit.items():
            yield EvaluationRow(
                f"{ROOM}/ceiling-{score.replace('_', '-')}", own.value, SCORES[score], own.lower, own.upper
            )


def lost_rows(name: str, lost: Mapping[str, Score]) -> Iterator[EvaluationRow]:
    """Rows of what a graph decides against the same network in FP32; what is decided has goals."""
    for score, own in lost.items():
        goal = MOST_ACCURACY_LOST if score in DECIDING else None
        said = "decided-otherwise" if score == OTHERWISE else f"{score.replace('_', '-')}-lost"
        yield EvaluationRow(
            f"{ROOM}/{name}-{said}",
            own.value,
            SCORES.get(score, "of windows"),
            own.lower,
            own.upper,
            goal=goal,
            met=None if goal is None else own.value <= goal,
            reference="the same network in FP32",
        )


def detector_rows(
    kind: str, found: DetectorScores, limit: Mapping[str, Score], *, shipped: bool
) -> Iterator[EvaluationRow]:
    """Rows of one network; those of the shipped one have goals."""

    def row(name: str, score: str, value: float, unit: str) -> EvaluationRow:
        own = found.intervals[score]
        return EvaluationRow(f"{ROOM}/{kind}-{name}", value, unit, own.lower, own.upper)

    for name, scores in (("all", found.everything), ("stable", found.stable)):
        for score, unit in SCORES.items():
            goal, value = getattr(GOALS[name], score) if shipped else None, getattr(scores, score)
            beside = limit.get(score) if name == "all" else None
            yield replace(
                row(f"{score.replace('_', '-')}-{name}", f"{_PARTS[name]}/{score}", value, unit),
                goal=goal,
                met=None if goal is None else value >= goal,
                reference=None if beside is None else "the rule through the pixels",
                reference_value=None if beside is None else beside.value,
            )
    for part, scores in found.by_part.items():
        name = f"balanced-ten-{part.replace('_', '-')}"
        yield row(name, f"{part}/balanced_ten", scores.balanced_ten, SCORES["balanced_ten"])
    yield row("macro-f1-natural-mix", "natural/macro_f1", found.natural_macro_f1, SCORES["macro_f1"])
    for pattern in found.classes.iter_rows(named=True):
        if pattern["recall"] is not None:
            name, unit = pattern["pattern"], f"of {pattern['windows']} windows"
            yield row(f"recall-{name.replace('_', '-')}", f"recall/{name}", pattern["recall"], unit)
