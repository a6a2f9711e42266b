"""`make evaluate [ONLY=room] [FULL=1] [MINUTES=30]`: quality on real data, as measured, kept as JSON."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptoai_assets.defs.resources import configured_resource
from cryptoai_assets.evaluate import charts, forecasting
from cryptoai_assets.evaluate.comparison import ROOM as FORECASTING
from cryptoai_assets.evaluate.rows import EvaluationRow, row_line, write_rows
from cryptoai_assets.lib.candle_patterns import weights
from cryptoai_assets.lib.candle_patterns.plan import CANDLES
from cryptoai_assets.lib.charts.plan import FULL_CHARTS
from cryptoai_assets.lib.charts.weights import SHIPPED
from cryptoai_assets.lib.models.zoo import ModelChoiceError
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.sample import sample_candles
from cryptoai_assets.lib.training import git_commit

OUTPUT = Path("build/evaluate.json")
FOLDER, RESULTS = Path("build/evaluate"), Path("docs/results")
REMARK = "Part of the one-bar score is bid-ask bounce, which nobody can trade. Not investment advice."


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks of a room.

    Parameters
    ----------
    full
        Whether nothing is to be left out.
    """

    full: bool
    minutes: float
    commit: str


def _forecasting(asked: Asked) -> Iterator[EvaluationRow]:
    evaluation = forecasting.Evaluation(
        configured_resource(), asked.full, asked.minutes, folder=FOLDER, results=RESULTS
    )
    yield from evaluation.rows(_say, commit=asked.commit)
    if not asked.full:
        _say(f"left out of {FORECASTING}: {evaluation.left_out()}; make evaluate FULL=1 has it")


def _charts(_asked: Asked) -> Iterator[EvaluationRow]:
    evaluation = charts.ChartEvaluation(FULL_CHARTS, SHIPPED, FOLDER / charts.ROOM)
    candles = sample_candles()
    yield from evaluation.rows(candles, _say)
    yield from charts.candle_rows(candles, CANDLES, weights.SHIPPED / weights.BUNDLE_NAME)


# Each room measures a part that fits into minutes, or all.
ROOMS: Mapping[str, Callable[[Asked], Iterator[EvaluationRow]]] = {
    FORECASTING: _forecasting,
    charts.ROOM: _charts,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a room, or all; a missed goal is shown, and is no error.

    A room that cannot be measured is told, and the others are measured all the same; the status is then 2.
    """
    parser = argparse.ArgumentParser(prog="make evaluate", description=__doc__)
    parser.add_argument("room", nargs="?", choices=list(ROOMS))
    parser.add_argument("--full", action="store_true", help="all that is left out of a short evaluation too")
    parser.add_argument(
        "--minutes", type=float, default=forecasting.MINUTES, help="in which a short evaluation begins folds"
    )
    options = parser.parse_args(arguments)
    asked = Asked(options.full, options.minutes, git_commit())
    rows: list[EvaluationRow] = []
    status = 0
    for room in [options.room] if options.room else list(ROOMS):
        _say(f"{room}: measuring; the first rows come after some minutes")
        try:
            for row in ROOMS[room](asked):
                rows.append(row)
                _say(row_line(row))
        except (
            charts.ChartEvaluationError,
            forecasting.EvaluationError,
            ModelChoiceError,
            SourceError,
        ) as error:
            sys.stderr.write(f"{error}\n")
            status = 2
    if not rows:
        return status  # the rows of the time before stay
    write_rows(OUTPUT, rows, commit=asked.commit)
    missed = [row.name for row in rows if row.met is False]
    _say(f"\n{len(rows)} rows in {OUTPUT}; {len(missed)} goals missed {missed or ''}\n{REMARK}")
    return status


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
