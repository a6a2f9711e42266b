"""The heartbeat: a file by which who stands outside of the platform's daemon sees that it lives."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from edge_bundle.whole_file import replace_file

HEARTBEAT_NAME = "heartbeat.json"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """That the daemon did its rounds.

    Parameters
    ----------
    since
        From when on it beats without a pause.
    silent
        Its sensors and schedules that were not evaluated when they were due.
    """

    at: datetime
    since: datetime
    silent: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Replace the file, whole."""
        times = {"at": self.at.isoformat(), "since": self.since.isoformat()}
        replace_file(path, json.dumps({**times, "silent": self.silent}))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the newest one; None when there is none that can be read."""
        try:
            record = json.loads(path.read_bytes())
            at, since = (datetime.fromisoformat(record[name]) for name in ("at", "since"))
            return cls(at, since, tuple(record["silent"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
