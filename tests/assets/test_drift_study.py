"""The study of false alarms and delays: small months of it, kept market by market, and its rows by hand."""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS

from cryptoai_assets.evaluate.clustered_market import (
    COLUMNS,
    FEATURE_FAULTS,
    clustered_market,
    with_decayed_relation,
    with_feature_fault,
    with_reversed_relation,
)
from cryptoai_assets.evaluate.drift import (
    DECAYED,
    FULL_PLAN,
    GOALS,
    NOTHING,
    OURS,
    REVERSED,
    DriftStudy,
    EvidentlyWatch,
    fault_rows,
    study_rows,
)
from cryptoai_assets.evaluate.evidently_paths import EvidentlyPaths
from cryptoai_assets.evaluate.rows import EvaluationRow, write_rows
from cryptoai_monitoring.hourly import DAY, HOUR
from cryptoai_monitoring.thresholds import Float64Array, Int64Array

pytestmark = EVIDENTLY_WARNINGS
SMALL = replace(
    FULL_PLAN,
    markets=2,
    faulty_markets=1,
    bar=timedelta(minutes=30),
    reference_days=60,
    live_days=60,
    fault_day=15,
    relation_starts=2,
    decay_starts=1,
    start_days=10,
    patience_days=6,
    decay_days=10,
    rate=replace(FULL_PLAN.rate, draws=50),
    methods=("psi",),
    method_windows=(DAY,),
    default_days=8,
    calibrated_days=20,
    known_rows=1_500,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, EvaluationRow]:
    return {row.name: row for row in DriftStudy(SMALL, folder).rows(lambda _: None)}


def test_gross_faults_are_seen_at_once_and_a_frozen_feature_long_before_evidently_sees_it(
    rows: dict[str, EvaluationRow],
) -> None:
    # Of half-hours, three have to be the same: the second look after the fault sees them.
    for fault, hours in (("changed-units", 1.0), ("frozen-feature", 2.0)):
        row = rows[f"drift/{fault}-median"]
        assert row.value <= hours
        assert row.reference == "Evidently, psi, 1 d"
        assert row.reference_value is not None
    assert rows["drift/frozen-feature-median"].met is False
    assert rows["drift/frozen-feature-median"].value < 0.2 * (
        rows["drift/frozen-feature-median"].reference_value or 0.0
    )
    assert rows["drift/changed-units-seen"].value == 1.0


def test_calm_months_are_mostly_left_alone_where_default_rules_flag_most_days(
    rows: dict[str, EvaluationRow],
) -> None:
    # Two markets of two months: 12 days with an alarm have a chance of 0.1 % at two a month.
    assert rows["drift/false-alarms"].value <= 3.0
    assert rows["drift/default-rules-1d"].value > 0.7


def test_rows_are_kept_as_they_are_printed(rows: dict[str, EvaluationRow], tmp_path: Path) -> None:
    write_rows(tmp_path / "evaluate.json", list(rows.values()), commit="abc")
    kept = json.loads((tmp_path / "evaluate.json").read_bytes())
    assert [(row["name"], row["value"], row["met"]) for row in kept] == [
        (row.name, row.value, row.met) for row in rows.values()
    ]


def test_markets_that_were_judged_are_not_judged_again(folder: Path, rows: dict[str, EvaluationRow]) -> None:
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("market-*.json")}
    assert len(kept) == 2
    again = {row.name: row for row in DriftStudy(SMALL, folder).rows(lambda _: None)}
    assert again == rows
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("market-*.json")} == kept


@dataclass(frozen=True, slots=True)
class Recorder(EvidentlyPaths):
    """Remembers when it was asked."""

    asked: list[Int64Array] = field(default_factory=list)

    def path(
        self, method: str, known: Float64Array, values: Float64Array, looks: Int64Array, bars: int
    ) -> Float64Array:
        self.asked.append(looks)
        return EvidentlyPaths.path(self, method, known, values, looks, bars)


def test_evidently_is_calibrated_by_as_many_looks_as_are_used() -> None:
    paths = Recorder()
    market = clustered_market(80 * SMALL.pace.bars(DAY), seed=1)
    first = 60 * SMALL.pace.bars(DAY)
    watch = EvidentlyWatch.of(market[:first].to_numpy(), SMALL, "psi", DAY, paths)
    assert len(paths.asked) == len(COLUMNS)
    watch.hours_seen(market, first, "return", market.height)
    watch.false_alarm_days(market, first)
    assert len(paths.asked) > 2 * len(COLUMNS)
    assert {tuple(np.unique(np.diff(looks))) for looks in paths.asked} == {(SMALL.pace.bars(HOUR),)}
    known = paths.asked[0]
    assert (known[-1], len(known)) == (first - 1, 59 * 24 + 1)


def test_fault_that_is_not_seen_counts_with_all_hours_and_the_best_rival_is_named() -> None:
    hours = [
        {OURS: [2.0, 4.0], "slow": [9.0, None], "blind": [None, None]},
        {OURS: [None, 6.0], "slow": [11.0, 10.0], "blind": [1.0, None]},
    ]
    median, seen = fault_rows("changed units", 5, hours, patience=100.0)
    assert (median.value, median.reference, median.reference_value) == (5.0, "Evidently, slow", 10.5)
    assert median.met
    assert (seen.value, seen.reference_value, seen.unit) == (0.5, 0.0, "of 4 in 5 h")
    [late, _] = fault_rows("changed units", 4, hours, patience=100.0)
    assert not late.met


def found_by_hand() -> dict[str, EvaluationRow]:
    """Rows of two markets of ten months; in the second Evidently is not asked, and our watch is late."""
    hours = {fault: {OURS: [1.0, 3.0], "psi, 1 d": [2.0, None]} for fault in (*GOALS, NOTHING)}
    late = {fault: {OURS: [5.0, None]} for fault in (REVERSED, DECAYED, NOTHING)}
    found = [
        {
            "days": 304.375,
            "default_alarm_share": {},
            "false_alarm_days": days,
            "rivals": rivals,
            "hours": seen,
        }
        for days, rivals, seen in ((0, {"psi, 1 d": 2}, hours), (20, {}, late))
    ]
    return {row.name: row for row in study_rows(found, SMALL)}


def test_markets_without_evidently_are_not_compared_with_it_and_have_rows_of_their_own() -> None:
    rows = found_by_hand()
    assert rows["drift/reversed-relation-median"].value == 2.0
    assert rows["drift/reversed-relation-in-every-market-median"].value == 4.0
    assert rows["drift/reversed-relation-in-every-market-seen"].value == 0.75
    assert rows["drift/false-alarms-psi-1-d"].value == pytest.approx(2 / 20 * 30.4375)
    assert (rows["drift/by-chance-ours"].value, rows["drift/by-chance-psi-1-d"].value) == (1.0, 0.5)


def test_upper_bound_counts_markets_and_not_their_days() -> None:
    alarms = found_by_hand()["drift/false-alarms"]
    assert alarms.value == 1.0
    assert alarms.upper == pytest.approx(1 + 6.3138 * 1.0, rel=1e-3)  # Student's t with one degree of freedom
    assert not alarms.met
    assert list(GOALS)[-1] == DECAYED


@pytest.mark.parametrize("fault", FEATURE_FAULTS)
def test_fault_changes_one_column_from_its_row_on(fault: str) -> None:
    market = clustered_market(500, seed=1)
    faulty = with_feature_fault(market, fault, column="return", row=300)
    assert faulty.columns == list(COLUMNS)
    assert faulty.drop("return").equals(market.drop("return"))
    assert faulty[:300].equals(market[:300])
    assert not faulty["return"][301:].equals(market["return"][301:])


def test_broken_relation_changes_agreement_and_not_what_is_said() -> None:
    market = clustered_market(60_000, seed=1)
    before, after = slice(1_000, 29_000), slice(31_000, None)
    mean = market["agreement"].to_numpy()[after].mean()
    assert mean > 0.05
    turned = with_reversed_relation(market, 30_000)["agreement"].to_numpy()
    assert turned[after].mean() == pytest.approx(-mean)
    lost = with_decayed_relation(market, 30_000, rows=500, seed=1)
    assert abs(lost["agreement"].to_numpy()[after].mean()) < 0.02
    assert lost["forecast"].to_numpy()[after].std() == pytest.approx(1.0, abs=0.02)
    assert np.array_equal(lost["agreement"].to_numpy()[before], market["agreement"].to_numpy()[before])
