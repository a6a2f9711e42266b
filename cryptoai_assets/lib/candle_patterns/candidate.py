"""The candlestick network on its way to a release: scored on what it never saw."""

from pathlib import Path

import numpy as np

from cryptoai_assets.lib.candle_patterns.figures import answered_candles, answers_by_pattern
from cryptoai_assets.lib.candle_patterns.plan import CandleSet
from cryptoai_assets.lib.candle_patterns.scores import candle_scores, said_of
from cryptoai_assets.lib.charts.dataset import TEST
from cryptoai_assets.lib.gate import Evidence
from cryptoai_assets.lib.reader_candidates import ReaderReport, label_losses, reader_evidence
from edge_bundle.candle_reader import CandleReader

EXAMPLES = 16


def candle_report(reader: CandleReader, data: CandleSet, *, seed: int) -> ReaderReport:
    """What MLflow keeps of a reader, over windows that it never saw."""
    test = data.tests[TEST]
    said = said_of(reader, test.windows)
    scores = {name: candle_scores(reader, windows) for name, windows in data.tests.items()}
    return ReaderReport(
        parameters={"kind": reader.manifest.kind, "bars": reader.manifest.bars},
        metrics={f"{name}/macro_f1": own.macro_f1 for name, own in scores.items()},
        classes=scores[TEST].classes,
        figures={
            "answers_by_pattern": answers_by_pattern(test, said),
            "answers": answered_candles(test, said, seed=seed),
        },
        example=test.windows[:EXAMPLES],
        said=said[:EXAMPLES],
    )


def candle_evidence(folder: Path, champion: Path | None, data: CandleSet, *, cause: str) -> Evidence:
    """What the gate is told of a reader; the baseline says the shares of the training windows."""
    ours, test = CandleReader.load(folder), data.tests[TEST]
    other = None if champion is None else CandleReader.load(champion)
    shares = np.broadcast_to(data.training.present.mean(axis=0), test.present.shape).astype(np.float32)
    return reader_evidence(
        label_losses(said_of(ours, test.windows), test.present),
        champion=None if other is None else label_losses(said_of(other, test.windows), test.present),
        baseline=label_losses(shares, test.present),
        times=data.test_times,
        replayed=ours.selftest(),
        refresh_cause=cause if other is not None and other.manifest.kind == ours.manifest.kind else None,
    )
