"""The study of the classifier: a small market of it, kept as it is found, and its rows by hand."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cryptoai_assets.evaluate.drift import DECAYED, FULL_PLAN, GOALS, REVERSED
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.evaluate.then_from_now import ClassifierStudy, classifier_rows

SMALL = replace(
    FULL_PLAN,
    markets=2,
    faulty_markets=1,
    bar=timedelta(minutes=30),
    reference_days=70,
    live_days=30,
    fault_day=10,
    patience_days=10,
    decay_days=5,
)


def study(folder: Path) -> dict[str, EvaluationRow]:
    return {row.name: row for row in ClassifierStudy(SMALL, 40, folder).rows(lambda _: None)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, EvaluationRow]:
    return study(folder)


def test_changed_units_are_told_within_the_week_and_by_their_feature(rows: dict[str, EvaluationRow]) -> None:
    assert rows["drift/then-from-now-changed-units-told"].value == 1
    assert rows["drift/then-from-now-changed-units-median"].value <= 7
    assert rows["drift/then-from-now-changed-units-named"].value >= 0.5
    assert rows["drift/then-from-now-false-alarms"].unit == "a month, of 2"


def test_market_that_is_there_is_read_back(rows: dict[str, EvaluationRow], folder: Path) -> None:
    [kept, other] = sorted(folder.rglob("market-*.json"))
    before = kept.read_bytes()
    record = json.loads(before)
    record["told"][REVERSED] = [[9, False]]
    kept.write_text(json.dumps(record))
    other.unlink()
    found = study(folder)
    kept.write_bytes(before)
    assert found.pop("drift/then-from-now-reversed-relation-median").value == 9
    unchanged = {name: row for name, row in rows.items() if REVERSED.replace(" ", "-") not in name}
    assert {name: row for name, row in found.items() if name in unchanged} == unchanged


def test_fault_that_is_not_told_counts_as_all_days_that_were_looked_at() -> None:
    quiet = {"days": 30, "false_alarm_days": 1, "told": {}}
    told = {fault: [[2, True], [None, False]] for fault in GOALS}
    faulty = {"days": 30, "false_alarm_days": 0, "told": told}
    found = {row.name: row for row in classifier_rows([quiet, faulty], SMALL)}
    assert found["drift/then-from-now-reversed-relation-median"].value == 6
    decayed = f"drift/then-from-now-{DECAYED.replace(' ', '-')}"
    assert found[f"{decayed}-median"].value == 8.5
    assert (found[f"{decayed}-told"].value, found[f"{decayed}-named"].value) == (0.5, 1)
    alarms = found["drift/then-from-now-false-alarms"]
    # Two markets: their mean has half their difference as its error, and Student's t 6.31 of it at 95 %.
    assert alarms.upper - alarms.value == pytest.approx(6.314 * alarms.value, rel=1e-3)
    assert alarms.value == pytest.approx(0.5, rel=0.02)
    assert alarms.lower < 0 < alarms.value < alarms.upper
