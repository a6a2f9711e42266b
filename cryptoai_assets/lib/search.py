"""The search: a small Optuna study for each kind of model, inside the rows before the first scored fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.tree_heads import TreeSettings
from cryptoai_assets.lib.models.trees import VOLATILITY_ANCHOR, Trees
from cryptoai_assets.lib.models.zoo import kind_settings
from cryptoai_assets.lib.scoring import log_loss

VALIDATION_SHARE = 0.25
BLOCKS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Parameters
    ----------
    losses
        Validation log loss of each trial, in order; the first is that of the start settings.
    loss
        That of the settings found.
    """

    settings: TreeSettings
    losses: tuple[float, ...]
    loss: float


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
        """Settings of the kind whose validation loss is least."""
        return min(self.found.values(), key=lambda found: found.loss).settings


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
            losses = validation_losses(data, ensemble, horizon=horizon, seed=seed, threads=threads)
            loss = float(losses.mean())
            after_trial(kind, 0, loss)
            found[kind] = Found(ensemble, (loss,), loss)
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


def validation_losses(
    data: Dataset, settings: TreeSettings, *, horizon: int, seed: int, threads: int
) -> Float64Array:
    """Log loss of each last-quarter row that moved, by a direction head fitted on the rows before, purged."""
    times, cut = data.times, _validation_cut(data)
    train, validation = data.between(None, times[cut - horizon]), data.between(times[cut], None)
    up = validation.target("up", horizon)
    moved = np.isfinite(up)
    head = Trees(settings, threads=threads).direction_head(train, horizon=horizon, seed=seed)
    return log_loss(head.probability_up(validation)[moved], up[moved])


def _is_better(losses: Float64Array, start: Float64Array) -> bool:
    """Whether losses lie below those of the start settings by more than the standard error of the difference.

    The rows are ordered by time, and neighbours resemble each other: the error is that of the means of
    `BLOCKS` stretches.
    """
    means = np.array([part.mean() for part in np.array_split(start - losses, BLOCKS)])
    return bool(means.mean() > means.std(ddof=1) / BLOCKS**0.5)


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
    """Search the settings of one kind by the mean of `validation_losses`.

    The start settings stand unless a trial is better than chance would have it: the best of many trials on
    one stretch of time is mostly the luckiest.

    Parameters
    ----------
    data
        Rows that no score will ever be computed on.
    horizon
        Whose direction is validated; all heads get the same settings.
    """
    tried: dict[int, Float64Array] = {}

    def objective(trial: optuna.Trial) -> float:
        settings = kind.suggested(trial)
        tried[trial.number] = validation_losses(data, settings, horizon=horizon, seed=seed, threads=threads)
        value = float(tried[trial.number].mean())
        after_trial(trial.number, value)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize")
    study.enqueue_trial(dict(kind.start().as_trial()))
    study.optimize(objective, n_trials=trials)
    losses = tuple(float(tried[number].mean()) for number in sorted(tried))
    best = study.best_trial
    chosen = best.number if _is_better(tried[best.number], tried[0]) else 0
    params = study.trials[chosen].params
    return Found(kind.suggested(optuna.trial.FixedTrial(params)), losses, losses[chosen])
