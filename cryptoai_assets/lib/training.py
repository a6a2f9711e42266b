"""Training: the settings of a run, the score of its procedure, and the version that it makes."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Dataset, Float64Array, dataset
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES, VOLATILITY_BASELINES
from cryptoai_assets.lib.models.ensemble import fitted_alone
from cryptoai_assets.lib.models.fitted import FittedForecaster
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings, Predictions
from cryptoai_assets.lib.models.networks.problem import UNTOLD, NetworkRun
from cryptoai_assets.lib.models.zoo import forecaster, refuse_untrainable
from cryptoai_assets.lib.scoring import (
    BootstrapSettings,
    Interval,
    Score,
    direction_scores,
    log_loss,
    paired_interval,
    qlike,
    return_scores,
    volatility_scores,
)
from cryptoai_assets.lib.splits import Fold, final_stretch, walk_forward
from cryptoai_assets.lib.walk_forward import FoldPredictions, out_of_sample_by_kind

STRETCH_SHARE = 0.1
STRETCH_MINIMUM_BARS = 2000


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How much work a training is; the split and the seed change its scores.

    Parameters
    ----------
    test_share
        Of the series before the final stretch that the walk-forward scores.
    kinds
        Of model that are searched; validation chooses among them.
    trials, search_minutes
        Of the search, for each kind and for all; None is as long as the trials take.
    """

    folds: int
    test_share: float
    embargo_bars: int
    kinds: tuple[str, ...]
    trials: int
    search_minutes: float | None
    seed: int
    threads: int
    resamples: int
    confidence: float

    def of_market(self, market: Market) -> Self:
        """Return it with the kinds of model that a market names, where it names any.

        Raises
        ------
        ModelChoiceError
            When one of them cannot be trained on this market, or here.
        """
        kinds = market.models or self.kinds
        refuse_untrainable(kinds, market=market)
        return replace(self, kinds=kinds)

    def bootstrap(self, market: Market) -> BootstrapSettings:
        """Blocks of a day, or of four times the longest horizon where that is longer."""
        block = max(market.bars_a_day, 4 * max(market.horizons))
        return BootstrapSettings(block, self.resamples, self.seed, self.confidence)


SMALL = TrainingSettings(
    folds=2,
    test_share=0.5,
    embargo_bars=6,
    kinds=("xgboost", "lightgbm", "tree_ensemble"),
    trials=3,
    search_minutes=None,
    seed=7,
    threads=2,
    resamples=1000,
    confidence=0.95,
)
FULL = TrainingSettings(
    folds=6,
    test_share=0.6,
    embargo_bars=6,
    kinds=("xgboost", "lightgbm", "random_forest", "tree_ensemble"),
    trials=30,
    search_minutes=None,
    seed=7,
    threads=2,
    resamples=2000,
    confidence=0.95,
)


@dataclass(frozen=True, slots=True)
class Splits:
    """Where a training reads and where it is scored.

    Parameters
    ----------
    folds
        Of the procedure, all before the final stretch.
    stretch
        Of the version: it is trained before, and scored on it once it is a bundle.
    """

    folds: tuple[Fold, ...]
    stretch: Fold


def known_dataset(frame: pl.DataFrame, names: Sequence[str], market: Market, as_of: datetime) -> Dataset:
    """Rows and outcomes that were known at a time.

    Parameters
    ----------
    frame
        Features and targets of every grid bar, sorted by symbol and open time.
    """
    closed = frame.filter(pl.col("open_time") + market.bar <= as_of)
    targets = closed.filter("traded").select(
        "open_time",
        "symbol",
        *(
            pl.when(pl.col("open_time") + (horizon + 1) * market.bar <= as_of).then(column).alias(column)
            for horizon in market.horizons
            for column in (f"return_{horizon}", f"up_{horizon}", f"volatility_{horizon}")
        ),
    )
    return dataset(closed, targets, names, lookback=market.lookback, bar=market.bar)


def training_splits(data: Dataset, market: Market, settings: TrainingSettings) -> Splits:
    """Cut the final stretch off first, then walk forward over what comes before it."""
    horizon = max(market.horizons)
    stretch = final_stretch(
        data.times,
        bar=market.bar,
        share=STRETCH_SHARE,
        minimum_bars=STRETCH_MINIMUM_BARS,
        horizon_bars=horizon,
    )
    earlier = [time for time in data.times if time < stretch.train_end]
    folds = walk_forward(
        earlier,
        bar=market.bar,
        folds=settings.folds,
        test_share=settings.test_share,
        horizon_bars=horizon,
        embargo_bars=settings.embargo_bars,
    )
    return Splits(tuple(folds), stretch)


def procedure_predictions(
    data: Dataset,
    splits: Splits,
    models: Sequence[ForecasterSettings],
    *,
    market: Market,
    settings: TrainingSettings,
    after_fold: Callable[[str, FoldPredictions], None],
    run: NetworkRun = UNTOLD,
) -> Mapping[str, list[FoldPredictions]]:
    """Out-of-sample predictions of each model and of every baseline, on the same folds."""
    return out_of_sample_by_kind(
        data,
        [
            *(forecaster(model, threads=settings.threads, run=run) for model in fitted_alone(models)),
            *DIRECTION_BASELINES,
            *VOLATILITY_BASELINES,
        ],
        splits.folds,
        horizons=market.horizons,
        seed=settings.seed,
        after_fold=after_fold,
    )


def model_scores(
    predictions: Predictions, test: Dataset, *, horizons: Sequence[int], bootstrap: BootstrapSettings
) -> list[Score]:
    """All scores of one model, named ``h<horizon>/<metric>``; metrics it does not forecast are left out."""
    times = test.keys["open_time"]
    scores = []
    for column, horizon in enumerate(horizons):
        up = predictions.probability_up[:, column]
        move = predictions.expected_return[:, column]
        volatility = predictions.expected_volatility[:, column]
        found: list[Score] = []
        if np.isfinite(up).any():
            found += direction_scores(up, test.target("up", horizon), times, bootstrap)
        if np.isfinite(move).any():
            found += return_scores(move, test.target("return", horizon), times, bootstrap)
        if np.isfinite(volatility).any():
            found += volatility_scores(volatility, test.target("volatility", horizon), times, bootstrap)
        scores += [
            Score(f"h{horizon}/{score.name}", score.value, score.lower, score.upper, score.rows)
            for score in found
        ]
    return scores


def score_table(
    results: Mapping[str, list[FoldPredictions]], market: Market, bootstrap: BootstrapSettings
) -> pl.DataFrame:
    """Scores over all folds: ``model``, ``metric``, ``value``, ``lower``, ``upper``, ``rows``."""
    rows = []
    for kind, folds in results.items():
        test = stacked_dataset([result.test for result in folds])
        predictions = Predictions.stacked([result.predictions for result in folds])
        scores = model_scores(predictions, test, horizons=market.horizons, bootstrap=bootstrap)
        rows += [{"model": kind, "metric": score.name, **_numbers(score)} for score in scores]
    return pl.DataFrame(rows)


def _numbers(score: Score) -> dict[str, float]:
    return {"value": score.value, "lower": score.lower, "upper": score.upper, "rows": score.rows}


def stacked_dataset(parts: Sequence[Dataset]) -> Dataset:
    """Rows of several datasets, one after the other."""
    return Dataset(
        pl.concat([part.keys for part in parts]),
        np.concatenate([part.values for part in parts]),
        parts[0].names,
        pl.concat([part.targets for part in parts]),
    )


def fit_version(
    data: Dataset,
    splits: Splits,
    model: ForecasterSettings,
    *,
    market: Market,
    settings: TrainingSettings,
    run: NetworkRun = UNTOLD,
) -> FittedForecaster:
    """Fit once on everything before the final stretch; never refitted afterwards."""
    train = data.between(None, splits.stretch.train_end)
    return forecaster(model, threads=settings.threads, run=run).fit(
        train, horizons=market.horizons, seed=settings.seed
    )


def direction_loss(predictions: Predictions, test: Dataset, horizons: Sequence[int]) -> Float64Array:
    """Primary loss of each row: log loss of the direction, averaged over the horizons; NaN when not known."""
    losses = [
        np.where(np.isfinite(up), log_loss(predictions.probability_up[:, column], np.nan_to_num(up)), np.nan)
        for column, horizon in enumerate(horizons)
        for up in [test.target("up", horizon)]
    ]
    return np.asarray(np.mean(losses, axis=0), dtype=np.float64)


def volatility_loss(predictions: Predictions, test: Dataset, horizons: Sequence[int]) -> Float64Array:
    """QLIKE of each row, averaged over the horizons; NaN when nothing moved."""
    losses = [
        qlike(predictions.expected_volatility[:, column], test.target("volatility", horizon))
        for column, horizon in enumerate(horizons)
    ]
    return np.asarray(np.mean(losses, axis=0), dtype=np.float64)


def paired_accuracy(
    ours: Float64Array, theirs: Float64Array, up: Float64Array, times: pl.Series, bootstrap: BootstrapSettings
) -> Interval:
    """Accuracy of `ours` minus that of `theirs` (probabilities of up) on the same rows."""
    wrong = [np.where(np.isfinite(up), ((p > 0.5) != (up > 0.5)) * 1.0, np.nan) for p in (theirs, ours)]
    return paired_interval(wrong[0], wrong[1], times, bootstrap)


def git_commit() -> str:
    """Commit of this code, with a plus when it was changed since; ``unknown`` outside of a working tree."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 — git is found as the user's shell finds it
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],  # noqa: S607 — likewise
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")
