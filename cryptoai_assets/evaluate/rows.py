"""One row of `make evaluate`, and the files and tables that rows become."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_bundle.whole_file import replace_file

COMMAND = "make evaluate"


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """A score, its goal, and what it is compared with.

    Parameters
    ----------
    name
        Starts with its room, as in ``forecasting/accuracy-BTCUSD-1``.
    lower, upper
        95 % interval of the value; None where it has none.
    met
        None for a row without a goal.
    """

    name: str
    value: float
    unit: str
    lower: float | None = None
    upper: float | None = None
    goal: float | None = None
    met: bool | None = None
    reference: str | None = None
    reference_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """Value over the reference value."""
        return self.value / self.reference_value if self.reference_value else None


def write_rows(path: Path, rows: Sequence[EvaluationRow], *, commit: str) -> None:
    """Write the rows as JSON, each with its ratio, command and commit."""
    records = [asdict(row) | {"ratio": row.ratio, "command": COMMAND, "commit": commit} for row in rows]
    replace_file(path, json.dumps(records, indent=1) + "\n")


def row_line(row: EvaluationRow) -> str:
    """Row as it is printed."""
    interval = (
        f"[{row.lower:+.4f}, {row.upper:+.4f}]" if row.lower is not None and row.upper is not None else ""
    )
    verdict = "" if row.met is None else ("met" if row.met else "MISSED")
    against = "" if row.reference is None else f"{row.reference}"
    if row.reference_value is not None:
        against += f" {row.reference_value:.4f}"
    return f"{row.name:52} {row.value:>9.4f} {row.unit:22} {interval:22} {verdict:7} {against}"


def markdown(title: str, rows: Sequence[EvaluationRow], *, commit: str, hours: float) -> str:
    """Table of all rows, with the commit and the hours that it took."""
    lines = [
        f"# {title}",
        "",
        f"`{COMMAND} FULL=1` at `{commit}`, {hours:.2f} hours. Part of the one-bar score is bid-ask bounce, "
        "which nobody can trade. Not investment advice.",
        "",
        *table_lines(rows),
    ]
    return "\n".join(lines) + "\n"


def table_lines(rows: Sequence[EvaluationRow]) -> list[str]:
    """Rows as a table of Markdown."""
    lines = ["| score | value | interval | goal | | beside |", "|---|---|---|---|---|---|"]
    for row in rows:
        interval = "" if row.lower is None else f"{row.lower:.4f} to {row.upper:.4f}"
        goal = "" if row.goal is None else f"{row.goal:g}"
        met = "" if row.met is None else ("met" if row.met else "**missed**")
        beside = row.reference or ""
        if row.reference_value is not None:
            beside += f" {row.reference_value:.4f}"
        lines.append(f"| {row.name} | {row.value:.4f} {row.unit} | {interval} | {goal} | {met} | {beside} |")
    return lines


def say(line: str) -> None:
    """Print a line at once; processes that an evaluation starts say theirs by it too."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
