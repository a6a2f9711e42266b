"""The ledger: an append-only record of every promotion, refusal, rollback, stop and acknowledgement."""

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_bundle.sqlite_file import transaction

EntryKind = Literal[
    "intent",
    "promotion",
    "refusal",
    "rollback",
    "stop",
    "abandoned",
    "acknowledgement",
    "stretch_use",
    "admission",  # the gate would promote; a person has the last word
    "probation",  # the gate would promote; what is served has the last word
    "retraining",  # its version is the champion that was found wanting
]
CLOSING_KINDS = ("promotion", "rollback", "abandoned")
# A run that was killed is begun again within it; a person who asks again an hour later is answered again.
SAME_REFUSAL = timedelta(hours=1)

# A replaced row fires no delete trigger, so a taken id is refused as well.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    previous INTEGER,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    numbers TEXT NOT NULL,
    intent INTEGER REFERENCES entries (id)
);
CREATE UNIQUE INDEX IF NOT EXISTS an_intent_is_closed_once ON entries (intent) WHERE intent IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS entries_are_never_changed BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entries_are_never_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entries_are_never_replaced BEFORE INSERT ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE id = NEW.id OR (NEW.intent IS NOT NULL AND intent = NEW.intent))
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


class LedgerError(Exception):
    """An entry is incomplete."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger.

    Parameters
    ----------
    version, previous
        MLflow versions: the one that the line is about, and the one that was champion before it.
    actor
        Who or what decided: a person's name, or the name of the job.
    numbers
        What the decision was made with.
    intent
        For a closing line: the intent that it closes.
    """

    id: int
    at: datetime
    kind: EntryKind
    model: str
    version: int
    previous: int | None
    actor: str
    reason: str
    numbers: Mapping[str, Any]
    intent: int | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger in a SQLite file; nothing in it is ever changed or removed."""

    path: Path

    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, _prepare)

    def append(
        self,
        kind: EntryKind,
        *,
        model: str,
        version: int,
        actor: str,
        reason: str,
        at: datetime,
        numbers: Mapping[str, Any],
        previous: int | None = None,
        intent: int | None = None,
    ) -> int:
        """Write one line and return its id.

        Parameters
        ----------
        numbers
            Becomes JSON: times as ISO 8601 in UTC, numpy's scalars as plain ones, NaN and infinity as null.

        Raises
        ------
        LedgerError
            When nobody or no reason is named, the time has no zone, or a closing line closes no intent.
        """
        if not actor.strip() or not reason.strip():
            raise LedgerError(f"a {kind} needs the name of who decides and a reason")
        if at.tzinfo is None:
            raise LedgerError(f"{at} has no time zone")
        if (kind in CLOSING_KINDS) != (intent is not None):
            raise LedgerError(f"a {kind} {'needs' if intent is None else 'closes no'} intent")
        row = (
            _json_ready(at),
            kind,
            model,
            version,
            previous,
            actor.strip(),
            reason.strip(),
            json.dumps(_json_ready(numbers), allow_nan=False),
            intent,
        )
        with self._connection() as connection:
            cursor = connection.execute(
                "INSERT INTO entries (at, kind, model, version, previous, actor, reason, numbers, intent) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return int(cursor.lastrowid or 0)

    def refuse(
        self,
        *,
        model: str,
        version: int,
        actor: str,
        reason: str,
        at: datetime,
        numbers: Mapping[str, Any],
        previous: int | None = None,
    ) -> None:
        """Write a refusal, once: who is killed after it, and begins anew, adds no second line.

        It is the same one when the newest line of the version is a refusal by the same actor, for the same
        reason and with the same numbers, of less than `SAME_REFUSAL` ago.
        """
        newest = next((e for e in reversed(self.entries(model)) if e.version == version), None)
        if (
            newest is not None
            and (newest.kind, newest.actor, newest.reason) == ("refusal", actor.strip(), reason.strip())
            and newest.numbers == json.loads(json.dumps(_json_ready(numbers)))
            and at - newest.at < SAME_REFUSAL
        ):
            return
        self.append(
            "refusal",
            model=model,
            version=version,
            previous=previous,
            actor=actor,
            reason=reason,
            numbers=numbers,
            at=at,
        )

    def entries(self, model: str | None = None) -> list[Entry]:
        """Lines in the order in which they were written."""
        if not self.path.exists():
            return []
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, at, kind, model, version, previous, actor, reason, numbers, intent FROM entries "
                "WHERE ?1 IS NULL OR model = ?1 ORDER BY id",
                (model,),
            ).fetchall()
        return [_entry(row) for row in rows]

    def open_intents(self, model: str | None = None) -> list[Entry]:
        """Intents that no later line closes, oldest first."""
        entries = self.entries(model)
        closed = {entry.intent for entry in entries}
        return [entry for entry in entries if entry.kind == "intent" and entry.id not in closed]

    def was_champion(self, model: str, version: int) -> bool:
        """Whether a version was ever released as champion."""
        released = ("promotion", "rollback")
        return any(entry.kind in released and entry.version == version for entry in self.entries(model))

    def acknowledged(self, model: str, version: int) -> Entry | None:
        """Newest acknowledgement of a version's alarm by a person, if there is one."""
        found = [e for e in self.entries(model) if e.kind == "acknowledgement" and e.version == version]
        return found[-1] if found else None

    def stopped(self, model: str, version: int) -> str | None:
        """Why a version has to abstain; None when it never had to, or somebody answered for it since."""
        kinds = ("stop", "acknowledgement")
        found = [e for e in self.entries(model) if e.version == version and e.kind in kinds]
        return found[-1].reason if found and found[-1].kind == "stop" else None

    def unanswered_alarms(self, model: str, version: int) -> tuple[str, ...]:
        """Leak alarms that the gate refused a version for, and that nobody has acknowledged."""
        if self.acknowledged(model, version) is not None:
            return ()
        alarms: Sequence[str] = ()
        for entry in self.entries(model):
            if entry.version == version and entry.kind == "refusal":
                alarms = entry.numbers.get("alarms", alarms)
        return tuple(alarms)

    def use_stretch(
        self, model: str, version: int, *, stretch_start: datetime, actor: str, reason: str, at: datetime
    ) -> int:
        """Note that a version is scored on a final stretch; return its uses, this one included.

        A version that is scored on it again, because its run was killed or is made anew, has used it once.
        """
        if version not in self._scored_on(model, stretch_start):
            self.append(
                "stretch_use",
                model=model,
                version=version,
                actor=actor,
                reason=reason,
                at=at,
                numbers={"stretch_start": stretch_start},
            )
        return self.stretch_uses(model, stretch_start)

    def stretch_uses(self, model: str, stretch_start: datetime) -> int:
        """How often versions were scored on the final stretch that begins then."""
        return len(self._scored_on(model, stretch_start))

    def _scored_on(self, model: str, stretch_start: datetime) -> set[int]:
        """Versions that were scored on the final stretch that begins then."""
        start = _json_ready(stretch_start)
        return {
            entry.version
            for entry in self.entries(model)
            if entry.kind == "stretch_use" and entry.numbers.get("stretch_start") == start
        }


def _json_ready(value: object) -> Any:
    match value:
        case np.generic():
            return _json_ready(value.item())
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
        case date() | Path():
            return str(value)
        case Mapping():
            return {str(key): _json_ready(entry) for key, entry in value.items()}
        case list() | tuple() | np.ndarray():
            return [_json_ready(entry) for entry in value]
        case _:
            return value


def _entry(row: tuple[Any, ...]) -> Entry:
    row_id, at, kind, model, version, previous, actor, reason, numbers, intent = row
    return Entry(
        id=row_id,
        at=datetime.fromisoformat(at),
        kind=kind,
        model=model,
        version=version,
        previous=previous,
        actor=actor,
        reason=reason,
        numbers=json.loads(numbers),
        intent=intent,
    )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.executescript(_SCHEMA)
