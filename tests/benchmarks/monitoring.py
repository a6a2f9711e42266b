"""How fast drift is judged and told, and how often it is judged wrongly where nothing drifted.

The statistics are timed against Evidently's on the same frames, without drawing on either side; an alert's
way through the outbox against the bare request to the same loopback Slack.
"""

import json
import os
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.request import Request, urlopen

import numpy as np
import polars as pl
from benchmarks.rows import BenchRow, alternated_seconds
from fakes.slack_server import slack_server

from cryptoai_assets.evaluate.clustered_market import clustered_features
from cryptoai_monitoring.drift import ReferenceCells, drift_table, statistics
from cryptoai_monitoring.reports import draw_drift_report
from cryptoai_monitoring.thresholds import Calibration, Float64Array
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.channels import SlackChannel, slack_blocks

FEATURES, ROWS, WINDOW_ROWS = 100, 10_000, 2_000
CALIBRATION = Calibration(false_alarm_rate=0.05, windows=300, seed=11)
MARKETS, MARKET_ROWS, MARKET_WINDOW_ROWS, MARKET_WINDOWS = 20, 15_000, 300, 10
STATISTICS_GOAL_S, TABLE_GOAL_S, REPORT_GOAL_S, ALERT_GOAL_MS = 0.5, 10.0, 30.0, 250.0
# Twice the stated rate is within the noise of this many windows.
FALSE_ALARM_GOAL = 2 * CALIBRATION.false_alarm_rate
ALERTS = 50
NOW = datetime(2019, 10, 1, tzinfo=UTC)


def measure() -> list[BenchRow]:
    """Rows of the room."""
    os.environ.setdefault("DO_NOT_TRACK", "true")  # before Evidently is imported
    return [*drift_rows(), *false_alarm_rows(), *alert_rows()]


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """A reference and a window of independent normal features, the first of them shifted by a deviation."""
    random = np.random.default_rng(7)
    values = random.standard_normal((ROWS + WINDOW_ROWS, FEATURES))
    values[ROWS:, 0] += 1
    frame = pl.DataFrame(values, schema=[f"feature_{i}" for i in range(FEATURES)])
    return frame.head(ROWS), frame.tail(WINDOW_ROWS)


def drift_rows() -> list[BenchRow]:
    """Statistics, the calibrated table and the drawn report."""
    reference, window = frames()
    evidently, ours = alternated_seconds(
        evidently_statistics(reference, window),
        lambda: bare_statistics(reference.to_numpy(), window.to_numpy()),
        rounds=3,
    )
    started = perf_counter()
    table = drift_table(reference, window, reference.columns, CALIBRATION)
    table_seconds = perf_counter() - started
    assert table.filter("drifted")["feature"].to_list() == ["feature_0"]
    with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        started = perf_counter()
        draw_drift_report(Path(folder), reference, window, table)
        report_seconds = perf_counter() - started
    shape = f"{FEATURES}-features-{ROWS // 1_000}k-rows"
    return [
        row(
            f"statistics-{shape}",
            median(ours),
            "s",
            STATISTICS_GOAL_S,
            reference="Evidently's PSI of each column, not drawn",
            reference_value=median(evidently),
        ),
        row(
            f"calibrated-table-{shape}",
            table_seconds,
            "s",
            TABLE_GOAL_S,
            reference="the statistics alone",
            reference_value=median(ours),
        ),
        row("evidently-report-12-features", report_seconds, "s", REPORT_GOAL_S),
    ]


def bare_statistics(reference: Float64Array, window: Float64Array) -> Float64Array:
    """PSI and KS of every feature, the reference counted anew."""
    cells = ReferenceCells.of(reference)
    return statistics(cells.counts, cells.counted(cells.located(window)))


def evidently_statistics(reference: pl.DataFrame, window: pl.DataFrame) -> Callable[[], object]:
    """Return a call of Evidently's fastest way to the PSI of every column, its data prepared."""
    with warnings.catch_warnings(action="ignore"):
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import DriftedColumnsCount

    definition = DataDefinition(numerical_columns=reference.columns)
    known, current = (
        Dataset.from_pandas(frame.to_pandas(), data_definition=definition) for frame in (reference, window)
    )

    def run() -> object:
        with warnings.catch_warnings(action="ignore"):
            return Report([DriftedColumnsCount(method="psi")]).run(current, known).dict()

    return run


def false_alarm_rows() -> list[BenchRow]:
    """Share of windows flagged, of markets that never drift though their volatility clusters."""
    ours, default = [], []
    for market in range(MARKETS):
        features = clustered_features(MARKET_ROWS + MARKET_WINDOWS * MARKET_WINDOW_ROWS, seed=market)
        reference = features.head(MARKET_ROWS)
        for window in features.tail(-MARKET_ROWS).iter_slices(MARKET_WINDOW_ROWS):
            table = drift_table(reference, window, features.columns, CALIBRATION)
            ours.append(bool(table["drifted"].any()))
            default.append(bool((table["psi"] > 0.1).any()))
    return [
        row(
            f"false-alarms-of-{len(ours)}-calm-windows",
            float(np.mean(ours)),
            "share",
            FALSE_ALARM_GOAL,
            reference=f"stated {CALIBRATION.false_alarm_rate:g}; the rule psi > 0.1",
            reference_value=float(np.mean(default)),
        )
    ]


def alert_rows() -> list[BenchRow]:
    """An alert's way from `add` to Slack, with everything written down."""
    numbers = iter(range(10**6))
    with TemporaryDirectory() as folder, slack_server() as slack:
        outbox, channel = Outbox(Path(folder) / "alerts.db"), SlackChannel(slack.url)

        def told() -> None:
            outbox.add(alert(next(numbers)))
            assert outbox.deliver([channel], NOW) == []

        def posted() -> None:
            body = json.dumps({"text": "x", "blocks": slack_blocks(alert(0))}).encode()
            request = Request(slack.url, body, {"Content-Type": "application/json"})  # noqa: S310 — loopback
            with urlopen(request, timeout=5) as answer:  # noqa: S310 — loopback
                assert answer.status == 200

        through_outbox, bare = alternated_seconds(told, posted, rounds=ALERTS)
    return [
        row(
            "alert-from-outbox-to-slack-p50",
            1e3 * median(through_outbox),
            "ms",
            ALERT_GOAL_MS,
            reference="the bare request",
            reference_value=1e3 * median(bare),
        )
    ]


def alert(number: int) -> Alert:
    """One of many."""
    facts = tuple((f"feature_{i}", "PSI 0.42, threshold 0.12") for i in range(8))
    return Alert(f"drift:{number}", "warning", "Drift", "8 features drifted", facts, (), NOW)


def row(
    name: str,
    value: float,
    unit: str,
    goal: float,
    *,
    reference: str = "",
    reference_value: float | None = None,
) -> BenchRow:
    """Line of this room; a goal is met by what is not above it."""
    return BenchRow(
        f"monitoring/{name}",
        value,
        unit,
        goal=goal,
        met=value <= goal,
        reference=reference,
        reference_value=reference_value,
    )
