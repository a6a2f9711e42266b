"""How well patterns are recognised: agreement with the rule, by class, beside the rule's own ceiling."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from cryptoai_assets.lib.charts.dataset import ChartSet
from cryptoai_assets.lib.charts.labels import BoolArray, PatternArray
from edge_bundle.chart import Float64Array
from edge_bundle.detection import NO_BAR, Pattern
from edge_bundle.detector import ChartReading

NEAR_BARS = 2
PATTERNS = np.array([pattern for pattern in Pattern if pattern is not Pattern.NONE])


@dataclass(frozen=True, slots=True)
class PatternScores:
    """Agreement with the rule.

    Parameters
    ----------
    balanced_ten
        Mean over the ten patterns of the share of their windows for which it is the likeliest of the ten.
    macro_f1
        Mean over the ten patterns and none; windows without one weigh together as much as a mean pattern.
    near_points, all_near
        Of windows with a pattern: share of key points that lie at most two bars away, and of windows all of
        whose key points do. A point that is not said is missed.
    windows
        With a pattern.
    """

    balanced_ten: float
    macro_f1: float
    near_points: float
    all_near: float
    windows: int


def pattern_scores(data: ChartSet, said: ChartReading) -> PatternScores:
    """Scores of what is said of the windows of a set."""
    held = data.pattern != Pattern.NONE
    likeliest = said.probabilities[:, PATTERNS].argmax(axis=1) + PATTERNS[0]
    recalls = [
        (likeliest[data.pattern == one] == one).mean() for one in PATTERNS if (data.pattern == one).any()
    ]
    wanted, given = data.key_points[held], said.key_points[held]
    asked = wanted != NO_BAR
    near = asked & (given != NO_BAR) & (np.abs(wanted.astype(int) - given) <= NEAR_BARS)
    return PatternScores(
        balanced_ten=float(np.mean(recalls)),
        macro_f1=macro_f1(data.pattern, said.pattern, none_as_one=True),
        near_points=float(near.sum() / asked.sum()),
        all_near=float((near == asked).all(axis=1).mean()),
        windows=int(held.sum()),
    )


def macro_f1(pattern: PatternArray, said: PatternArray, *, none_as_one: bool) -> float:
    """Mean F1 of the patterns and none; those that neither occur nor are said do not count.

    Parameters
    ----------
    none_as_one
        Whether windows without a pattern weigh together as much as those of a mean pattern.
    """
    weights = np.ones(len(pattern))
    none = pattern == Pattern.NONE
    if none_as_one and none.any():
        weights[none] = (~none).sum() / len(PATTERNS) / none.sum()
    scores = [_f1(pattern == one, said == one, weights) for one in Pattern]
    return float(np.nanmean(scores))


def _f1(true: BoolArray, said: BoolArray, weights: Float64Array) -> float:
    """NaN where there is nothing."""
    total = weights[true].sum() + weights[said].sum()
    return float(2 * weights[true & said].sum() / total) if total else np.nan


def class_table(data: ChartSet, said: ChartReading) -> pl.DataFrame:
    """One row a pattern: windows, recall, precision, F1; null where nothing can be said."""
    weights = np.ones(len(data))
    return pl.DataFrame(
        {
            "pattern": one.name.lower(),
            "windows": int((true := data.pattern == one).sum()),
            "recall": _share(said.pattern[true] == one),
            "precision": _share(data.pattern[(own := said.pattern == one)] == one),
            "f1": _f1(true, own, weights),
        }
        for one in Pattern
    ).with_columns(pl.col("f1").fill_nan(None))


def _share(values: BoolArray) -> float | None:
    return float(values.mean()) if len(values) else None


def confusion(data: ChartSet, said: ChartReading) -> Float64Array:
    """(patterns, patterns) windows by the rule's pattern and by what is said."""
    counts = np.zeros((len(Pattern), len(Pattern)))
    np.add.at(counts, (data.pattern, said.pattern), 1)
    return counts


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The rule's agreement with itself through the picture's pixels: on closes as they are, and as drawn.

    Parameters
    ----------
    balanced_ten
        Over windows that both read as a pattern.
    macro_f1
        Over all, none as one class.
    """

    balanced_ten: float
    macro_f1: float


def ceiling(data: ChartSet) -> Ceiling:
    """Ceiling on the windows of a set."""
    both = (data.pattern != Pattern.NONE) & (data.raw_pattern != Pattern.NONE)
    shares = [
        (data.pattern[own] == one).mean()
        for one in PATTERNS
        if (own := both & (data.raw_pattern == one)).any()
    ]
    return Ceiling(float(np.mean(shares)), macro_f1(data.raw_pattern, data.pattern, none_as_one=True))
