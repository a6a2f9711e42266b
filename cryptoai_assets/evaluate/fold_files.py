"""Predictions of every model fold by fold, each kept on disk, so that an evaluation that was killed goes on.

A fold's models are tuned on its own training rows, fitted on them, and predict the fold, all on the same
rows; the reference answers them too.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.feature_set import candle_features
from cryptoai_assets.lib.fingerprints import code_fingerprint, file_fingerprint, settings_fingerprint
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES, VOLATILITY_BASELINES
from cryptoai_assets.lib.models.ensemble import fitted_alone
from cryptoai_assets.lib.models.networks.problem import NetworkRun
from cryptoai_assets.lib.models.reference_lgbm import reference_forecasts, reference_rows
from cryptoai_assets.lib.models.zoo import forecaster
from cryptoai_assets.lib.search import Searched, Tried, search_kinds
from cryptoai_assets.lib.sources.archive import ArchiveSource
from cryptoai_assets.lib.splits import Fold, walk_forward
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from cryptoai_assets.lib.studies import Studies
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import FULL
from cryptoai_assets.lib.walk_forward import out_of_sample_by_kind, prediction_frame
from edge_bundle.candles import bar_grid
from edge_bundle.facts import no_trade_slots
from edge_bundle.features.catalog import feature_frame, runs
from edge_bundle.whole_file import replace_file

REFERENCE = "reference_lgbm"
CHOSEN = "chosen"
BASELINES = tuple(model.kind for model in (*DIRECTION_BASELINES, *VOLATILITY_BASELINES))
# Of a market whose history has no end.
OPEN_END = date(9999, 1, 1)
# Code whose change makes kept predictions those of something else.
_CODE = (
    __name__,
    "cryptoai_assets.lib.models",
    "cryptoai_assets.lib.search",
    "cryptoai_assets.lib.splits",
    "cryptoai_assets.lib.targets",
    "edge_bundle.features",
    "edge_bundle.windows",
)
_KEYS = ("open_time", "symbol")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvaluatedRows:
    """What the models of a fold are fitted on and answer, and what the reference reads.

    Parameters
    ----------
    candles
        Of every symbol, sorted by it and open time.
    """

    candles: pl.DataFrame
    data: Dataset


@dataclass(frozen=True, slots=True)
class EvaluatedMarket:
    """A market's archive and its folds; who works on a fold reads the archive, and holds its rows alone.

    Parameters
    ----------
    names
        Features that the models are offered.
    folds
        Over the last 60 % of the grid's times: equal parts, a gap of the longest horizon.
    """

    market: Market
    archive: Path
    names: tuple[str, ...]
    folds: tuple[Fold, ...]

    @classmethod
    def read(cls, market: Market, archive: Path) -> "EvaluatedMarket":
        """Lay the folds over the times of an archive, for models that read its candles."""
        _, grid = archive_grid(market, archive)
        folds = walk_forward(
            grid["open_time"].unique().sort().to_list(),
            bar=market.bar,
            folds=FULL.folds,
            test_share=FULL.test_share,
            horizon_bars=max(market.horizons),
            embargo_bars=0,
        )
        return cls(market, archive, candle_features(market), tuple(folds))

    def rows(self, fold: Fold) -> EvaluatedRows:
        """Read the rows of a fold and those before it, one symbol's features after the other's."""
        market, names = self.market, self.names
        candles, grid = archive_grid(market, self.archive)
        known = grid.filter(pl.col("open_time") < fold.test_end)
        inputs = pl.Schema(dict.fromkeys(names, pl.Float32))
        features = pl.concat(feature_frame(own, names).cast(inputs) for own in runs(known, "symbol"))
        targets = target_frame(grid, horizons=market.horizons)
        data = dataset(features, targets, names, lookback=market.lookback, bar=market.bar)
        return EvaluatedRows(candles, data)


def archive_grid(market: Market, archive: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candles of a market's file, and their grid of bars, as the platform's assets would hold them.

    Raises
    ------
    SourceError
        When the file is absent, or does not hold a symbol of the market.
    """
    source = ArchiveSource(archive, market.interval, market.source)
    span = (_midnight(market.history_start), _midnight(market.history_end or OPEN_END))
    fetched = [source.fetch(symbol, *span) for symbol in market.symbols]
    candles = pl.concat(part.candles for part in fetched).sort(*_KEYS[::-1])
    grid = bar_grid(
        candles,
        interval=market.interval,
        max_missing_bars=market.max_missing_bars,
        no_trade=no_trade_slots(pl.concat(part.facts for part in fetched)),
    )
    return candles, grid


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fitted in each fold.

    Parameters
    ----------
    trials
        Of the search of each kind, inside each fold.
    seeds
        Of the last fold; the first one is that of all others too.
    threads
        Of one part of the work.
    processes
        Parts that are worked on side by side. Their results do not depend on how many there are.
    """

    kinds: tuple[str, ...]
    trials: int
    seeds: tuple[int, ...]
    threads: int
    processes: int


@dataclass(frozen=True, slots=True)
class Part:
    """A fold by one seed: what is finished as a whole, or not at all."""

    fold: Fold
    seed: int
    name: str


class _Here(Executor):
    """Work in this process, done when it is asked for."""

    def submit(self, work: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        """Do it."""
        done = Future[T]()
        done.set_result(work(*arguments, **named))
        return done


@dataclass(frozen=True, slots=True)
class FoldFiles:
    """Finished folds of one plan on one market; another plan, archive or code has another folder."""

    root: Path
    evaluated: EvaluatedMarket
    plan: Plan

    @property
    def folder(self) -> Path:
        """Folder of everything that is kept."""
        market = self.evaluated.market
        plan = {name: value for name, value in asdict(self.plan).items() if name != "processes"}
        mark = settings_fingerprint(
            {
                "market": asdict(market),
                "archive": file_fingerprint(self.evaluated.archive),
                "plan": plan,
                "code": code_fingerprint(*_CODE),
            }
        )
        return self.root / f"{market.name}-{mark[:12]}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every fold by the first seed in order of time, then the last one by the others."""
        first, *others = self.plan.seeds
        folds = self.evaluated.folds
        last = folds[-1]
        return (
            *(Part(fold, first, f"fold-{fold.index}") for fold in folds),
            *(Part(last, seed, f"fold-{last.index}-seed-{seed}") for seed in others),
        )

    def predictions(self, part: Part) -> Path:
        """Predictions of a part, told apart by ``model`` and ``seed``."""
        return self.folder / f"{part.name}.parquet"

    def record(self, part: Part) -> Path:
        """What was chosen in a part, and its seconds; it is written last."""
        return self.folder / f"{part.name}.json"

    def finished(self) -> list[Part]:
        """Parts that are there, in their order."""
        return [part for part in self.parts if self.record(part).is_file()]

    def seconds(self) -> float:
        """Time that all finished parts took, one after the other."""
        return sum(float(json.loads(self.record(part).read_bytes())["seconds"]) for part in self.finished())

    def read(self) -> pl.DataFrame:
        """Predictions of all finished parts."""
        return pl.concat(read_stored_parquet(self.predictions(part)) for part in self.finished())

    def work(
        self,
        *,
        minutes: float | None,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Finish parts in their order, some of them side by side, from where an earlier call stopped.

        Parameters
        ----------
        minutes
            Parts begin when they would likely end within them, but for the first; None is until all are done.
        tell
            Is sent to the processes, where there are several.
        """
        began, longest = clock(), 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        there = self.finished()
        for part in there:
            tell(f"{self._title(part)} is there already")
        absent = [part for part in self.parts if part not in there]
        running: dict[Future[None], float] = {}

        def fits() -> bool:
            return minutes is None or not longest or clock() - began + longest <= 60 * minutes

        with self._workers() as workers:
            while absent or running:
                ready = [part for part in absent if self._may_begin(part)]
                if ready and len(running) < self.plan.processes and fits():
                    absent.remove(ready[0])
                    started = clock()
                    running[workers.submit(self._finish, ready[0], tell)] = started
                elif running:
                    for ended in wait(running, return_when=FIRST_COMPLETED).done:
                        longest = max(longest, clock() - running.pop(ended))
                        ended.result()
                else:
                    return

    def _workers(self) -> Executor:
        """Processes for one part each: PyTorch has one number of threads for the whole of one."""
        if self.plan.processes == 1:
            return _Here()
        context = get_context("spawn")
        return ProcessPoolExecutor(self.plan.processes, mp_context=context, max_tasks_per_child=1)

    def _may_begin(self, part: Part) -> bool:
        """Whether its fold was searched: another seed does it not again."""
        searched = Part(part.fold, self.plan.seeds[0], f"fold-{part.fold.index}")
        return part == searched or self.record(searched).is_file()

    def _title(self, part: Part) -> str:
        count, others = len(self.evaluated.folds), part.seed != self.plan.seeds[0]
        return f"fold {part.fold.index + 1} of {count}{f', seed {part.seed}' if others else ''}"

    def _finish(self, part: Part, tell: Callable[[str], None]) -> None:
        started = time.monotonic()

        def told(line: str) -> None:
            starter = parent_process()
            if starter is not None and not starter.is_alive():
                os._exit(1)  # who began this part was killed; an exit of its own would wait for more work
            tell(f"  {self._title(part)}: {line}")

        chosen = self._predict(part, told)
        seconds = time.monotonic() - started
        replace_file(self.record(part), json.dumps({"chosen": chosen, "seconds": seconds}))
        tell(f"{self._title(part)}: {seconds:.0f} s, chosen: {chosen}")

    def _predict(self, part: Part, tell: Callable[[str], None]) -> str:
        """Write the predictions of a part, and return the kind that validation chose."""
        market, rows = self.evaluated.market, self.evaluated.rows(part.fold)
        run = NetworkRun(self.folder / f"checkpoints-{part.name}")
        searched = self._searched(part, rows.data, run, tell)
        first = part.seed == self.plan.seeds[0]
        alone = fitted_alone([found.settings for found in searched.found.values()])
        results = out_of_sample_by_kind(
            rows.data,
            [
                *(forecaster(model, threads=self.plan.threads, run=run) for model in alone),
                *((*DIRECTION_BASELINES, *VOLATILITY_BASELINES) if first else ()),
            ],
            [part.fold],
            horizons=market.horizons,
            seed=part.seed,
            after_fold=lambda kind, _: tell(kind),
        )
        found = [
            prediction_frame(told, market.horizons).with_columns(model=pl.lit(kind), seed=part.seed)
            for kind, told in results.items()
        ]
        chosen = searched.chosen.kind
        found += [told.with_columns(model=pl.lit(CHOSEN)) for told in found if told["model"][0] == chosen]
        if first:
            found.append(self._reference(part.fold, rows.candles, found[0]))
        write_parquet_atomically(pl.concat(found), self.predictions(part))
        run.finish()
        return chosen

    def _searched(self, part: Part, data: Dataset, run: NetworkRun, tell: Callable[[str], None]) -> Searched:
        """Search on the fold's training rows; what an earlier search found is found again without trials."""

        def told(tried: Tried) -> None:
            tell(tried.sentence)

        horizons = sorted(self.evaluated.market.horizons)
        studies = self.folder / f"studies-{part.fold.index}.db"
        return search_kinds(
            data.between(None, part.fold.train_end),
            self.plan.kinds,
            horizon=horizons[len(horizons) // 2],
            trials=self.plan.trials,
            seed=self.plan.seeds[0],
            threads=self.plan.threads,
            after_trial=told,
            run=run,
            studies=Studies(f"sqlite:///{studies.resolve()}"),
        )

    def _reference(self, fold: Fold, candles: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """What the reference says of the rows that the models answer."""
        market, seed = self.evaluated.market, self.plan.seeds[0]
        parts = []
        for symbol in market.symbols:
            own = candles.filter(pl.col("symbol") == symbol)
            inputs = reference_rows(own, interval=market.bar, horizons=market.horizons)
            for horizon in market.horizons:
                said = reference_forecasts(
                    inputs, [fold], horizon=horizon, seed=seed, threads=self.plan.threads
                )
                parts.append(said.with_columns(horizon=pl.lit(horizon, pl.Int32)))
        said = pl.concat(parts).rename({"volatility": "said_volatility"})
        joined = rows.join(said, on=[*_KEYS, "horizon"], how="left", maintain_order="left")
        return joined.with_columns(
            model=pl.lit(REFERENCE),
            probability_up=0.5 + pl.col("score").clip(-0.99, 0.99) / 2,
            expected_return=pl.lit(np.nan),
            expected_volatility=pl.col("said_volatility"),
        ).select(rows.columns)
