"""`make evaluate [ONLY=room]`: quality on real data, printed as it is measured and kept as JSON."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cryptoai_assets.evaluate import forecasting
from cryptoai_assets.evaluate.rows import EvaluationRow, row_line, write_rows
from cryptoai_assets.lib.training import git_commit

ROOMS: Mapping[str, Callable[[], Iterator[EvaluationRow]]] = {forecasting.ROOM: forecasting.measure}
OUTPUT = Path("build/evaluate.json")
REMARK = "Part of the one-bar score is bid-ask bounce, which nobody can trade. Not investment advice."


def main(arguments: list[str]) -> int:
    """Measure the named rooms, or all; a missed goal is shown, and is no error."""
    asked = arguments or list(ROOMS)
    if unknown := [name for name in asked if name not in ROOMS]:
        sys.stderr.write(f"no room {', '.join(unknown)}; there are {', '.join(ROOMS)}\n")
        return 2
    commit = git_commit()
    rows: list[EvaluationRow] = []
    for room in asked:
        sys.stdout.write(f"{room}: measuring; the first rows come after some minutes\n")
        sys.stdout.flush()
        for row in ROOMS[room]():
            rows.append(row)
            sys.stdout.write(row_line(row) + "\n")
            sys.stdout.flush()
            write_rows(OUTPUT, rows, commit=commit)
    missed = [row.name for row in rows if row.met is False]
    sys.stdout.write(f"\n{len(rows)} rows in {OUTPUT}; {len(missed)} goals missed {missed or ''}\n{REMARK}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
