"""The candlestick network on its way to a release: scored on what it never saw."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples
from cryptoai_assets.lib.candle_patterns.figures import answered_candles, answers_by_pattern
from cryptoai_assets.lib.candle_patterns.plan import NOISY, CandleSet
from cryptoai_assets.lib.candle_patterns.scores import candle_scores, said_of
from cryptoai_assets.lib.charts.dataset import TEST
from cryptoai_assets.lib.charts.labels import BoolArray
from cryptoai_assets.lib.gate import Evidence
from cryptoai_assets.lib.quantization import CALIBRATION_WINDOWS, LEAST_WINDOWS
from cryptoai_assets.lib.reader_candidates import ReaderReport, label_losses, reader_evidence
from edge_bundle.candle_reader import CandleReader

EXAMPLES = 16


def trainable(data: CandleSet) -> bool:
    """Whether a network can be trained on a set, and its precision be chosen."""
    return len(data.validation) > 0 and len(data.tests[TEST]) > LEAST_WINDOWS + CALIBRATION_WINDOWS


def unseen_tests(data: CandleSet, *readers: CandleReader) -> tuple[Mapping[str, CandleExamples], BoolArray]:
    """Windows by test that end after the trainings of all readers did, and which of the first test's do."""
    ends = [np.datetime64(one.manifest.trained_until.removesuffix("Z")) for one in readers]
    own: BoolArray = data.test_times > max(ends)
    return {name: data.tests[name][own] for name in (TEST, NOISY)}, own


def candle_report(reader: CandleReader, data: CandleSet, *, seed: int) -> ReaderReport:
    """What MLflow keeps of a reader, over windows that it never saw."""
    tests, _ = unseen_tests(data, reader)
    test = tests[TEST]
    said = said_of(reader, test.windows)
    scores = {name: candle_scores(reader, windows) for name, windows in tests.items()}
    return ReaderReport(
        parameters={"kind": reader.manifest.kind, "bars": reader.manifest.bars},
        metrics={
            f"{name}/macro_f1": found.macro_f1 for name, found in scores.items() if found.macro_f1 is not None
        },
        classes=scores[TEST].classes,
        figures={
            "answers_by_pattern": answers_by_pattern(test, said),
            "answers": answered_candles(test, said, seed=seed),
        },
        example=data.training.windows[:EXAMPLES],
        said=reader.read(data.training.windows[:EXAMPLES]),
    )


def candle_evidence(folder: Path, champion: Path | None, data: CandleSet, *, cause: str) -> Evidence:
    """What the gate is told of a reader; the baseline says the shares of the training windows."""
    ours, other = CandleReader.load(folder), None if champion is None else CandleReader.load(champion)
    tests, own = unseen_tests(data, *([ours] if other is None else [ours, other]))
    test = tests[TEST]
    shares = np.broadcast_to(data.training.present.mean(axis=0), test.present.shape).astype(np.float32)
    return reader_evidence(
        label_losses(said_of(ours, test.windows), test.present),
        champion=None if other is None else label_losses(said_of(other, test.windows), test.present),
        baseline=label_losses(shares, test.present),
        times=data.test_times[own],
        replayed=ours.selftest(),
        refresh_cause=cause if other is not None and other.manifest.kind == ours.manifest.kind else None,
    )
