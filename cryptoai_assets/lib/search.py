"""The search: a small Optuna study for each kind of model, inside the rows before the first scored fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.tree_heads import TreeSettings
from cryptoai_assets.lib.models.trees import VOLATILITY_ANCHOR, Trees
from cryptoai_assets.lib.models.zoo import kind_settings
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


@dataclass(frozen=True, slots=True)
class Searched:
    """What the searches of several kinds found.

    Parameters
    ----------
    found
        By kind, in the order of the search.
    """

    found: Mapping[str, Found]

    @property
    def chosen(self) -> TreeSettings:
        """Settings of the kind whose best validation loss is least."""
        return min(self.found.values(), key=lambda found: min(found.losses)).settings


def search_kinds(
    data: Dataset,
    kinds: Sequence[str],
    *,
    horizon: int,
    trials: int,
    seed: int,
    threads: int,
    after_trial: Callable[[str, int, float], None],
) -> Searched:
    """Search each kind on the same rows with as many trials; `after_trial` gets kind, number and loss.

    All read what `chosen_features` finds in the rows before validation. An ensemble is made of the best of
    the kinds before it, and has nothing of its own to search.
    """
    found: dict[str, Found] = {}
    train = data.between(None, data.times[_validation_cut(data) - horizon])
    chosen = chosen_features(train, horizons=(horizon,), always=VOLATILITY_ANCHOR, seed=seed, threads=threads)
    data = data.with_features(chosen)
    for kind in kinds:
        if kind == EnsembleSettings.kind:
            ensemble = EnsembleSettings.of([one.settings for one in found.values()])
            loss = validation_loss(data, ensemble, horizon=horizon, seed=seed, threads=threads)
            after_trial(kind, 0, loss)
            found[kind] = Found(ensemble, (loss,))
            continue
        found[kind] = search_settings(
            data,
            kind_settings(kind),
            horizon=horizon,
            trials=trials,
            seed=seed,
            threads=threads,
            after_trial=lambda trial, loss, kind=kind: after_trial(kind, trial, loss),  # type: ignore[misc]
        )
    return Searched(found)


def validation_loss(data: Dataset, settings: TreeSettings, *, horizon: int, seed: int, threads: int) -> float:
    """Log loss of a direction head on the last quarter of the rows, fitted on those before, purged."""
    times, cut = data.times, _validation_cut(data)
    train, validation = data.between(None, times[cut - horizon]), data.between(times[cut], None)
    up = validation.target("up", horizon)
    moved = np.isfinite(up)
    head = Trees(settings, threads=threads).direction_head(train, horizon=horizon, seed=seed)
    return float(log_loss(head.probability_up(validation)[moved], up[moved]).mean())


def _validation_cut(data: Dataset) -> int:
    return int(len(data.times) * (1 - VALIDATION_SHARE))


def search_settings(
    data: Dataset,
    kind: type[TreeSettings],
    *,
    horizon: int,
    trials: int,
    seed: int,
    threads: int,
    after_trial: Callable[[int, float], None],
) -> Found:
    """Search the settings of one kind by `validation_loss`.

    Parameters
    ----------
    data
        Rows that no score will ever be computed on.
    horizon
        Whose direction is validated; all heads get the same settings.
    """

    def objective(trial: optuna.Trial) -> float:
        settings = kind.suggested(trial)
        value = validation_loss(data, settings, horizon=horizon, seed=seed, threads=threads)
        after_trial(trial.number, value)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize")
    study.enqueue_trial(dict(kind.start().as_trial()))
    study.optimize(objective, n_trials=trials)
    losses = tuple(float(trial.value) for trial in study.trials if trial.value is not None)
    return Found(kind.suggested(optuna.trial.FixedTrial(study.best_params)), losses)
