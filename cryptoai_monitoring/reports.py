"""The only door to Evidently: the drift report as a page to look at, by the thresholds of `drift`."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

MOST_FEATURES = 12
MOST_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A drawn report.

    Parameters
    ----------
    drifted
        Features that Evidently flags; they agree with the drift table, whose thresholds it was given.
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
        From `cryptoai_monitoring.drift.drift_table`; Evidently is given its thresholds, since its own
        default verdict depends on the sample size and on the unit.
    """
    # Evidently takes seconds to import and is wanted here only.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount, ValueDrift

    shown = drift.head(MOST_FEATURES)
    names = shown["feature"].to_list()
    thresholds = dict(zip(names, shown["threshold"].to_list(), strict=True))
    definition = DataDefinition(numerical_columns=names)
    known, current = (
        Dataset.from_pandas(_evenly(frame.select(names)).to_pandas(), data_definition=definition)
        for frame in (reference, window)
    )
    metrics = [ValueDrift(column=name, method="psi", threshold=thresholds[name]) for name in names]
    overview = DriftedColumnsCount(columns=names, method="psi", per_column_threshold=thresholds)
    result = Report([overview, *metrics]).run(current, known)
    folder.mkdir(parents=True, exist_ok=True)
    html, record = folder / "drift.html", folder / "drift.json"
    result.save_html(str(html))
    scores = _scores(result.dict())
    drifted = tuple(name for name in names if scores[name] > thresholds[name])
    record.write_text(json.dumps({"psi": scores, "thresholds": thresholds, "drifted": drifted}, indent=1))
    return DriftReport(html, record, drifted)


def _evenly(frame: pl.DataFrame) -> pl.DataFrame:
    complete = frame.drop_nulls()
    return complete.gather_every(max(1, complete.height // MOST_ROWS))


def _scores(record: dict[str, list[dict[str, dict[str, str]]]]) -> dict[str, float]:
    """PSI by feature, out of Evidently's own record."""
    return {
        metric["config"]["column"]: float(str(metric["value"]))
        for metric in record["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
