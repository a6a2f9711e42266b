"""The drift report: Evidently draws, and says of each feature what our table says."""

import json
import sys
from pathlib import Path
from subprocess import run

import polars as pl
import pytest

from cryptoai_assets.evaluate.clustered_market import clustered_features
from cryptoai_monitoring.drift import drift_table
from cryptoai_monitoring.reports import MOST_FEATURES, MOST_ROWS, DriftReport, draw_drift_report
from cryptoai_monitoring.thresholds import Calibration

PROJECT = Path(__file__).parents[2]
# Of Evidently itself, on numpy and plotly.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Fourteen features, of which two drifted; more of them by Evidently's own rules."""
    features = clustered_features(12_500, seed=4)
    features = features.with_columns(
        pl.col("return").shift(lag).alias(f"return_{lag}") for lag in range(1, 9)
    )
    window = features.tail(500).with_columns(pl.col("return") + 1, pl.col("momentum_20") + 30)
    return features.head(12_000), window


@pytest.fixture(scope="module")
def table(frames: tuple[pl.DataFrame, pl.DataFrame]) -> pl.DataFrame:
    reference, window = frames
    return drift_table(reference, window, reference.columns, Calibration(0.05, 200, 3))


@pytest.fixture(scope="module")
def report(
    frames: tuple[pl.DataFrame, pl.DataFrame], table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> DriftReport:
    return draw_drift_report(tmp_path_factory.mktemp("monitoring") / "report", *frames, table)


def test_evidently_agrees_with_the_drift_table_on_every_feature(
    report: DriftReport, table: pl.DataFrame
) -> None:
    assert set(report.drifted) == {"return", "momentum_20"} == set(table.filter("drifted")["feature"])
    assert (table["psi"] > 0.1).sum() > 2  # by its own rule Evidently would have flagged more


def test_record_holds_the_shown_features_with_their_numbers(report: DriftReport, table: pl.DataFrame) -> None:
    record = json.loads(report.record.read_bytes())
    assert record["features"] == table.head(MOST_FEATURES).to_dicts()
    assert record["drifted_by_evidently"] == list(report.drifted)


def test_page_shows_the_most_drifted_features_only(report: DriftReport, table: pl.DataFrame) -> None:
    page = report.html.read_text()
    shown, hidden = table.head(MOST_FEATURES)["feature"], table.tail(-MOST_FEATURES)["feature"]
    assert all(f"Drift in column '{name}'" in page for name in shown)
    assert len(hidden) == 2
    assert not any(f"Drift in column '{name}'" in page for name in hidden)


def test_second_report_in_one_process_is_judged_by_its_own_table(
    frames: tuple[pl.DataFrame, pl.DataFrame], table: pl.DataFrame, tmp_path: Path
) -> None:
    close = table.head(2).with_columns(excess=pl.Series([1.01, 0.99]), drifted=pl.Series([True, False]))
    assert draw_drift_report(tmp_path, *frames, close).drifted == (close["feature"][0],)


def test_rows_that_are_drawn_are_bounded_and_spread_over_the_whole_time() -> None:
    from cryptoai_monitoring.reports import _evenly

    for rows in (1, MOST_ROWS, MOST_ROWS + 1, 2 * MOST_ROWS - 1, 7 * MOST_ROWS + 3):
        drawn = _evenly(pl.DataFrame({"row": range(rows)}))["row"]
        assert 1 <= len(drawn) <= MOST_ROWS
        assert len(drawn) > MOST_ROWS / 2 or len(drawn) == rows
        assert drawn[-1] > rows - 1 - rows / len(drawn)


def test_evidently_and_pandas_are_imported_only_to_draw() -> None:
    program = (
        "import sys, cryptoai_monitoring.drift, cryptoai_monitoring.live_score, cryptoai_monitoring.verdict,"
        "cryptoai_monitoring.reports; print({'evidently', 'pandas', 'mlflow', 'dagster'} & set(sys.modules))"
    )
    done = run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
