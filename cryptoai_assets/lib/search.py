"""The search: a small Optuna study for each kind of model, inside the rows before the first scored fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import optuna
from scipy import stats

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.blend import BlendSettings
from cryptoai_assets.lib.models.coupling import VOLATILITY_ANCHOR
from cryptoai_assets.lib.models.ensemble import FIRST_WEIGHTS, EnsembleSettings
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.networks.problem import UNTOLD, NetworkRun
from cryptoai_assets.lib.models.tree_heads import TreeSettings
from cryptoai_assets.lib.models.zoo import forecaster, kind_settings, members_of
from cryptoai_assets.lib.scoring import log_loss
from cryptoai_assets.lib.side_by_side import side_by_side

VALIDATION_SHARE = 0.25
BLOCKS = 20
LEVEL = 0.05


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

    settings: ForecasterSettings
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
    def chosen(self) -> ForecasterSettings:
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
    run: NetworkRun = UNTOLD,
) -> Searched:
    """Search each kind on the same rows with as many trials; `after_trial` gets kind, number and loss.

    All read what `chosen_features` finds in the rows before validation. An ensemble is made of the best of
    the other kinds, of all that it knows where it is alone, and has nothing of its own to search.

    Parameters
    ----------
    threads
        Kinds that are searched side by side; `after_trial` is called on theirs. A kind without anything to
        search comes after them, with all threads.
    run
        What the trainings of networks keep and tell.
    """
    train = data.between(None, data.times[_validation_cut(data) - horizon])
    chosen = chosen_features(train, horizons=(horizon,), always=VOLATILITY_ANCHOR, seed=seed, threads=threads)
    data = data.with_features(chosen)
    starts = {kind: kind_settings(kind).start() for kind in kinds}
    searched = [kind for kind, start in starts.items() if start.as_trial()]
    searches = [
        partial(
            search_settings,
            data,
            kind_settings(kind),
            horizon=horizon,
            trials=trials,
            seed=seed,
            after_trial=partial(after_trial, kind),
        )
        for kind in searched
    ]
    found = dict(zip(searched, side_by_side(searches, threads=threads), strict=True))
    told = partial(validation_losses, data, horizon=horizon, seed=seed, threads=threads, run=run)
    ensembles = [kind for kind, start in starts.items() if members_of(start)]
    for kind in [*(kind for kind in starts if kind not in (*searched, *ensembles)), *ensembles]:
        settings = _gathered(starts[kind], {one: found[one].settings for one in found})
        loss = float(told(settings).mean())
        after_trial(kind, 0, loss)
        found[kind] = Found(settings, (loss,), loss)
    return Searched(found)


def _gathered(start: ForecasterSettings, found: Mapping[str, ForecasterSettings]) -> ForecasterSettings:
    """Ensemble of what was found; as it starts where nothing was, and what is no ensemble as it is."""
    single = {kind: settings for kind, settings in found.items() if not members_of(settings)}
    trees = [settings for kind, settings in single.items() if kind in FIRST_WEIGHTS]
    if isinstance(start, EnsembleSettings) and trees:
        return EnsembleSettings.of(cast(list[TreeSettings], trees))
    if isinstance(start, BlendSettings) and single:
        return BlendSettings(tuple(single.values()))
    return start


def validation_losses(
    data: Dataset,
    settings: ForecasterSettings,
    *,
    horizon: int,
    seed: int,
    threads: int = 1,
    run: NetworkRun = UNTOLD,
) -> Float64Array:
    """Log loss of each last-quarter row that moved, by a direction head fitted on the rows before, purged."""
    times, cut = data.times, _validation_cut(data)
    train, validation = data.between(None, times[cut - horizon]), data.between(times[cut], None)
    up = validation.target("up", horizon)
    moved = np.isfinite(up)
    head = forecaster(settings, threads=threads, run=run).direction_head(train, horizon=horizon, seed=seed)
    return log_loss(head.probability_up(validation)[moved], up[moved])


def _is_better(losses: Float64Array, start: Float64Array, *, trials: int) -> bool:
    """Whether the best of `trials` lies below the start settings by more than luck makes it.

    The rows are ordered by time, and neighbours resemble each other: the error is that of the means of
    `BLOCKS` stretches. The level of the test is shared among the trials (Bonferroni).
    """
    means = np.array([part.mean() for part in np.array_split(start - losses, BLOCKS)])
    error = means.std(ddof=1) / BLOCKS**0.5
    return bool(means.mean() > stats.t.ppf(1 - LEVEL / trials, BLOCKS - 1) * error)


def _validation_cut(data: Dataset) -> int:
    return int(len(data.times) * (1 - VALIDATION_SHARE))


def search_settings(
    data: Dataset,
    kind: type[ForecasterSettings],
    *,
    horizon: int,
    trials: int,
    seed: int,
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
        tried[trial.number] = validation_losses(data, settings, horizon=horizon, seed=seed)
        value = float(tried[trial.number].mean())
        after_trial(trial.number, value)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize")
    study.enqueue_trial(dict(kind.start().as_trial()))
    study.optimize(objective, n_trials=trials)
    losses = tuple(float(tried[number].mean()) for number in sorted(tried))
    best = study.best_trial
    chosen = best.number if _is_better(tried[best.number], tried[0], trials=trials) else 0
    params = study.trials[chosen].params
    return Found(kind.suggested(optuna.trial.FixedTrial(params)), losses, losses[chosen])
