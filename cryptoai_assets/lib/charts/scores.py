"""How well patterns are recognised: agreement with the rule, by class, beside the rule's own ceiling."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.lib.charts.dataset import ChartSet
from cryptoai_assets.lib.charts.labels import BoolArray, PatternArray
from cryptoai_assets.lib.charts.windows import TimeArray
from cryptoai_assets.lib.scoring import BlockBootstrap, BootstrapSettings, Score
from edge_bundle.chart import Float64Array
from edge_bundle.detection import NO_BAR, Pattern
from edge_bundle.detector import ChartReading

NEAR_BARS = 2
# In blocks of seven days: a window of sixty bars of two hours lasts five, and windows of all symbols and bar
# lengths that end on one day move together.
BOOTSTRAP = BootstrapSettings(block_bars=7, resamples=1000, seed=6, confidence=0.95)
OTHERWISE = "otherwise"
PATTERNS = np.array([pattern for pattern in Pattern if pattern is not Pattern.NONE])

_Metric = Callable[[Float64Array], Float64Array]


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
    values = {name: float(score(own.sum(axis=0))) for name, (own, score) in _summed(data, said).items()}
    return PatternScores(**values, windows=int((data.pattern != Pattern.NONE).sum()))


def pattern_intervals(data: ChartSet, said: ChartReading) -> Mapping[str, Score]:
    """Same scores by name, with the intervals of `BOOTSTRAP`."""
    draw = drawn_weeks(data.window_end)
    return {name: _drawn(draw, name, own, score) for name, (own, score) in _summed(data, said).items()}


def lost_intervals(data: ChartSet, plain: ChartReading, said: ChartReading) -> Mapping[str, Score]:
    """How much of each score is lost from one reading to another, with paired intervals.

    `OTHERWISE` is the share of windows that the other decides otherwise.
    """
    draw = drawn_weeks(data.window_end)
    before, after = _summed(data, plain), _summed(data, said)
    found = {}
    for name, (own, score) in before.items():
        both = np.concatenate([own, after[name][0]], axis=1)
        found[name] = _drawn(draw, name, both, partial(_difference, score=score, columns=own.shape[1]))
    other = plain.pattern != said.pattern
    found[OTHERWISE] = draw.score(OTHERWISE, [other.astype(np.float64), np.ones(len(data))], np.divide)
    return found


def _difference(sums: Float64Array, *, score: _Metric, columns: int) -> Float64Array:
    lost: Float64Array = score(sums[..., :columns]) - score(sums[..., columns:])
    return lost


def drawn_weeks(window_end: TimeArray) -> BlockBootstrap:
    """Bootstrap over the days on which windows end."""
    return BOOTSTRAP.over(pl.Series(window_end).dt.truncate("1d"))


def _drawn(draw: BlockBootstrap, name: str, columns: Float64Array, score: _Metric) -> Score:
    return draw.score(name, list(columns.T), lambda *sums: score(np.stack(sums, axis=-1)))


def _summed(data: ChartSet, said: ChartReading) -> Mapping[str, tuple[Float64Array, _Metric]]:
    """By score the columns (windows, columns), and what it is of their sums (..., columns)."""
    held = data.pattern != Pattern.NONE
    likeliest = said.probabilities[:, PATTERNS].argmax(axis=1) + PATTERNS[0]
    of = data.pattern[:, None] == PATTERNS
    wanted, given = data.key_points, said.key_points
    asked = held[:, None] & (wanted != NO_BAR)
    near = asked & (given != NO_BAR) & (np.abs(wanted.astype(int) - given) <= NEAR_BARS)
    whole = held & (near == asked).all(axis=1)
    return {
        "balanced_ten": (_columns(of & (likeliest[:, None] == PATTERNS), of), _mean_share),
        "macro_f1": (_class_columns(data.pattern, said.pattern), partial(_macro_f1, none_as_one=True)),
        "near_points": (_columns(near.sum(axis=1), asked.sum(axis=1)), _mean_share),
        "all_near": (_columns(whole, held), _mean_share),
    }


def _columns(*parts: npt.NDArray[np.bool_ | np.integer]) -> Float64Array:
    return np.column_stack(parts).astype(np.float64)


def _mean_share(sums: Float64Array) -> Float64Array:
    """Mean of the first half of the sums over the second, of those that are there."""
    parts, wholes = np.split(sums, 2, axis=-1)
    return _mean_known(parts / np.where(wholes, wholes, np.nan))


def _mean_known(values: Float64Array) -> Float64Array:
    """Mean over the last axis of what is not NaN; NaN where nothing is known."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    mean: Float64Array = np.where(known, values, 0.0).sum(axis=-1) / np.where(count, count, np.nan)
    return mean


def macro_f1(pattern: PatternArray, said: PatternArray, *, none_as_one: bool) -> float:
    """Mean F1 of the patterns and none; those that neither occur nor are said do not count.

    Parameters
    ----------
    none_as_one
        Whether windows without a pattern weigh together as much as those of a mean pattern.
    """
    return float(_macro_f1(_class_columns(pattern, said).sum(axis=0), none_as_one=none_as_one))


def natural_interval(data: ChartSet, said: ChartReading) -> Score:
    """Macro-F1 over windows as they come, with its interval."""
    columns = _class_columns(data.pattern, said.pattern)
    return _drawn(drawn_weeks(data.window_end), "macro_f1", columns, partial(_macro_f1, none_as_one=False))


def recall_intervals(data: ChartSet, said: ChartReading) -> list[Score]:
    """Share of each class's windows that are said to be of it, with intervals; of those that occur."""
    draw, right = drawn_weeks(data.window_end), said.pattern == data.pattern
    return [
        _drawn(draw, one.name.lower(), _columns(own & right, own), _mean_share)
        for one in Pattern
        if (own := data.pattern == one).any()
    ]


def _class_columns(pattern: PatternArray, said: PatternArray) -> Float64Array:
    """(windows, 4 * classes): of the class, said where there is a pattern, said where is none, and both."""
    classes = np.arange(len(Pattern))
    true, own = pattern[:, None] == classes, said[:, None] == classes
    none = pattern[:, None] == Pattern.NONE
    return _columns(true, own & ~none, own & none, true & own)


def _macro_f1(sums: Float64Array, *, none_as_one: bool) -> Float64Array:
    true, said, said_of_none, both = (part.copy() for part in np.split(sums, 4, axis=-1))
    if none_as_one:
        none, held = true[..., 0], true[..., 1:].sum(axis=-1)
        weight = np.where(none > 0, held / len(PATTERNS) / np.where(none > 0, none, 1.0), 1.0)
        true[..., 0] *= weight
        both[..., 0] *= weight
        said_of_none *= weight[..., None]
    total = true + said + said_of_none
    return _mean_known(2 * both / np.where(total, total, np.nan))


def _f1(true: BoolArray, said: BoolArray) -> float:
    """NaN where there is nothing."""
    total = true.sum() + said.sum()
    return float(2 * (true & said).sum() / total) if total else np.nan


def class_table(data: ChartSet, said: ChartReading) -> pl.DataFrame:
    """One row a pattern: windows, recall, precision, F1; null where nothing can be said."""
    return pl.DataFrame(
        {
            "pattern": one.name.lower(),
            "windows": int((true := data.pattern == one).sum()),
            "recall": _share(said.pattern[true] == one),
            "precision": _share(data.pattern[(own := said.pattern == one)] == one),
            "f1": _f1(true, own),
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


def ceiling(data: ChartSet) -> Mapping[str, Score]:
    """The rule's agreement with itself through the picture's pixels: on closes as they are, and as drawn.

    Over the ten patterns, of windows that both read as one, and the macro-F1 over all with none as one class.
    """
    draw = drawn_weeks(data.window_end)
    of = (data.pattern != Pattern.NONE)[:, None] & (data.raw_pattern[:, None] == PATTERNS)
    same = _columns(of & (data.pattern == data.raw_pattern)[:, None], of)
    classes = _class_columns(data.raw_pattern, data.pattern)
    return {
        "balanced_ten": _drawn(draw, "balanced_ten", same, _mean_share),
        "macro_f1": _drawn(draw, "macro_f1", classes, partial(_macro_f1, none_as_one=True)),
    }
