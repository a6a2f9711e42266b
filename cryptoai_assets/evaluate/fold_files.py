"""Predictions of every model fold by fold, each kept on disk, so that an evaluation that was killed goes on.

A fold's models are tuned on its own training rows, fitted on them, and predict the fold, all on the same
rows; the reference answers them too.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.fingerprints import code_fingerprint, file_fingerprint, settings_fingerprint
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES, VOLATILITY_BASELINES
from cryptoai_assets.lib.models.ensemble import fitted_alone
from cryptoai_assets.lib.models.networks.problem import NetworkRun
from cryptoai_assets.lib.models.reference_lgbm import reference_forecasts, reference_rows
from cryptoai_assets.lib.models.zoo import Forecaster, forecaster
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
from edge_bundle.features.catalog import feature_frame, short_memory

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


@dataclass(frozen=True, slots=True)
class EvaluatedMarket:
    """A market's archive, as the platform's assets would hold it, and its folds.

    Parameters
    ----------
    folds
        Over the last 60 % of the grid's times: equal parts, a gap of the longest horizon.
    """

    market: Market
    archive: Path
    candles: pl.DataFrame
    data: Dataset
    folds: tuple[Fold, ...]

    @classmethod
    def read(cls, market: Market, archive: Path) -> "EvaluatedMarket":
        """Read the candles of a file, and compute what is learnt from."""
        candles, grid = archive_grid(market, archive)
        names = list(short_memory())
        targets = target_frame(grid, horizons=market.horizons)
        features = feature_frame(grid, names)
        data = dataset(features, targets, names, lookback=market.lookback, bar=market.bar)
        folds = walk_forward(
            grid["open_time"].unique().sort().to_list(),
            bar=market.bar,
            folds=FULL.folds,
            test_share=FULL.test_share,
            horizon_bars=max(market.horizons),
            embargo_bars=0,
        )
        return cls(market, archive, candles, data, tuple(folds))


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
    """

    kinds: tuple[str, ...]
    trials: int
    seeds: tuple[int, ...]
    threads: int


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
        mark = settings_fingerprint(
            {
                "market": asdict(market),
                "archive": file_fingerprint(self.evaluated.archive),
                "plan": asdict(self.plan),
                "code": code_fingerprint(*_CODE),
            }
        )
        return self.root / f"{market.name}-{mark[:12]}"

    def predictions(self, fold: Fold) -> Path:
        """Predictions of a fold, told apart by ``model`` and ``seed``."""
        return self.folder / f"fold-{fold.index}.parquet"

    def record(self, fold: Fold) -> Path:
        """What was chosen in a fold, and its seconds; it is written last."""
        return self.folder / f"fold-{fold.index}.json"

    def finished(self) -> list[Fold]:
        """Folds that are there, in order of time."""
        return [fold for fold in self.evaluated.folds if self.record(fold).is_file()]

    def seconds(self) -> float:
        """Time that all finished folds took."""
        return sum(float(json.loads(self.record(fold).read_bytes())["seconds"]) for fold in self.finished())

    def read(self) -> pl.DataFrame:
        """Predictions of all finished folds."""
        return pl.concat(read_stored_parquet(self.predictions(fold)) for fold in self.finished())

    def work(
        self,
        *,
        minutes: float | None,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Finish folds in order of time, from where an earlier call stopped.

        Parameters
        ----------
        minutes
            A fold begins when it would likely end within them, but for the first; None is until all are done.
        """
        began, longest = clock(), 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        for fold in self.evaluated.folds:
            if self.record(fold).is_file():
                tell(f"fold {fold.index + 1} of {len(self.evaluated.folds)} is there already")
                continue
            if minutes is not None and longest and clock() - began + longest > 60 * minutes:
                return
            started = clock()
            chosen = self._finish(fold, tell)
            seconds = clock() - started
            longest = max(longest, seconds)
            record = {"chosen": chosen, "seconds": seconds}
            draft = self.record(fold).with_suffix(".tmp")
            draft.write_text(json.dumps(record))
            draft.replace(self.record(fold))
            tell(f"fold {fold.index + 1} of {len(self.evaluated.folds)}: {seconds:.0f} s, chosen: {chosen}")

    def _finish(self, fold: Fold, tell: Callable[[str], None]) -> str:
        plan, market, data = self.plan, self.evaluated.market, self.evaluated.data
        last = fold.index == self.evaluated.folds[-1].index
        searched = self._searched(data.between(None, fold.train_end), tell)
        parts = []
        for seed in plan.seeds if last else plan.seeds[:1]:
            baselines = (*DIRECTION_BASELINES, *VOLATILITY_BASELINES) if seed == plan.seeds[0] else ()
            results = out_of_sample_by_kind(
                data,
                [*self._models(searched), *baselines],
                [fold],
                horizons=market.horizons,
                seed=seed,
                after_fold=lambda kind, _: tell(f"  {kind}"),
            )
            parts += [
                prediction_frame(told, market.horizons).with_columns(model=pl.lit(kind), seed=seed)
                for kind, told in results.items()
            ]
        chosen = searched.chosen.kind
        parts += [part.with_columns(model=pl.lit(CHOSEN)) for part in parts if part["model"][0] == chosen]
        parts.append(self._reference(fold, parts[0]))
        write_parquet_atomically(pl.concat(parts), self.predictions(fold))
        self._run.finish()
        return chosen

    def _searched(self, rows: Dataset, tell: Callable[[str], None]) -> Searched:
        def told(tried: Tried) -> None:
            tell(f"  {tried.sentence}")

        horizons = sorted(self.evaluated.market.horizons)
        return search_kinds(
            rows,
            self.plan.kinds,
            horizon=horizons[len(horizons) // 2],
            trials=self.plan.trials,
            seed=self.plan.seeds[0],
            threads=self.plan.threads,
            after_trial=told,
            run=self._run,
            studies=Studies(f"sqlite:///{(self.folder / 'studies.db').resolve()}"),
        )

    def _models(self, searched: Searched) -> Iterator[Forecaster]:
        alone = fitted_alone([found.settings for found in searched.found.values()])
        return (forecaster(model, threads=self.plan.threads, run=self._run) for model in alone)

    @property
    def _run(self) -> NetworkRun:
        return NetworkRun(self.folder / "checkpoints")

    def _reference(self, fold: Fold, rows: pl.DataFrame) -> pl.DataFrame:
        """What the reference says of the rows that the models answer."""
        market, seed = self.evaluated.market, self.plan.seeds[0]
        parts = []
        for symbol in market.symbols:
            own = self.evaluated.candles.filter(pl.col("symbol") == symbol)
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
