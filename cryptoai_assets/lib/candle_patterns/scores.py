"""How well candlestick patterns are recognised: F1 by pattern, on bars as traded, with noise, and wilder."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples
from cryptoai_assets.lib.scoring import BlockBootstrap, Score
from edge_bundle.candle_reader import CandleReader, candle_pattern_names
from edge_bundle.chart import Float64Array
from edge_bundle.windows import Float32Array

READING_BATCH = 4096
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class CandleScores:
    """Agreement with the features on one set of windows.

    Parameters
    ----------
    macro_f1
        Mean over the patterns; one that neither occurs nor is said does not count; None when all
        are so.
    classes
        One row a pattern: windows, recall, precision, F1; null where nothing can be said.
    """

    macro_f1: float | None
    windows: int
    classes: pl.DataFrame


def said_of(reader: CandleReader, windows: Float32Array) -> Float32Array:
    """Probabilities (rows, patterns) of many windows."""
    starts = range(0, max(1, len(windows)), READING_BATCH)
    return np.concatenate([reader.read(windows[start : start + READING_BATCH]) for start in starts])


def candle_scores(reader: CandleReader, data: CandleExamples) -> CandleScores:
    """Scores of a reader on the windows of a set."""
    said = said_of(reader, data.windows) > THRESHOLD
    both = (said & data.present).sum(axis=0)
    asked, given = data.present.sum(axis=0), said.sum(axis=0)
    table = pl.DataFrame(
        {
            "pattern": candle_pattern_names(),
            "windows": asked,
            "recall": both / np.where(asked, asked, np.nan),
            "precision": both / np.where(given, given, np.nan),
            "f1": 2 * both / np.where(asked + given, asked + given, np.nan),
        }
    ).with_columns(pl.col("recall", "precision", "f1").fill_nan(None))
    macro = table["f1"].mean()
    return CandleScores(macro if isinstance(macro, float) else None, len(data), table)


def f1_intervals(
    reader: CandleReader, data: CandleExamples, draw: BlockBootstrap
) -> tuple[Score, list[Score]]:
    """Macro-F1 with its interval, and that of each pattern, in order; a pattern that is never there has NaN.

    Parameters
    ----------
    draw
        Over the windows of the set.
    """
    said = said_of(reader, data.windows) > THRESHOLD
    columns = np.column_stack([said & data.present, data.present, said]).astype(np.float64)
    macro = draw.score("macro_f1", list(columns.T), lambda *sums: np.nanmean(_f1(np.stack(sums)), axis=0))
    names = candle_pattern_names()
    return macro, [
        draw.score(name, list(columns[:, place :: len(names)].T), lambda *sums: _f1(np.stack(sums))[0])
        for place, name in enumerate(names)
    ]


def _f1(sums: Float64Array) -> Float64Array:
    """F1 (patterns, ...) of sums (3 patterns, ...): of both, of those that are there, and of those said."""
    both, asked, given = np.split(sums, 3)
    found: Float64Array = 2 * both / np.where(asked + given, asked + given, np.nan)
    return found
