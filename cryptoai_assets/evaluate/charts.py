"""Scores of the shipped chart networks: agreement with the rule on what they never saw."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.candle_patterns.plan import CandlePlan, candle_set
from cryptoai_assets.lib.candle_patterns.scores import candle_scores
from cryptoai_assets.lib.charts.dataset import TEST
from cryptoai_assets.lib.charts.plan import ChartPlan
from cryptoai_assets.lib.charts.scores import Ceiling, PatternScores
from cryptoai_assets.lib.charts.weights import DetectorScores, detector_scores, stored_set, tested_ceiling
from edge_bundle.candle_reader import CandleReader
from edge_bundle.detector import Detector

ROOM = "charts"
# What must be reached by the network that is shipped first.
GOALS = {
    "all": PatternScores(balanced_ten=0.87, macro_f1=0.78, near_points=0.90, all_near=0.75, windows=0),
    "stable": PatternScores(balanced_ten=0.92, macro_f1=0.85, near_points=0.90, all_near=0.75, windows=0),
}
CANDLE_GOAL = 0.97
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
    for test, windows in candle_set(candles, plan).tests.items():
        scores = candle_scores(reader, windows)
        if scores.macro_f1 is not None:
            yield EvaluationRow(
                f"{ROOM}/candles-macro-f1-{test}",
                scores.macro_f1,
                f"macro-F1 over {scores.classes.height}",
                goal=CANDLE_GOAL,
                met=scores.macro_f1 >= CANDLE_GOAL,
            )
        if test == TEST:
            for row in scores.classes.drop_nulls("f1").iter_rows(named=True):
                name = f"{ROOM}/candles-f1-{row['pattern'].replace('_', '-')}"
                yield EvaluationRow(name, row["f1"], f"of {row['windows']} windows")


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
        for place, folder in enumerate(folders):
            found = detector_scores(Detector.load(folder), data, self.plan)
            yield from detector_rows(folder.name, found, limit, shipped=place == 0)


def detector_rows(
    kind: str, found: DetectorScores, limit: Ceiling, *, shipped: bool
) -> Iterator[EvaluationRow]:
    """Rows of one network; those of the shipped one have goals."""
    for name, scores in (("all", found.everything), ("stable", found.stable)):
        for score, unit in SCORES.items():
            goal, value = getattr(GOALS[name], score) if shipped else None, getattr(scores, score)
            reference = "the rule through the pixels" if name == "all" and hasattr(limit, score) else None
            yield EvaluationRow(
                f"{ROOM}/{kind}-{score.replace('_', '-')}-{name}",
                value,
                unit,
                goal=goal,
                met=None if goal is None else value >= goal,
                reference=reference,
                reference_value=getattr(limit, score) if reference else None,
            )
    for part, scores in found.by_part.items():
        name = f"{ROOM}/{kind}-balanced-ten-{part.replace('_', '-')}"
        yield EvaluationRow(name, scores.balanced_ten, SCORES["balanced_ten"])
    yield EvaluationRow(f"{ROOM}/{kind}-macro-f1-natural-mix", found.natural_macro_f1, SCORES["macro_f1"])
    for pattern in found.classes.iter_rows(named=True):
        if pattern["recall"] is not None:
            name = f"{ROOM}/{kind}-recall-{pattern['pattern'].replace('_', '-')}"
            yield EvaluationRow(name, pattern["recall"], f"of {pattern['windows']} windows")
