"""The study of all watches together: a small market of it, and its rows by hand."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptoai_assets.evaluate.clustered_market import COLUMNS, clustered_market, with_feature_fault
from cryptoai_assets.evaluate.drift import DECAYED, FULL_PLAN, GOALS, NOTHING, REVERSED
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.evaluate.together import RELATION, Family, FamilyStudy, family_rows
from cryptoai_monitoring.hourly import DAY

SMALL = replace(
    FULL_PLAN,
    markets=2,
    faulty_markets=1,
    bar=timedelta(minutes=30),
    reference_days=70,
    live_days=45,
    fault_day=15,
    relation_starts=2,
    decay_starts=1,
    start_days=5,
    patience_days=8,
    decay_days=10,
)
A_DAY = SMALL.pace.bars(DAY)
ROW = (SMALL.reference_days + SMALL.fault_day) * A_DAY + 5


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    return clustered_market((SMALL.reference_days + SMALL.live_days) * A_DAY + 1, seed=3)


@pytest.fixture(scope="module")
def family(market: pl.DataFrame) -> Family:
    return Family.of(market, SMALL)


def test_each_watch_tells_a_fault_by_its_name_and_no_other(market: pl.DataFrame, family: Family) -> None:
    faulty = with_feature_fault(market, "changed units", column="return", row=ROW)
    last = ROW + 9 * A_DAY
    hours = family.by_the_hour(faulty, ROW, last, ["return"])
    assert hours[0] == ROW + SMALL.pace.bars(timedelta(hours=1))
    assert family.by_the_hour(faulty, ROW, last, ["range_10"]) == []
    days = list(family.by_the_week(faulty, ROW, last, ["return"]))
    assert days
    assert all(end % A_DAY == 0 and ROW < end <= last for end in days)
    assert "return" in family._named(faulty, days[-1])
    assert family.by_the_hour(market, ROW, last, ["return"]) == []


def test_study_counts_what_any_watch_tells_and_reads_it_back(tmp_path: Path) -> None:
    rows = {row.name: row for row in FamilyStudy(SMALL, tmp_path).rows(lambda _: None)}
    assert rows["drift/together-changed-units-median"].value <= 2.0
    assert rows["drift/together-frozen-feature-median"].value <= 2.0
    assert rows["drift/together-reversed-relation-told"].unit == "of 4 in 8 d"
    assert rows["drift/together-false-alarms"].unit == "a month, of 3"
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("market-*.json")}
    assert len(kept) == SMALL.markets
    assert {row.name: row for row in FamilyStudy(SMALL, tmp_path).rows(lambda _: None)} == rows
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("market-*.json")} == kept


def by_hand(*alarms: int) -> dict[str, EvaluationRow]:
    hours = {fault: [4.0, None] for fault in (*GOALS, NOTHING)}
    relation = {fault: [8.0] for fault in (REVERSED, DECAYED, NOTHING)}
    found = [
        {"days": 304.375, "false_alarm_days": days, "hours": seen}
        for days, seen in zip(alarms, (hours, relation), strict=True)
    ]
    return {row.name: row for row in family_rows(found, SMALL)}


def test_fault_that_nobody_tells_counts_with_all_hours() -> None:
    rows = by_hand(5, 5)
    assert rows["drift/together-changed-units-median"].value == (4.0 + 8 * 24) / 2
    assert rows["drift/together-reversed-relation-median"].value == 8.0
    assert rows["drift/together-slow-decay-told"].value == pytest.approx(2 / 3)
    assert rows["drift/together-nothing-told"].unit == "of 3 in 18 d"
    assert "drift/together-nothing-median" not in rows


def test_goal_of_false_alarms_is_that_of_their_upper_bound() -> None:
    assert by_hand(10, 10)["drift/together-false-alarms"].met
    few = by_hand(0, 10)["drift/together-false-alarms"]
    assert few.value == 0.5
    assert not few.met


def test_relation_is_named_by_columns_that_there_are() -> None:
    assert set(RELATION) < set(COLUMNS)
