"""The only door to Evidently: the drift report as a page to look at, by the verdicts of `drift`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cryptoai_monitoring.thresholds import Float64Array

MOST_FEATURES = 12
MOST_ROWS = 5_000
METHOD = "cryptoai_calibrated"
# What Evidently takes for a numeric column when it is not told.
DEFAULT_METHOD = "default"
# Its methods whose score is a p-value, which may be 0.
BY_P_VALUE = frozenset({"anderson", "cramer_von_mises", "ks", "mannw", "t_test"})
SMALLEST_P = 1e-300
# Below this normalised Cramér-von Mises statistic Evidently takes the p-value for one.
SURELY_SAME = 0.003
METHOD_TITLE = "PSI and KS, in multiples of their calibrated thresholds"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A drawn report.

    Parameters
    ----------
    html
        Evidently's page.
    record
        JSON: the drift table's rows that are shown, and Evidently's verdict on each.
    drifted
        Features that Evidently flags; those that the drift table flags, which it was given to judge by.
    """

    html: Path
    record: Path
    drifted: tuple[str, ...]


def draw_drift_report(
    folder: Path, reference: pl.DataFrame, window: pl.DataFrame, drift: pl.DataFrame
) -> DriftReport:
    """Draw the features with the largest excess over their thresholds.

    Parameters
    ----------
    drift
        From `cryptoai_monitoring.drift.drift_table`, on the same frames. Evidently judges by its ``excess``:
        a verdict of its own would depend on the sample's size and on the unit, and would miss the rows that
        are left out of the drawing.
    """
    # Evidently takes seconds to import and is wanted here only.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount, ValueDrift

    shown = drift.sort("excess", descending=True).head(MOST_FEATURES)
    names = shown["feature"].to_list()
    _judge_by(dict(zip(names, shown["excess"].to_list(), strict=True)))
    definition = DataDefinition(numerical_columns=names)
    known, current = (
        Dataset.from_pandas(_evenly(frame.select(names)).to_pandas(), data_definition=definition)
        for frame in (reference, window)
    )
    metrics = [
        DriftedColumnsCount(columns=names, method=METHOD, threshold=1.0),
        *(ValueDrift(column=name, method=METHOD, threshold=1.0) for name in names),
    ]
    result = Report(metrics, include_tests=True).run(current, known)
    folder.mkdir(parents=True, exist_ok=True)
    html, record = folder / "drift.html", folder / "drift.json"
    result.save_html(str(html))
    flagged = _flagged(result.dict())
    drifted = tuple(name for name in names if flagged[name])
    record.write_text(json.dumps({"features": shown.to_dicts(), "drifted_by_evidently": drifted}, indent=1))
    return DriftReport(html, record, drifted)


def _judge_by(excess: Mapping[str, float]) -> None:
    """Teach Evidently our verdict as a drift method of its own, with the threshold 1."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def calibrated(_reference: Any, current: Any, _kind: Any, threshold: float) -> tuple[float, bool]:
        score = excess[str(current.name)]
        return score, score > threshold

    method = StatTest(METHOD, METHOD_TITLE, [ColumnType.Numerical], default_threshold=1.0)
    register_stattest(method, calibrated)


def _evenly(frame: pl.DataFrame) -> pl.DataFrame:
    """At most `MOST_ROWS` complete rows, evenly spread over time."""
    complete = frame.drop_nulls()
    return complete.gather_every(max(1, -(-complete.height // MOST_ROWS)))


def _flagged(record: Mapping[str, Any]) -> dict[str, bool]:
    """Evidently's verdict by feature, out of its own record."""
    return {
        test["metric_config"]["params"]["column"]: test["status"].value == "FAIL"
        for test in record["tests"]
        if test["metric_config"]["params"]["type"].endswith(":ValueDrift")
    }


def evidently_score(method: str, reference: Float64Array, window: Float64Array) -> tuple[float, bool]:
    """What Evidently says of one column: how far it drifted, the more the larger, and if, by its own rule.

    Parameters
    ----------
    method
        Name of one of Evidently's methods, or `DEFAULT_METHOD` for the one that it chooses itself. Of a test
        the score is the negative decimal logarithm of the p-value.
    """
    import pandas as pd
    from evidently.legacy.calculations.stattests.registry import get_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Numerical
    known, current = pd.Series(reference), pd.Series(window)
    test = get_stattest(known, current, kind, None if method == DEFAULT_METHOD else method)
    found = test(reference_data=known, current_data=current, feature_type=kind, threshold=None)
    score = float(found.drift_score)
    if test.name in BY_P_VALUE:
        score = -math.log10(max(score, SMALLEST_P))
    return score, bool(found.drifted)


def cramer_von_mises_scores(statistics: Float64Array) -> Float64Array:
    """Scores, as `evidently_score` gives them, of normalised Cramér-von Mises statistics: many at once."""
    from evidently.legacy.calculations.stattests.cramer_von_mises_stattest import _cdf_cvm_inf

    beyond = 1.0 - _cdf_cvm_inf(np.maximum(statistics, SURELY_SAME))
    p_values = np.where(statistics < SURELY_SAME, 1.0, np.maximum(beyond, SMALLEST_P))
    return np.asarray(-np.log10(p_values), dtype=np.float64)
