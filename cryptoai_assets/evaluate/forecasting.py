"""Scores of every model on a market's archive, walk-forward, against the reference and the baselines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import polars as pl

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.evaluate.comparison import ROOM, compared, over_seeds
from cryptoai_assets.evaluate.fold_files import EvaluatedMarket, FoldFiles, Plan
from cryptoai_assets.evaluate.rows import EvaluationRow, markdown
from cryptoai_assets.lib.models.zoo import long_enough, refuse_untrainable
from cryptoai_assets.lib.training import FULL

# Folds begin while the last of them would likely end within these.
MINUTES = 25.0
MEMORY_GOAL_GB = 6.0
SHORT_PLAN = Plan(
    kinds=("xgboost", "lightgbm", "tree_ensemble"), trials=3, seeds=(FULL.seed,), threads=1, processes=2
)
FULL_PLAN = Plan(
    kinds=(*FULL.kinds, "lstm", "transformer", "blend"),
    trials=FULL.trials,
    seeds=tuple(FULL.seed + step for step in range(5)),
    threads=1,
    processes=2,
)


class EvaluationError(Exception):
    """A market cannot be evaluated; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A market's evaluation, as far as its folds are finished.

    Parameters
    ----------
    full
        Whether all kinds, trials and seeds are asked for, and all folds unless `minutes` are given.
    minutes
        In which folds begin; None is `MINUTES` of a short evaluation, and without end of a full one.
    results
        Folder of the tables of full evaluations.
    """

    market: MarketResource
    full: bool
    minutes: float | None
    folder: Path
    results: Path

    @property
    def plan(self) -> Plan:
        """What is fitted in each fold: the kinds that the market names, if any, in a short one."""
        if self.full:
            return FULL_PLAN
        return replace(SHORT_PLAN, kinds=self.market.settings.models or SHORT_PLAN.kinds)

    def rows(self, tell: Callable[[str], None], *, commit: str) -> Iterator[EvaluationRow]:
        """Finish folds, then compare on all that are there; a full one leaves its table.

        Raises
        ------
        EvaluationError
            When the market reads no file.
        ModelChoiceError
            When one of the models cannot be trained here.
        """
        files = FoldFiles(self.folder, self._read(), self.plan)
        before = len(files.finished())
        files.work(minutes=self._begins_within, tell=tell)
        # Of what was there already nobody knows.
        memory = [_memory(self.plan.processes)] if len(files.finished()) > before else []
        market, predictions = files.evaluated.market, files.read()
        one = predictions.filter(pl.col("seed") == self.plan.seeds[0])
        found = [
            _extent(files),
            *memory,
            *compared(one, market, FULL.bootstrap(market)),
            *over_seeds(predictions, market),
        ]
        if self.full:
            self.results.mkdir(parents=True, exist_ok=True)
            table = self.results / f"{ROOM}-{market.name}.md"
            table.write_text(markdown(_title(files), found, commit=commit, hours=files.seconds() / 3600))
        yield from found

    def _read(self) -> EvaluatedMarket:
        archives = list(self.market.source_files.values())
        if not archives:
            raise EvaluationError(
                f"the market {self.market.name} reads a venue; an evaluation reads a file: "
                "MARKET=sample, or a market whose source is an archive"
            )
        market = long_enough(replace(self.market.settings, models=self.plan.kinds))
        refuse_untrainable(self.plan.kinds, market=market)
        return EvaluatedMarket.read(market, archives[0])

    @property
    def _begins_within(self) -> float | None:
        return MINUTES if self.minutes is None and not self.full else self.minutes

    def left_out(self) -> str:
        """What a short evaluation does not have."""
        kinds = [kind for kind in FULL_PLAN.kinds if kind not in self.plan.kinds]
        return (
            f"{', '.join(kinds) or 'no kind'}, alone and in ensembles; "
            f"{FULL_PLAN.trials - SHORT_PLAN.trials} of {FULL_PLAN.trials} trials a kind and fold; all seeds "
            f"of the last fold but one; folds that do not fit into {self._begins_within:g} minutes"
        )


def _extent(files: FoldFiles) -> EvaluationRow:
    finished, every = files.finished(), files.evaluated.folds
    scored = [part.fold for part in finished]
    absent = [f"fold {fold.index + 1}" for fold in every if fold not in scored]
    if len(finished) + len(absent) < len(files.parts):
        absent.append("seeds of the last fold")
    return EvaluationRow(
        f"{ROOM}/folds-scored",
        len(set(scored)),
        f"of {len(every)} folds",
        reference=f"left out: {', '.join(absent)}" if absent else "all of the last 60 %",
    )


def _memory(processes: int) -> EvaluationRow:
    """Most memory that the work held at a time, or more: as if all parts were at their largest together."""
    kilobytes = {who: getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)}
    held = 1024 * (kilobytes[RUSAGE_SELF] + processes * kilobytes[RUSAGE_CHILDREN]) / 1e9
    return EvaluationRow(
        f"{ROOM}/memory",
        held,
        "GB",
        goal=MEMORY_GOAL_GB,
        met=held <= MEMORY_GOAL_GB,
        reference=f"of this run; {processes} parts at a time, of which the largest held",
        reference_value=1024 * kilobytes[RUSAGE_CHILDREN] / 1e9,
    )


def _title(files: FoldFiles) -> str:
    market, folds = files.evaluated.market, [part.fold for part in files.finished()]
    return (
        f"Forecasting {', '.join(market.symbols)}, {market.venue}, {market.interval} bars, "
        f"{folds[0].test_start:%Y-%m-%d} to {folds[-1].test_end:%Y-%m-%d}"
    )
