"""The ledger: nothing in it changes, a line says who and why, and an open intent is found again."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoai_assets.ledger import acknowledge, main, table
from cryptoai_assets.lib.ledger import EntryKind, Ledger, LedgerError

MODEL = "cryptoai-forecaster-sample"
AT = datetime(2019, 10, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALARM = "h1/accuracy is at least 0.610; from 0.58 on it is taken for a leak"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "data" / "ledger.db")


def write(
    ledger: Ledger,
    kind: EntryKind,
    *,
    version: int = 1,
    model: str = MODEL,
    actor: str = "gate",
    reason: str = "better",
    at: datetime = AT,
    numbers: dict[str, object] | None = None,
    intent: int | None = None,
) -> int:
    return ledger.append(
        kind,
        model=model,
        version=version,
        actor=actor,
        reason=reason,
        at=at,
        numbers=numbers or {},
        intent=intent,
    )


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE entries SET reason = 'another'",
        "UPDATE OR REPLACE entries SET id = id + 1",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT id, at, kind, model, version, previous, 'me', reason, "
        "numbers, intent FROM entries WHERE id = 1",
        "INSERT OR REPLACE INTO entries SELECT id + 10, at, kind, model, version, previous, 'me', reason, "
        "numbers, intent FROM entries WHERE intent = 1",
    ],
)
def test_line_is_never_changed_removed_or_replaced(ledger: Ledger, attack: str) -> None:
    write(ledger, "promotion", intent=write(ledger, "intent"))
    before = ledger.entries()
    with (
        sqlite3.connect(ledger.path) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(attack)
    connection.close()
    assert ledger.entries() == before


def test_line_is_read_as_it_was_written(ledger: Ledger) -> None:
    zone = timezone(timedelta(hours=2))
    numbers = {"loss": np.float64(0.25), "rows": np.int64(3), "nan": float("nan"), "at": AT, "tests": (1, 2)}
    number = write(ledger, "refusal", version=4, at=AT.astimezone(zone), numbers=numbers)
    (entry,) = ledger.entries(MODEL)
    assert (entry.id, entry.at, entry.kind, entry.version) == (number, AT, "refusal", 4)
    assert entry.numbers == {
        "loss": 0.25,
        "rows": 3,
        "nan": None,
        "at": "2019-10-01T12:00:00+00:00",
        "tests": [1, 2],
    }


def test_lines_of_one_model_are_told_from_another_s(ledger: Ledger) -> None:
    write(ledger, "refusal", model="another")
    assert ledger.entries(MODEL) == []
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize(("actor", "reason"), [("", "better"), ("gate", " "), ("  ", "")])
def test_line_without_a_name_or_a_reason_is_refused(ledger: Ledger, actor: str, reason: str) -> None:
    with pytest.raises(LedgerError, match="name of who decides and a reason"):
        write(ledger, "acknowledgement", actor=actor, reason=reason)
    assert ledger.entries() == []


def test_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="time zone"):
        write(ledger, "refusal", at=AT.replace(tzinfo=None))


@pytest.mark.parametrize("kind", ["promotion", "rollback", "abandoned"])
def test_closing_line_needs_its_intent(ledger: Ledger, kind: EntryKind) -> None:
    with pytest.raises(LedgerError, match="needs intent"):
        write(ledger, kind)


def test_line_that_closes_nothing_names_no_intent(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="closes no intent"):
        write(ledger, "refusal", intent=write(ledger, "intent"))


def test_intent_is_open_until_a_line_closes_it(ledger: Ledger) -> None:
    first, second = write(ledger, "intent"), write(ledger, "intent", version=2)
    write(ledger, "promotion", intent=first)
    assert [entry.id for entry in ledger.open_intents()] == [second]
    write(ledger, "abandoned", version=2, intent=second)
    assert ledger.open_intents(MODEL) == []


def test_intent_is_closed_once(ledger: Ledger) -> None:
    intent = write(ledger, "intent")
    write(ledger, "promotion", intent=intent)
    with pytest.raises(sqlite3.IntegrityError):
        write(ledger, "rollback", intent=intent)


def test_closing_line_refers_to_a_line_that_exists(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        write(ledger, "promotion", intent=7)


def test_refusal_that_is_written_anew_is_one_line_until_something_else_is_said_or_an_hour_went_by(
    ledger: Ledger,
) -> None:
    def refuse(at: datetime = AT, **said: Any) -> int:
        line = {"version": 2, "actor": "gate", "reason": "not better", "numbers": {"loss": np.nan}}
        ledger.refuse(model=MODEL, at=at, **(line | said))
        return len(ledger.entries())

    assert [refuse(), refuse(), refuse(version=3), refuse()] == [1, 1, 2, 2]
    assert [refuse(numbers={"loss": 1.0}), refuse(reason="a canary"), refuse(actor="Ada")] == [3, 4, 5]
    assert [refuse(actor="Ada", at=AT + timedelta(minutes=59)), refuse(actor="Ada", at=AT + HOUR)] == [5, 6]
    write(ledger, "acknowledgement", version=2, actor="Ada")
    assert refuse(actor="Ada", at=AT + HOUR) == 8


def test_uses_of_a_stretch_are_counted_over_versions(ledger: Ledger) -> None:
    stretch, another = AT - timedelta(days=70), AT - timedelta(days=7)
    zone = timezone(timedelta(hours=-5))
    uses = [
        ledger.use_stretch(
            MODEL, version, stretch_start=start, actor="version_scores", reason="scored", at=AT
        )
        for version, start in [(1, stretch), (2, stretch.astimezone(zone)), (2, another), (3, stretch)]
    ]
    assert uses == [1, 2, 1, 3]


def test_version_that_is_scored_again_on_a_stretch_has_used_it_once(ledger: Ledger) -> None:
    stretch, another = AT - timedelta(days=70), AT - timedelta(days=7)

    def use(version: int, start: datetime, *, model: str = MODEL, at: datetime = AT) -> int:
        said = {"actor": "version_scores", "reason": "scored", "at": at}
        return ledger.use_stretch(model, version, stretch_start=start, **said)

    assert [use(1, stretch), use(1, stretch, at=AT + HOUR), use(2, stretch), use(1, stretch)] == [1, 1, 2, 2]
    assert [use(1, another), use(1, stretch, model="another"), use(1, another)] == [1, 1, 1]
    assert ledger.stretch_uses(MODEL, stretch) == 2
    assert len(ledger.entries()) == 4


def test_reading_makes_no_file(ledger: Ledger) -> None:
    assert ledger.entries() == []
    assert not ledger.path.exists()


def test_alarm_is_unanswered_until_a_person_acknowledges_that_version(ledger: Ledger) -> None:
    write(ledger, "refusal", version=1, numbers={"alarms": [ALARM]})
    write(ledger, "refusal", version=2, numbers={"alarms": [ALARM]})
    write(ledger, "refusal", version=1, reason="its bundle does not verify")
    assert ledger.unanswered_alarms(MODEL, 1) == (ALARM,)
    acknowledge(ledger, model=MODEL, version=1, name="Ada", reason="the outage explains it", at=AT)
    write(ledger, "refusal", version=1, numbers={"alarms": [ALARM]})
    assert ledger.unanswered_alarms(MODEL, 1) == ()
    assert ledger.unanswered_alarms(MODEL, 2) == (ALARM,)
    answered = ledger.acknowledged(MODEL, 1)
    assert answered is not None
    assert (answered.actor, answered.numbers) == ("Ada", {"alarms": [ALARM]})
    assert ledger.acknowledged(MODEL, 2) is None


def test_alarm_that_was_not_raised_cannot_be_answered_beforehand(ledger: Ledger) -> None:
    write(ledger, "refusal", version=1)
    with pytest.raises(LedgerError, match="no unanswered alarm"):
        acknowledge(ledger, model=MODEL, version=1, name="Ada", reason="just in case", at=AT)


def test_table_shows_every_line_aligned(ledger: Ledger) -> None:
    write(ledger, "promotion", intent=write(ledger, "intent"), reason="better\nthan all")
    heading, *lines = table(ledger.entries()).splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["1", "2019-10-01", "12:00:00", "intent"],
        ["2", "2019-10-01", "12:00:00", "promotion"],
    ]
    assert lines[1].endswith("better than all")
    assert heading.index("why") == lines[1].index("better than all")


def test_command_line_acknowledges_and_shows(ledger: Ledger) -> None:
    write(ledger, "refusal", version=3, numbers={"alarms": [ALARM]})

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cryptoai_assets.ledger", "--ledger", str(ledger.path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    answer = ("acknowledge", MODEL, "3", "--name", "Ada", "--reason", "the outage explains it")
    assert run(*answer).returncode == 0
    again = run(*answer)
    assert (again.returncode, "no unanswered alarm" in again.stderr) == (2, True)
    assert "the outage explains it" in run("show", "--model", MODEL).stdout


def test_command_line_asks_for_name_and_reason(ledger: Ledger) -> None:
    with pytest.raises(SystemExit):
        main(["--ledger", str(ledger.path), "acknowledge", MODEL, "3", "--name", "Ada"])
    assert not ledger.path.exists()
