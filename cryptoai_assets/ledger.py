"""Command line of the ledger: show its lines, and answer for a leak alarm by name and with a reason."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptoai_assets.lib.ledger import Entry, Ledger, LedgerError

COLUMNS = ("line", "at (UTC)", "what", "model", "version", "before", "closes", "who", "why")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, hand over, translate one error."""
    options = _parser().parse_args(arguments)
    ledger = Ledger(options.ledger)
    try:
        if options.command == "show":
            sys.stdout.write(table(ledger.entries(options.model)))
        else:
            line = acknowledge(
                ledger,
                model=options.model,
                version=options.version,
                name=options.name,
                reason=options.reason,
                at=datetime.now(UTC),
            )
            sys.stdout.write(f"line {line}: {options.name} answers for version {options.version}\n")
    except LedgerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def acknowledge(ledger: Ledger, *, model: str, version: int, name: str, reason: str, at: datetime) -> int:
    """Answer for the alarms of a version; return the line's number.

    Raises
    ------
    LedgerError
        When name or reason is empty, or when the gate stopped no such version for an alarm.
    """
    stopped = ledger.stopped(model, version)
    alarms = (*ledger.unanswered_alarms(model, version), *([stopped] if stopped else []))
    if not alarms:
        raise LedgerError(f"no unanswered alarm stops {model} version {version}; `show` lists what happened")
    return ledger.append(
        "acknowledgement",
        model=model,
        version=version,
        actor=name,
        reason=reason,
        numbers={"alarms": alarms},
        at=at,
    )


def table(entries: Sequence[Entry]) -> str:
    """Lines as text, one a row, columns aligned."""
    if not entries:
        return "the ledger holds no line yet\n"
    rows = [COLUMNS, *(_cells(entry) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


def _cells(entry: Entry) -> tuple[str, ...]:
    def text(number: int | None) -> str:
        return "" if number is None else str(number)

    return (
        str(entry.id),
        f"{entry.at:%Y-%m-%d %H:%M:%S}",
        entry.kind,
        entry.model,
        str(entry.version),
        text(entry.previous),
        text(entry.intent),
        entry.actor,
        " ".join(entry.reason.split()),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.ledger", description=__doc__)
    parser.add_argument("--ledger", type=Path, default=Path("data/ledger.db"), help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print every line, oldest first")
    show.add_argument("--model", help="lines of this registered model only")
    answer = commands.add_parser("acknowledge", help="answer for the leak alarm of one version")
    answer.add_argument("model")
    answer.add_argument("version", type=int)
    answer.add_argument("--name", required=True, help="who answers for it")
    answer.add_argument("--reason", required=True, help="why the score is honest")
    return parser


if __name__ == "__main__":
    sys.exit(main())
