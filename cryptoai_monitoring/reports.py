"""The only door to Evidently: the drift report as a page to look at, by the verdicts of `drift`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

MOST_FEATURES = 12
MOST_ROWS = 5_000
METHOD = "cryptoai_calibrated"
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
