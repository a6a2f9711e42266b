"""Expenses: each run counts once, in its month, and a budget that is passed is told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptoai_assets.lib.expenses import Expenses, Prices, RunTime, over_budget

NOW = datetime(2019, 10, 3, 12, tzinfo=UTC)
LONG = RunTime("aaaaaaaaaa", "retraining", NOW - timedelta(hours=1), 50.0)
SHORT = RunTime("bbbbbbbbbb", "refreshed_candles", NOW - timedelta(hours=2), 2.0)
LAST_MONTH = RunTime("cccccccccc", "retraining", NOW - timedelta(days=5), 500.0)


def test_run_that_is_noted_twice_counts_once(tmp_path: Path) -> None:
    expenses = Expenses(tmp_path / "expenses.db")
    assert expenses.between(NOW - timedelta(days=9), NOW) == []
    for _ in range(2):
        expenses.note([SHORT, LONG, LAST_MONTH])
    assert expenses.between(NOW - timedelta(days=9), NOW) == [LAST_MONTH, LONG, SHORT]
    assert expenses.between(SHORT.ended_at, LONG.ended_at) == [SHORT]


def test_budgets_of_the_month_and_of_a_run_are_held_against_this_month_s_runs(tmp_path: Path) -> None:
    expenses = Expenses(tmp_path / "expenses.db")
    expenses.note([SHORT, LONG, LAST_MONTH])

    def passed(a_month: float | None, a_run: float | None) -> list[str]:
        return [trouble.name for trouble in over_budget(expenses, Prices(0.1, a_month, a_run), NOW)]

    assert passed(None, None) == passed(5.2, 5.0) == []
    assert passed(5.1, None) == ["budget of 2019-10"]
    assert passed(None, 4.9) == ["run aaaaaaaa of retraining"]
    [month] = over_budget(expenses, Prices(0.1, 5.0, None), NOW)
    assert month.said == "5.20 spent, 5.00 is the month's budget"
