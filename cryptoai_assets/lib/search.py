"""The search for settings: a small Optuna study inside the rows before the first scored fold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.boosted_trees import START_SETTINGS, BoostedTrees, TreeSettings
from cryptoai_assets.lib.scoring import log_loss

VALIDATION_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Parameters
    ----------
    losses
        Validation log loss of each trial, in order; the first is that of the start settings.
    """

    settings: TreeSettings
    losses: tuple[float, ...]


def search_settings(
    data: Dataset,
    *,
    horizon: int,
    trials: int,
    seed: int,
    threads: int,
    after_trial: Callable[[int, float], None],
) -> Found:
    """Search the settings of the direction head by its log loss on the last quarter of the rows, purged.

    Parameters
    ----------
    data
        Rows that no score will ever be computed on.
    horizon
        Whose direction is validated; all heads get the same settings.
    """
    times = data.times
    cut = int(len(times) * (1 - VALIDATION_SHARE))
    train, validation = data.between(None, times[cut - horizon]), data.between(times[cut], None)
    up = validation.target("up", horizon)
    moved = np.isfinite(up)

    def loss(settings: TreeSettings) -> float:
        head = BoostedTrees(settings, threads=threads).direction_head(train, horizon=horizon, seed=seed)
        return float(log_loss(head.probability_up(validation)[moved], up[moved]).mean())

    def objective(trial: optuna.Trial) -> float:
        value = loss(_suggested(trial))
        after_trial(trial.number, value)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize")
    study.enqueue_trial(_start_point())
    study.optimize(objective, n_trials=trials)
    losses = tuple(float(trial.value) for trial in study.trials if trial.value is not None)
    return Found(_suggested(optuna.trial.FixedTrial(study.best_params)), losses)


def _suggested(trial: optuna.trial.BaseTrial) -> TreeSettings:
    return TreeSettings(
        trees=trial.suggest_int("trees", 80, 240, step=10),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.08, log=True),
        max_depth=trial.suggest_int("max_depth", 3, 7),
        min_child_weight=trial.suggest_float("min_child_weight", 20.0, 400.0, log=True),
        subsample=trial.suggest_float("subsample", 0.5, 0.9),
        column_share=trial.suggest_float("column_share", 0.3, 0.9),
        l2=trial.suggest_float("l2", 0.1, 30.0, log=True),
    )


def _start_point() -> dict[str, float]:
    start = START_SETTINGS
    return {
        "trees": start.trees,
        "learning_rate": start.learning_rate,
        "max_depth": start.max_depth,
        "min_child_weight": start.min_child_weight,
        "subsample": start.subsample,
        "column_share": start.column_share,
        "l2": start.l2,
    }
