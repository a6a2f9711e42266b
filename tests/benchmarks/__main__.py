"""`make bench [ONLY=room]`: runs the rooms, prints a table as it goes, writes build/bench.json."""

import argparse
import importlib
import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from benchmarks.rows import BenchRow

ROOMS = (
    "sources",
    "features",
    "forecasting",
    "charts",
    "sentiment",
    "serving",
    "online",
    "monitoring",
    "edge",
)
REPORT = Path("build/bench.json")
LINE = "{:<44} {:>12} {:<9} {:>10} {:<7} {:>8}  {}"
Measure = Callable[[], list[BenchRow]]


def table_line(row: BenchRow) -> str:
    """One row of the printed table; a missed goal is shown as missed."""
    met = {None: "", True: "met", False: "MISSED"}[row.met]
    versus = f"{row.reference} ({_short(row.reference_value)})" if row.reference_value else row.reference
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
    return LINE.format(row.name, _short(row.value), row.unit, _short(row.goal), met, ratio, versus).rstrip()


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def measured(room: str, measure: Measure) -> tuple[list[BenchRow], bool]:
    """Rows of a room, and whether it ended well; a crash is a row that says so."""
    try:
        rows = measure()
        if strays := [row.name for row in rows if not row.name.startswith(f"{room}/")]:
            raise ValueError(f"rows named outside the room {room}: {', '.join(strays)}")
    except Exception as error:  # noqa: BLE001 — one room's crash must not hide the others' rows
        traceback.print_exc()
        crash = f"crashed: {type(error).__name__}: {error}"
        return [BenchRow(f"{room}/crashed", None, "", met=False, reference=crash)], False
    return rows, True


def run(rooms: Mapping[str, Measure], *, report: Path, command: str, commit: str) -> int:
    """Measure the rooms in order; print and write every row. The status is 1 when a room crashed."""
    sys.stdout.write(LINE.format("name", "value", "unit", "goal", "met", "ratio", "compared with") + "\n")
    records: list[dict[str, object]] = []
    sound = True
    for room, measure in rooms.items():
        rows, ended_well = measured(room, measure)
        sound &= ended_well
        for row in rows:
            sys.stdout.write(table_line(row) + "\n")
            records.append(row.record(command=command, commit=commit))
        sys.stdout.flush()
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
    sys.stdout.write(f"{len(records)} rows in {report}\n")
    return 0 if sound else 1


def existing_rooms(only: str | None) -> dict[str, Measure]:
    """Measure functions of the rooms that have a module here, or of the one asked for."""
    names = [room for room in ROOMS if only in (None, room) and find_spec(f"benchmarks.{room}")]
    return {room: _measure(room) for room in names}


def _measure(room: str) -> Measure:
    # Imported when it runs, so that a room that cannot be imported is a row as well.
    return lambda: importlib.import_module(f"benchmarks.{room}").measure()


def current_commit() -> str:
    """Hash of the commit that is measured, marked when the tree holds changes beyond it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def main(arguments: list[str] | None = None) -> int:
    """Parse, build, hand over."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("room", nargs="?", choices=ROOMS)
    only = parser.parse_args(arguments).room
    rooms = existing_rooms(only)
    if not rooms:
        parser.error(f"{only or 'no room'} has no benchmarks yet")
    command = f"make bench ONLY={only}" if only else "make bench"
    return run(rooms, report=REPORT, command=command, commit=current_commit())


if __name__ == "__main__":
    sys.exit(main())
