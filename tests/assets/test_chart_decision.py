"""Who decides a pattern is chosen on validation windows, and written into the bundle."""

from pathlib import Path

import numpy as np
from fakes.chart_detector import written_detector
from fakes.chart_problem import walk_set

from cryptoai_assets.lib.charts.bundle import read_rows
from cryptoai_assets.lib.charts.dataset import VALIDATION
from cryptoai_assets.lib.charts.scores import macro_f1
from cryptoai_assets.lib.charts.weights import better_decided
from edge_bundle.detector import BY_NETWORK, BY_RULE, Detector, DetectorManifest


def test_decision_that_agrees_more_on_validation_is_kept(tmp_path: Path) -> None:
    data = walk_set()
    rows = np.flatnonzero(data.part == VALIDATION)
    scores = {}
    for decision in (BY_NETWORK, BY_RULE):
        detector = Detector.load(written_detector(tmp_path / decision, decision=decision))
        said = read_rows(detector, data, rows).pattern
        scores[decision] = macro_f1(data.pattern[rows], said, none_as_one=True)
    assert scores[BY_NETWORK] != scores[BY_RULE]
    better = better_decided(Detector.load(tmp_path / BY_NETWORK), data)
    assert better.manifest.decision == max(scores, key=lambda decision: scores[decision])
    assert DetectorManifest.read(better.folder).decision == better.manifest.decision
    assert better.selftest()
