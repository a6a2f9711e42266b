"""Weights with the record of what made them, and the scores of those very bytes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from fakes.chart_detector import untrained_graph, written_detector
from fakes.chart_plan import PLAN, START, plan_candles
from fakes.chart_problem import SETTINGS, walk_set

from cryptoai_assets.evaluate.charts import ChartEvaluation, ChartEvaluationError, lost_rows
from cryptoai_assets.lib.charts.bundle import chosen_chart_precision, compared_rows, read_rows
from cryptoai_assets.lib.charts.dataset import TEST, ChartSet
from cryptoai_assets.lib.charts.plan import FULL_CHARTS, SMALL_CHARTS, market_plan
from cryptoai_assets.lib.charts.scores import OTHERWISE, pattern_scores
from cryptoai_assets.lib.charts.weights import (
    DECIDED,
    RECORD_NAME,
    detector_scores,
    exported_detector,
    kept_precision,
    plain_folder,
    ship,
    stored_set,
)
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.quantization import (
    FP32,
    LEAST_WINDOWS,
    ChosenPrecision,
    QuantizationError,
    integer_operators,
)
from cryptoai_assets.lib.scoring import Score
from edge_bundle.chart import CHART_60
from edge_bundle.detector import Detector, DetectorManifest
from edge_bundle.manifest import GRAPH_NAME


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


MADE = {"command": "make charts", "commit": "abc", "hours": 0.5}


def test_record_holds_the_scores_of_the_shipped_bytes(data: ChartSet, tmp_path: Path) -> None:
    bundle, shipped = written_detector(tmp_path / "bundle"), tmp_path / "shipped"
    told = ship(shipped, {"vit": bundle}, data, PLAN, source="walks", made={"vit": MADE})
    record = json.loads((shipped / RECORD_NAME).read_text())
    assert record == json.loads(json.dumps(told, default=str))
    detector = Detector.load(shipped / "vit")
    scores = record["scores"]["vit"]
    assert (scores["bundle"], scores["made"]) == (detector.digest, MADE)
    assert record["rule_sha256"] == PLAN.rule.fingerprint
    rows = np.flatnonzero(data.part == TEST)
    expected = pattern_scores(data[rows], read_rows(detector, data, rows))
    assert scores["everything"]["balanced_ten"] == expected.balanced_ten
    assert set(scores["by_part"]) == {"held_out_period", "held_out_symbol", "both"}
    parts = [part["windows"] for part in scores["by_part"].values()]
    # A window of the held-out symbol may lie across the border of the periods; it counts by its end.
    assert sum(parts) == scores["everything"]["windows"]


def test_networks_shipped_before_stay_and_are_scored_again(data: ChartSet, tmp_path: Path) -> None:
    bundle, shipped = written_detector(tmp_path / "bundle"), tmp_path / "shipped"
    plan = replace(PLAN, networks=(SETTINGS["vit"], SETTINGS["closes"]))
    first = ship(shipped, {"vit": bundle}, data, plan, source="walks", made={"vit": MADE})
    later = MADE | {"commit": "def"}
    both = ship(shipped, {"closes": bundle}, data, plan, source="walks", made={"closes": later})
    assert {kind: own["made"] for kind, own in both["scores"].items()} == {"vit": MADE, "closes": later}
    assert both["scores"]["vit"] == first["scores"]["vit"]
    again = ship(shipped, {}, data, plan, source="walks", made={})
    assert again == both
    assert not plain_folder(shipped / "closes").exists()


def test_int8_is_shipped_with_the_same_network_in_fp32(data: ChartSet, tmp_path: Path) -> None:
    bundle, shipped = written_detector(tmp_path / "bundle"), tmp_path / "shipped"
    plain = written_detector(plain_folder(bundle))
    manifest = DetectorManifest.read(bundle)
    replace(manifest, quantization={**manifest.quantization, "precision": "int8"}).write(bundle)
    ship(shipped, {"vit": bundle}, data, PLAN, source="walks", made={"vit": MADE})
    assert Detector.load(plain_folder(shipped / "vit")).digest == Detector.load(plain).digest


def test_evaluation_has_goals_and_the_ceiling_for_the_shipped_network(
    data: ChartSet, candles: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    evaluation = ChartEvaluation(PLAN, tmp_path, folder)
    with pytest.raises(ChartEvaluationError, match="make charts"):
        list(evaluation.rows(candles, silent))
    detector = Detector.load(written_detector(tmp_path / "vit"))
    rows = {row.name: row for row in evaluation.rows(candles, silent)}
    assert not [name for name in rows if name.endswith("-lost")]
    found = detector_scores(detector, data, PLAN)
    assert all(row.lower <= row.value <= row.upper for row in rows.values())
    row = rows["charts/vit-balanced-ten-stable"]
    interval = found.intervals["stable/balanced_ten"]
    assert (row.lower, row.upper) == (interval.lower, interval.upper)
    assert (row.value, row.goal, row.met) == (found.stable.balanced_ten, 0.92, False)
    assert rows["charts/vit-macro-f1-all"].reference_value is not None
    assert rows["charts/vit-macro-f1-natural-mix"].goal is None
    assert len([name for name in rows if "-recall-" in name]) == 11


def test_too_few_windows_to_compare_precisions_on_are_refused() -> None:
    with pytest.raises(QuantizationError, match=f"{LEAST_WINDOWS} needed"):
        chosen_chart_precision(untrained_graph(), walk_set(), CHART_60)


@pytest.fixture(scope="module")
def many() -> ChartSet:
    """Windows enough to compare precisions on, and some to choose who decides."""
    tested = replace(walk_set(), part=np.full(len(walk_set()), TEST))
    return ChartSet.joined([walk_set(), *[tested] * 3])


@pytest.fixture(scope="module")
def exported(many: ChartSet, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    graph = untrained_graph()
    return exported_detector(graph, many, PLAN, folder, kind="vit", as_of=moment, git_commit="abc")


def test_precision_is_measured_and_what_agrees_is_kept(exported: Detector) -> None:
    quantization = exported.manifest.quantization
    table = {variant["name"]: variant for variant in quantization["table"]}
    assert set(table) == {"fp32", "int8_dynamic", "int8_static"}
    assert (table["fp32"]["same_side"], table["fp32"]["accuracy_lost"]) == (1.0, 0.0)
    assert table["fp32"]["rank_correlation"] == pytest.approx(1.0)
    assert table["int8_dynamic"]["megabytes"] < table["fp32"]["megabytes"]
    graph = onnx.load(exported.folder / GRAPH_NAME)
    assert bool(integer_operators(graph)) is (quantization["precision"] != "fp32")


def test_bundle_says_what_its_decisions_lose_against_the_same_network_in_fp32(
    exported: Detector, many: ChartSet
) -> None:
    plain = Detector.load(plain_folder(exported.folder))
    assert not integer_operators(onnx.load(plain.folder / GRAPH_NAME))
    assert plain.manifest.decision == exported.manifest.decision
    lost = exported.manifest.quantization[DECIDED]
    rows = compared_rows(many)
    said = [read_rows(one, many, rows) for one in (plain, exported)]
    before, after = (pattern_scores(many[rows], one) for one in said)
    for score in ("balanced_ten", "macro_f1", "near_points", "all_near"):
        assert lost[score] == pytest.approx(getattr(before, score) - getattr(after, score)), score
    assert lost["otherwise"] == pytest.approx((said[0].pattern != said[1].pattern).mean())
    assert lost["windows"] == len(rows)


@pytest.mark.parametrize(("balanced", "f1", "kept"), [(0.005, 0.0, True), (0.0, 0.006, False)])
def test_int8_that_decides_otherwise_is_not_taken(balanced: float, f1: float, kept: bool) -> None:
    graph, int8 = untrained_graph(), onnx.ModelProto()
    chosen = ChosenPrecision(int8, "int8_dynamic", "the smallest", 2000)
    found = kept_precision(chosen, graph, {"balanced_ten": balanced, "macro_f1": f1, "near_points": 0.2})
    assert (found.graph is int8, found.name) == (kept, "int8_dynamic" if kept else FP32)
    assert found.record()["precision"] == ("int8" if kept else "fp32")


def test_rows_of_what_precision_loses_have_the_goal_of_half_a_point() -> None:
    names = ("balanced_ten", "macro_f1", "near_points", "all_near", OTHERWISE)
    lost = {name: Score(name, 0.004 + 0.002 * (name == "macro_f1"), 0.0, 0.01, 2000) for name in names}
    rows = {row.name.removeprefix("charts/vit-int8-"): row for row in lost_rows("vit-int8", lost)}
    goals = {name: (row.goal, row.met) for name, row in rows.items()}
    assert goals == {
        "balanced-ten-lost": (0.005, True),
        "macro-f1-lost": (0.005, False),
        "near-points-lost": (None, None),
        "all-near-lost": (None, None),
        "decided-otherwise": (None, None),
    }
    assert (rows["macro-f1-lost"].lower, rows["macro-f1-lost"].upper) == (0.0, 0.01)


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
