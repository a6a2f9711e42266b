"""Expenses: the minutes that runs computed, kept by run, and what they cost at a price a minute."""

import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptoai_assets.lib.trouble import Trouble
from edge_bundle.sqlite_file import transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, job TEXT NOT NULL, ended_at TEXT NOT NULL, minutes REAL NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class RunTime:
    """How long a run computed, on one machine."""

    run_id: str
    job: str
    ended_at: datetime
    minutes: float


@dataclass(frozen=True, slots=True)
class Prices:
    """What computing costs, and what it may cost; each in the same currency.

    Parameters
    ----------
    a_minute
        0 for a machine that is paid for anyway.
    a_month, a_run
        Budgets; None for none.
    """

    a_minute: float
    a_month: float | None
    a_run: float | None


@dataclass(frozen=True, slots=True)
class Expenses:
    """Run times in a SQLite file; a run that is noted twice counts once."""

    path: Path

    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, lambda connection: connection.execute(_SCHEMA))

    def note(self, runs: Iterable[RunTime]) -> None:
        """Keep the times of runs that ended."""
        rows = [(run.run_id, run.job, run.ended_at.astimezone(UTC).isoformat(), run.minutes) for run in runs]
        with self._connection() as connection:
            connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", rows)

    def between(self, since: datetime, until: datetime) -> list[RunTime]:
        """Runs that ended with ``since <= ended_at < until``, the longest first."""
        if not self.path.exists():
            return []
        times = (since.astimezone(UTC).isoformat(), until.astimezone(UTC).isoformat())
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT run_id, job, ended_at, minutes FROM runs WHERE ended_at >= ? AND ended_at < ? "
                "ORDER BY minutes DESC, run_id",
                times,
            ).fetchall()
        return [RunTime(run, job, datetime.fromisoformat(at), minutes) for run, job, at, minutes in rows]


def over_budget(expenses: Expenses, prices: Prices, now: datetime) -> list[Trouble]:
    """Budgets that are passed: that of this month, and that of a run of this month, each told once."""
    month = f"{now:%Y-%m}"
    runs = expenses.between(datetime(now.year, now.month, 1, tzinfo=UTC), now)
    spent = sum(run.minutes for run in runs) * prices.a_minute
    found = []
    if prices.a_month is not None and spent > prices.a_month:
        found.append(
            Trouble(f"budget of {month}", f"{spent:.2f} spent, {prices.a_month:.2f} is the month's budget")
        )
    if prices.a_run is not None:
        found += [
            Trouble(
                f"run {run.run_id[:8]} of {run.job}",
                f"{run.minutes:.1f} minutes cost {run.minutes * prices.a_minute:.2f}, "
                f"{prices.a_run:.2f} is a run's budget",
            )
            for run in runs
            if run.minutes * prices.a_minute > prices.a_run
        ]
    return found
