"""`make evaluate [ONLY=room] [FULL=1]`: quality on real data, printed as measured and kept as JSON."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cryptoai_assets.evaluate import forecasting
from cryptoai_assets.evaluate.rows import EvaluationRow, row_line, write_rows
from cryptoai_assets.lib.training import git_commit

# Each room measures a part that fits into minutes, or all.
ROOMS: Mapping[str, Callable[[bool], Iterator[EvaluationRow]]] = {forecasting.ROOM: forecasting.measure}
LEFT_OUT: Mapping[str, str] = {forecasting.ROOM: forecasting.LEFT_OUT}
OUTPUT = Path("build/evaluate.json")
REMARK = "Part of the one-bar score is bid-ask bounce, which nobody can trade. Not investment advice."


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a room, or all; a missed goal is shown, and is no error."""
    parser = argparse.ArgumentParser(prog="make evaluate", description=__doc__)
    parser.add_argument("room", nargs="?", choices=list(ROOMS))
    parser.add_argument("--full", action="store_true", help="all that is left out of a short evaluation too")
    options = parser.parse_args(arguments)
    asked = [options.room] if options.room else list(ROOMS)
    commit = git_commit()
    rows: list[EvaluationRow] = []
    for room in asked:
        sys.stdout.write(f"{room}: measuring; the first rows come after some minutes\n")
        sys.stdout.flush()
        for row in ROOMS[room](options.full):
            rows.append(row)
            sys.stdout.write(row_line(row) + "\n")
            sys.stdout.flush()
            write_rows(OUTPUT, rows, commit=commit)
        if not options.full:
            sys.stdout.write(f"left out of {room}: {LEFT_OUT[room]}; make evaluate FULL=1 has it\n")
    missed = [row.name for row in rows if row.met is False]
    sys.stdout.write(f"\n{len(rows)} rows in {OUTPUT}; {len(missed)} goals missed {missed or ''}\n{REMARK}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
