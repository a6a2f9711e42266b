"""`make evaluate [ONLY=room] [FULL=1] [MINUTES=25] [SYMBOL=ETHUSD]`: quality on real data, kept as JSON."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptoai_assets.defs.resources import configured_resource
from cryptoai_assets.evaluate import charts, drift, forecasting, loop, then_from_now, together
from cryptoai_assets.evaluate.comparison import ROOM as FORECASTING
from cryptoai_assets.evaluate.loop_market import PLANS, LoopError, LoopPlan
from cryptoai_assets.evaluate.loop_market import ROOM as LOOP
from cryptoai_assets.evaluate.rows import COMMAND, EvaluationRow, row_line, say, write_rows
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
    symbol
        That the loop is replayed on.
    """

    full: bool
    minutes: float | None
    symbol: str
    commit: str


def _forecasting(asked: Asked) -> Iterator[EvaluationRow]:
    evaluation = forecasting.Evaluation(
        configured_resource(), asked.full, asked.minutes, folder=FOLDER, results=RESULTS
    )
    yield from evaluation.rows(say, commit=asked.commit)
    if not asked.full:
        say(f"left out of {FORECASTING}: {evaluation.left_out()}; make evaluate FULL=1 has it")


def _charts(_asked: Asked) -> Iterator[EvaluationRow]:
    evaluation = charts.ChartEvaluation(FULL_CHARTS, SHIPPED, FOLDER / charts.ROOM)
    candles = sample_candles()
    yield from evaluation.rows(candles, say)
    yield from charts.candle_rows(candles, CANDLES, weights.SHIPPED / weights.BUNDLE_NAME)


def _drift(_asked: Asked) -> Iterator[EvaluationRow]:
    yield from drift.DriftStudy(drift.FULL_PLAN, FOLDER).rows(say)
    yield from together.full_family(FOLDER).rows(say)
    yield from then_from_now.full_study(FOLDER).rows(say)


def _loop(asked: Asked) -> Iterator[EvaluationRow]:
    plan = PLANS[asked.symbol]
    archive = minutes_archive(configured_resource().archive, plan)
    study = loop.LoopStudy.read(archive, plan, FOLDER)
    yield from study.rows(say, results=RESULTS, commit=asked.commit)


def minutes_archive(named: str | None, plan: LoopPlan) -> Path:
    """File of the minutes that a plan is replayed on.

    Raises
    ------
    LoopError
        When none is named.
    """
    if not named:
        market = plan.market
        raise LoopError(
            f"the loop is replayed on minutes of {', '.join(market.symbols)}, {market.history_start} to "
            f"{market.history_end}, which are not shipped: "
            f"{COMMAND} ONLY={LOOP} SYMBOL={market.symbols[0]} CRYPTOAI_ARCHIVE=/path/candles.parquet"
        )
    return Path(named)


# Each room measures a part that fits into minutes, or all.
ROOMS: Mapping[str, Callable[[Asked], Iterator[EvaluationRow]]] = {
    FORECASTING: _forecasting,
    charts.ROOM: _charts,
    drift.ROOM: _drift,
    LOOP: _loop,
}
# They read a file that only some have, and are measured when they are asked for.
BY_NAME_ONLY = (LOOP,)


def rooms_asked(name: str | None) -> list[str]:
    """The one that is named, or all that need no file of one's own."""
    return [name] if name else [room for room in ROOMS if room not in BY_NAME_ONLY]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a room, or all; a missed goal is shown, and is no error.

    A room that cannot be measured is told, and the others are measured all the same; the status is then 2.
    """
    parser = argparse.ArgumentParser(prog="make evaluate", description=__doc__)
    parser.add_argument("room", nargs="?", choices=list(ROOMS))
    parser.add_argument("--full", action="store_true", help="all that is left out of a short evaluation too")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"in which folds begin; of a short evaluation {forecasting.MINUTES:g} unless they are given",
    )
    parser.add_argument(
        "--symbol", choices=list(PLANS), default=next(iter(PLANS)), help="that the loop is replayed on"
    )
    options = parser.parse_args(arguments)
    asked = Asked(options.full, options.minutes, options.symbol, git_commit())
    rows: list[EvaluationRow] = []
    status = 0
    for room in rooms_asked(options.room):
        say(f"{room}: measuring; the first rows come after some minutes")
        try:
            for row in ROOMS[room](asked):
                rows.append(row)
                say(row_line(row))
        except (
            charts.ChartEvaluationError,
            forecasting.EvaluationError,
            LoopError,
            ModelChoiceError,
            SourceError,
        ) as error:
            sys.stderr.write(f"{error}\n")
            status = 2
    if not rows:
        return status  # the rows of the time before stay
    write_rows(OUTPUT, rows, commit=asked.commit)
    missed = [row.name for row in rows if row.met is False]
    say(f"\n{len(rows)} rows in {OUTPUT}; {len(missed)} goals missed {missed or ''}\n{REMARK}")
    return status


if __name__ == "__main__":
    sys.exit(main())
