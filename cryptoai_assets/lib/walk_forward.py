"""Walk-forward: fit on each fold's past, predict its future, and keep the predictions with their rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.forecaster_model import ForecasterModel, Predictions
from cryptoai_assets.lib.splits import Fold


@dataclass(frozen=True, slots=True)
class FoldPredictions:
    """Out-of-sample predictions of one fold."""

    fold: Fold
    test: Dataset
    predictions: Predictions


def out_of_sample(
    data: Dataset,
    model: ForecasterModel,
    folds: Sequence[Fold],
    *,
    horizons: tuple[int, ...],
    seed: int,
    after_fold: Callable[[FoldPredictions], None] | None = None,
) -> list[FoldPredictions]:
    """Predict every fold's test rows by a model fitted on its training rows only.

    Parameters
    ----------
    after_fold
        Called with each finished fold, for progress and records.
    """
    results = []
    for fold in folds:
        fitted = model.fit(data.between(None, fold.train_end), horizons=horizons, seed=seed)
        test = data.between(fold.test_start, fold.test_end)
        result = FoldPredictions(fold, test, fitted.predict(test))
        results.append(result)
        if after_fold is not None:
            after_fold(result)
    return results


def out_of_sample_by_kind(
    data: Dataset,
    models: Sequence[ForecasterModel],
    folds: Sequence[Fold],
    *,
    horizons: tuple[int, ...],
    seed: int,
    after_fold: Callable[[str, FoldPredictions], None],
) -> dict[str, list[FoldPredictions]]:
    """Predict by every model, and by the members of each, which an ensemble tells with its own."""
    results: dict[str, list[FoldPredictions]] = {}
    for model in models:
        told = out_of_sample(
            data,
            model,
            folds,
            horizons=horizons,
            seed=seed,
            after_fold=partial(after_fold, model.kind),
        )
        results |= {**members_results(told), model.kind: told}
    return results


def members_results(results: Sequence[FoldPredictions]) -> dict[str, list[FoldPredictions]]:
    """What the members of an ensemble said in its folds, by kind; empty for a model without members."""
    kinds = results[0].predictions.members if results else {}
    return {
        kind: [replace(result, predictions=result.predictions.members[kind]) for result in results]
        for kind in kinds
    }


def prediction_frame(results: Sequence[FoldPredictions], horizons: Sequence[int]) -> pl.DataFrame:
    """Predictions and outcomes of all folds, one row per symbol, time and horizon.

    Returns
    -------
    DataFrame
        ``fold``, ``open_time``, ``symbol``, ``horizon``, ``expected_return``, ``probability_up``,
        ``expected_volatility``, and the outcomes ``return``, ``up``, ``volatility`` (NaN when not known).
    """
    parts = [
        _horizon_frame(result.test, result.predictions, column, horizon).with_columns(fold=result.fold.index)
        for result in results
        for column, horizon in enumerate(horizons)
    ]
    return pl.concat(parts)


def _horizon_frame(test: Dataset, predictions: Predictions, column: int, horizon: int) -> pl.DataFrame:
    return test.keys.with_columns(
        horizon=pl.lit(horizon, pl.Int32),
        expected_return=pl.Series(predictions.expected_return[:, column]),
        probability_up=pl.Series(predictions.probability_up[:, column]),
        expected_volatility=pl.Series(predictions.expected_volatility[:, column]),
        **{
            "return": pl.Series(test.target("return", horizon)),
            "up": pl.Series(test.target("up", horizon)),
            "volatility": pl.Series(test.target("volatility", horizon)),
        },
    )


def scored_frame(test: Dataset, predictions: Predictions, horizons: Sequence[int]) -> pl.DataFrame:
    """Return what `prediction_frame` gives, of one set of rows without folds."""
    return pl.concat(
        [_horizon_frame(test, predictions, column, horizon) for column, horizon in enumerate(horizons)]
    )
