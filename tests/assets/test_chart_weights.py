"""Weights with the record of what made them, and the scores of those very bytes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.chart_detector import untrained_graph, written_detector
from fakes.chart_plan import PLAN, START, plan_candles
from fakes.chart_problem import walk_set

from cryptoai_assets.evaluate.charts import ChartEvaluation, ChartEvaluationError
from cryptoai_assets.lib.charts.bundle import chosen_chart_precision, read_rows
from cryptoai_assets.lib.charts.dataset import TEST, ChartSet
from cryptoai_assets.lib.charts.plan import FULL_CHARTS, SMALL_CHARTS, market_plan
from cryptoai_assets.lib.charts.scores import pattern_scores
from cryptoai_assets.lib.charts.weights import RECORD_NAME, detector_scores, ship, stored_set
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.quantization import LEAST_WINDOWS, QuantizationError, integer_operators
from edge_bundle.chart import CHART_60
from edge_bundle.detector import Detector


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def candles() -> pl.DataFrame:
    return plan_candles()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("charts")


@pytest.fixture(scope="module")
def data(candles: pl.DataFrame, folder: Path) -> ChartSet:
    return stored_set(candles, PLAN, folder, silent)


def test_dataset_is_made_once_for_the_same_plan_and_candles(
    data: ChartSet, candles: pl.DataFrame, folder: Path
) -> None:
    said: list[str] = []
    again = stored_set(candles, PLAN, folder, said.append)
    assert said == []
    np.testing.assert_array_equal(again.planes, data.planes)
    other_networks = replace(PLAN, networks=())
    stored_set(candles, other_networks, folder, said.append)
    assert said == []
    stored_set(candles.head(5_000), PLAN, folder, said.append)
    assert len(said) > 0


def test_record_holds_the_scores_of_the_shipped_bytes(data: ChartSet, tmp_path: Path) -> None:
    bundle = written_detector(tmp_path / "bundle")
    told = ship(
        tmp_path / "shipped",
        {"vit": bundle},
        data,
        PLAN,
        command="make charts",
        source="walks",
        commit="abc",
        hours=0.5,
    )
    record = json.loads((tmp_path / "shipped" / RECORD_NAME).read_text())
    assert record == json.loads(json.dumps(told, default=str))
    detector = Detector.load(tmp_path / "shipped" / "vit")
    scores = record["scores"]["vit"]
    assert scores["bundle"] == detector.digest
    assert record["rule_sha256"] == PLAN.rule.fingerprint
    rows = np.flatnonzero(data.part == TEST)
    expected = pattern_scores(data[rows], read_rows(detector, data, rows))
    assert scores["everything"]["balanced_ten"] == expected.balanced_ten
    assert set(scores["by_part"]) == {"held_out_period", "held_out_symbol", "both"}
    parts = [part["windows"] for part in scores["by_part"].values()]
    # A window of the held-out symbol may lie across the border of the periods; it counts by its end.
    assert sum(parts) == scores["everything"]["windows"]


def test_evaluation_has_goals_and_the_ceiling_for_the_shipped_network(
    data: ChartSet, candles: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    evaluation = ChartEvaluation(PLAN, tmp_path, folder)
    with pytest.raises(ChartEvaluationError, match="make charts"):
        list(evaluation.rows(candles, silent))
    detector = Detector.load(written_detector(tmp_path / "vit"))
    rows = {row.name: row for row in evaluation.rows(candles, silent)}
    found = detector_scores(detector, data, PLAN)
    row = rows["charts/vit-balanced-ten-stable"]
    assert (row.value, row.goal, row.met) == (found.stable.balanced_ten, 0.92, False)
    assert rows["charts/vit-macro-f1-all"].reference_value is not None
    assert rows["charts/vit-macro-f1-natural-mix"].goal is None
    assert len([name for name in rows if "-recall-" in name]) == 11


def test_precision_is_measured_on_enough_windows_and_keeps_what_agrees() -> None:
    small = walk_set()
    with pytest.raises(QuantizationError, match=f"{LEAST_WINDOWS} needed"):
        chosen_chart_precision(untrained_graph(), small, CHART_60)
    many = ChartSet.joined([small] * 4)
    many = replace(many, part=np.full(len(many), TEST))
    chosen = chosen_chart_precision(untrained_graph(), many, CHART_60)
    table = {variant.name: variant for variant in chosen.table}
    assert set(table) == {"fp32", "int8_dynamic", "int8_static"}
    assert (table["fp32"].same_side, table["fp32"].accuracy_lost) == (1.0, 0.0)
    assert table["fp32"].rank_correlation == pytest.approx(1.0)
    assert table["int8_dynamic"].megabytes < table["fp32"].megabytes
    assert bool(integer_operators(chosen.graph)) is (chosen.name != "fp32")


def test_market_plan_holds_out_the_last_symbol_and_the_last_months(candles: pl.DataFrame) -> None:
    plan = market_plan(SMALL_CHARTS, market_preset("sample"), candles)
    assert plan.split.held_out_symbol == "XRPUSD"
    assert plan.intervals == ("30m",)
    whole = timedelta(minutes=30) * 5_999
    assert plan.split.validation_start == START + 0.7 * whole
    assert plan.split.test_start == START + 0.8 * whole


def test_full_plan_trains_the_transformer_first_and_can_be_written_down() -> None:
    assert [settings.kind for settings in FULL_CHARTS.networks] == ["vit", "cnn", "closes"]
    assert json.loads(json.dumps(FULL_CHARTS.to_json()))["split"]["held_out_symbol"] == "EOSUSD"
    assert datetime(2019, 3, 1, tzinfo=UTC) < FULL_CHARTS.split.test_start
