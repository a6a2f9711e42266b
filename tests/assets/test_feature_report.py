"""The report on rows whose answer is known: planted drift, planted copies, an interval computed twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest
from fakes.mortal_desk import MLFLOW_WARNINGS, tracking_at
from fakes.walk_rows import FEW_FEATURES, HORIZONS, walk_grid
from scipy.stats import spearmanr

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.feature_figures import correlation_figure, family_figure, report_figures
from cryptoai_assets.lib.feature_report import (
    RUN_NAME,
    TABLES_FOLDER,
    FeatureReport,
    feature_correlation,
    feature_report,
    monthly_drift,
    rank_ics,
    record_report,
)
from cryptoai_assets.lib.figures import png_bytes
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.scoring import return_scores
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import SMALL, known_dataset, training_splits
from edge_bundle.features.catalog import feature_frame

pytestmark = MLFLOW_WARNINGS
MARKET = market_preset("sample")
BOOTSTRAP = SMALL.bootstrap(MARKET)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Fourteen weeks of two symbols, as the training dataset holds them."""
    grid = walk_grid(["BTCUSD", "ETHUSD"], bars=4700, seed=8)
    targets = target_frame(grid, horizons=HORIZONS)
    return feature_frame(grid, FEW_FEATURES).join(
        targets, on=["open_time", "symbol"], how="left", maintain_order="left"
    )


def reported(frame: pl.DataFrame) -> FeatureReport:
    return feature_report(frame, FEW_FEATURES, market=MARKET, settings=SMALL)


@pytest.fixture(scope="module")
def report(frame: pl.DataFrame) -> FeatureReport:
    return reported(frame)


def rows_of_all(frame: pl.DataFrame) -> Dataset:
    return known_dataset(frame, FEW_FEATURES, MARKET, datetime(2021, 1, 1, tzinfo=UTC))


def test_tables_hold_every_feature_month_target_horizon_and_fold(report: FeatureReport) -> None:
    assert report.features["feature"].to_list() == list(FEW_FEATURES)
    assert report.features.null_count().sum_horizontal().item() == 0
    months = report.drift["month"].unique().sort().to_list()
    assert months == ["2020-02", "2020-03", "2020-04"]
    assert report.drift.height == len(FEW_FEATURES) * len(months)
    keys = ["feature", "target", "horizon_bars", "fold"]
    assert report.rank_ics.n_unique(keys) == report.rank_ics.height == len(FEW_FEATURES) * 2 * 3 * SMALL.folds
    assert (report.rank_ics["lower"] <= report.rank_ics["value"]).all()
    assert (report.rank_ics["value"] <= report.rank_ics["upper"]).all()


def test_coverage_is_the_share_of_grid_bars_with_a_value(report: FeatureReport) -> None:
    found = dict(report.features.select("feature", "coverage").iter_rows())
    assert found["close_location"] == 1.0
    assert found["return_deviation_240"] == pytest.approx(1 - 240 / 4700)


def test_quantiles_are_those_of_the_bars_that_have_a_value(
    frame: pl.DataFrame, report: FeatureReport
) -> None:
    column = frame["bar_range"]
    row = report.features.row(by_predicate=pl.col("feature") == "bar_range", named=True)
    assert row["family"] == "price"
    for name, share in (("q01", 0.01), ("q50", 0.5), ("q95", 0.95)):
        assert row[name] == pytest.approx(column.quantile(share, "linear"), rel=1e-5)


def test_month_in_which_a_feature_moved_is_the_one_of_its_largest_drift(frame: pl.DataFrame) -> None:
    march = pl.col("open_time").dt.month() == 3
    doubled = pl.when(march).then(pl.col("bar_range") * 2).otherwise("bar_range").alias("bar_range")
    features = reported(frame.with_columns(doubled)).features
    rows = {row["feature"]: row for row in features.to_dicts()}
    assert rows["bar_range"]["largest_psi_month"] == "2020-03"
    assert rows["bar_range"]["largest_psi"] > 0.25 > rows["close_location"]["largest_psi"]


def test_first_month_alone_has_no_drift(frame: pl.DataFrame) -> None:
    january = monthly_drift(frame.filter(pl.col("open_time").dt.month() == 1), FEW_FEATURES)
    assert january.height == 0
    assert january.columns == ["feature", "month", "psi", "ks", "rows"]


def test_drift_of_a_feature_is_of_the_bars_that_have_it_whatever_others_lack(frame: pl.DataFrame) -> None:
    march = pl.col("open_time").dt.month() == 3
    holed = frame.with_columns(bar_range=pl.when(~march).then("bar_range"))
    found, whole = (monthly_drift(bars, FEW_FEATURES) for bars in (holed, frame))
    others = pl.col("feature") != "bar_range"
    assert found.filter(others).equals(whole.filter(others))
    assert found.filter(~others)["month"].to_list() == ["2020-02", "2020-04"]


def test_rank_ic_and_its_interval_are_those_of_the_scores(frame: pl.DataFrame) -> None:
    data = rows_of_all(frame)
    fold = training_splits(data, MARKET, SMALL).folds[1]
    found = rank_ics(data, [fold], horizons=[2], bootstrap=BOOTSTRAP)
    test = data.between(fold.test_start, fold.test_end)
    for feature in ("log_return_5", "return_deviation_60"):
        x, y = test.column(feature), test.target("return", 2)
        score = return_scores(x, y, test.keys["open_time"], BOOTSTRAP)[0]
        row = found.row(
            by_predicate=(pl.col("feature") == feature) & (pl.col("target") == "return"), named=True
        )
        assert row["value"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
        assert [row["value"], row["lower"], row["upper"]] == pytest.approx(
            [score.value, score.lower, score.upper], abs=1e-9
        )
        assert (row["fold"], row["rows"]) == (2, score.rows)


def test_constant_feature_has_a_rank_ic_of_zero_and_a_cluster_of_its_own(frame: pl.DataFrame) -> None:
    found = reported(frame.with_columns(close_location=pl.lit(0.5)))
    assert (found.rank_ics.filter(feature="close_location")["value"] == 0).all()
    clusters = dict(zip(found.correlation.names, found.correlation.cluster, strict=True))
    assert list(clusters.values()).count(clusters["close_location"]) == 1


def test_outcomes_of_the_final_stretch_are_not_read(frame: pl.DataFrame, report: FeatureReport) -> None:
    data = rows_of_all(frame)
    start = training_splits(data, MARKET, SMALL).stretch.test_start
    outcomes = [f"{target}_{horizon}" for target in ("return", "volatility") for horizon in HORIZONS]

    def turned(since: pl.Expr) -> pl.DataFrame:
        return reported(
            frame.with_columns(
                pl.when(since).then(-pl.col(name)).otherwise(name).alias(name) for name in outcomes
            )
        ).rank_ics

    assert turned(pl.col("open_time") >= start).equals(report.rank_ics)
    assert not turned(pl.col("open_time") >= start - timedelta(days=2)).equals(report.rank_ics)


def test_copies_are_one_cluster_whatever_their_sign_and_unit(frame: pl.DataFrame) -> None:
    copied = frame.with_columns(
        log_return_5=-3 * pl.col("log_return_1"), close_location=pl.col("log_return_1") ** 3
    )
    data = rows_of_all(copied)
    found = feature_correlation(data)
    clusters = dict(zip(found.names, found.cluster, strict=True))
    assert len({clusters[name] for name in ("log_return_1", "log_return_5", "close_location")}) == 1
    assert clusters["bar_range"] != clusters["log_return_1"]
    assert sorted(found.names) == sorted(FEW_FEATURES)
    assert np.array_equal(found.strength, found.strength.T)
    assert found.strength.diagonal() == pytest.approx(1.0)
    # Members of a cluster stand together, and numbers rise along the tree.
    assert list(found.cluster) == sorted(found.cluster)


def test_sheet_of_a_family_has_a_row_a_feature_and_warns(report: FeatureReport) -> None:
    figure = family_figure(report, "volatility")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == report.features.filter(family="volatility")["feature"].to_list()
    assert "no ground for choosing" in figure.get_suptitle()
    titles = [axes.get_title() for axes in figure.axes]
    assert any("rank IC, volatility over 2 bars" in title for title in titles)


def test_figures_are_a_sheet_for_each_family_and_the_clusters(report: FeatureReport) -> None:
    figures = report_figures(report)
    assert list(figures) == ["family_price", "family_volatility", "correlation_clusters"]
    assert all(png_bytes(figure).startswith(b"\x89PNG") for figure in figures.values())
    labels = [label.get_text() for label in correlation_figure(report.correlation).axes[0].get_yticklabels()]
    assert labels == list(report.correlation.names)


def test_mlflow_keeps_the_tables_in_one_run_however_often_they_are_recorded(
    report: FeatureReport, copied_registry: Callable[[], Path], tmp_path: Path
) -> None:
    root = copied_registry()
    tracking = tracking_at(root)
    path = tmp_path / "features.parquet"
    write_parquet_atomically(report.features, path)

    def recorded(fingerprint: str) -> str:
        return record_report(tracking, report, [path], fingerprint=fingerprint, tags={"market": "sample"})

    first = recorded("a")
    assert recorded("a") == first
    assert recorded("b") != first
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    run = client.get_run(first)
    assert (run.info.run_name, run.data.tags["market"]) == (RUN_NAME, "sample")
    assert run.data.metrics["feature_report/features"] == len(FEW_FEATURES)
    kept = client.download_artifacts(first, f"{TABLES_FOLDER}/features.parquet", str(tmp_path / "kept"))
    assert pl.read_parquet(kept).equals(report.features)


def test_report_that_died_while_it_was_recorded_is_recorded_again(
    report: FeatureReport, copied_registry: Callable[[], Path], tmp_path: Path
) -> None:
    root = copied_registry()
    tracking = tracking_at(root)
    absent = tmp_path / "absent.parquet"
    with pytest.raises(OSError, match="absent"):
        record_report(tracking, report, [absent], fingerprint="a", tags={})
    write_parquet_atomically(report.features, absent)
    again = record_report(tracking, report, [absent], fingerprint="a", tags={})
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    assert [file.path for file in client.list_artifacts(again, TABLES_FOLDER)] == ["tables/absent.parquet"]
