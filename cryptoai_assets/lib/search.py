"""The search: an Optuna study for each kind of model, inside the rows before the first scored fold.

A trial is validated on later rows than it is trained on, fold by fold, and is given up after a fold in which
the middle one of the trials before it was better. What it suggests follows from the trials before it and the
seed, so that a search that was killed finds what it would have found.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import numpy as np
import optuna
from optuna.trial import TrialState
from scipy import stats

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.fingerprints import code_fingerprint
from cryptoai_assets.lib.models.blend import BlendSettings
from cryptoai_assets.lib.models.coupling import VOLATILITY_ANCHOR
from cryptoai_assets.lib.models.ensemble import FIRST_WEIGHTS, EnsembleSettings
from cryptoai_assets.lib.models.feature_choice import chosen_features
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.networks.problem import UNTOLD, NetworkRun
from cryptoai_assets.lib.models.tree_heads import TreeSettings
from cryptoai_assets.lib.models.zoo import forecaster, kind_settings, members_of, model_record
from cryptoai_assets.lib.scoring import log_loss
from cryptoai_assets.lib.side_by_side import side_by_side
from cryptoai_assets.lib.studies import (
    FINISHED,
    IN_MEMORY,
    Studies,
    inputs_fingerprint,
    opened_study,
    rows_fingerprint,
    trials_on,
)

# The later half is validated in two folds: half of the rows are trained on, then three quarters.
VALIDATION_SHARE = 0.5
FOLDS = 2
# Of each fold, for the error of a mean.
BLOCKS = 10
LEVEL = 0.05
# None is given up before so many have been through.
TRIALS_BEFORE_PRUNING = 5
_CODE = (__name__, "cryptoai_assets.lib.models", "cryptoai_assets.lib.scoring")
_BLOCK_MEANS = "block_means"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Parameters
    ----------
    losses
        Validation log loss of each trial, in order, None for one that was given up; the first is that of the
        start settings.
    loss
        That of the settings found.
    """

    settings: ForecasterSettings
    losses: tuple[float | None, ...]
    loss: float


@dataclass(frozen=True, slots=True)
class Searched:
    """What the searches of several kinds found.

    Parameters
    ----------
    found
        By kind, in the order of the search.
    trials_on_rows
        Trials that were ever finished on the same rows, by this search and by all others.
    """

    found: Mapping[str, Found]
    trials_on_rows: int

    @property
    def chosen(self) -> ForecasterSettings:
        """Settings of the kind whose validation loss is least."""
        return min(self.found.values(), key=lambda found: found.loss).settings

    def to_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "chosen": self.chosen.kind,
            "trials_on_rows": self.trials_on_rows,
            "kinds": {
                kind: {"model": model_record(found.settings), "losses": list(found.losses)}
                for kind, found in self.found.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that was finished.

    Parameters
    ----------
    number
        Among the finished ones of its study, from 0.
    losses
        Mean log loss over the folds that it was validated on so far, after each.
    pruned
        Whether it was given up before its last fold.
    """

    kind: str
    study: str
    number: int
    parameters: Mapping[str, Any]
    losses: tuple[float, ...]
    pruned: bool
    began: datetime
    ended: datetime

    @property
    def sentence(self) -> str:
        """What became of it."""
        told = "given up after" if self.pruned else "log loss"
        return f"{self.kind}: trial {self.number + 1}, {told} {self.losses[-1]:.5f}"


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a search goes on, whichever ends first; the start settings are tried in any case.

    Parameters
    ----------
    trials
        Of a study in all, those of an earlier search included.
    seconds
        In which a new trial is begun; None is as long as the trials take.
    clock
        In seconds, from any start.
    """

    trials: int
    seconds: float | None = None
    clock: Callable[[], float] = time.monotonic

    def shared(self, *, kinds: int, threads: int) -> "Budget":
        """Part of one of several kinds that are searched `threads` at a time."""
        if self.seconds is None or kinds <= threads:
            return self
        return Budget(self.trials, self.seconds * threads / kinds, self.clock)


def search_kinds(
    data: Dataset,
    kinds: Sequence[str],
    *,
    horizon: int,
    trials: int,
    seed: int,
    threads: int,
    after_trial: Callable[[Tried], None],
    minutes: float | None = None,
    studies: Studies = IN_MEMORY,
    clock: Callable[[], float] = time.monotonic,
    run: NetworkRun = UNTOLD,
) -> Searched:
    """Search each kind on the same rows with as many trials, and go on with the studies of these rows.

    All read what `chosen_features` finds in the rows before validation. An ensemble is made of the best of
    the other kinds, of all that it knows where it is alone, and has nothing of its own to search.

    Parameters
    ----------
    trials, minutes
        For each kind, and for all; no trial begins after either.
    threads
        Kinds that are searched side by side; `after_trial` is called on theirs. A kind without anything to
        search comes after them, with all threads.
    run
        What the trainings of networks keep and tell.
    after_trial
        Gets each finished trial, first those that an earlier search of the same study made.
    """
    rows = rows_fingerprint(data)
    train = validation_folds(data, horizon=horizon)[0].train
    chosen = chosen_features(train, horizons=(horizon,), always=VOLATILITY_ANCHOR, seed=seed, threads=threads)
    data = data.with_features(chosen)
    folds = validation_folds(data, horizon=horizon)
    starts = {kind: kind_settings(kind).start() for kind in kinds}
    free = [kind for kind, start in starts.items() if start.as_trial()]
    ensembles = [kind for kind, start in starts.items() if members_of(start)]
    budget = Budget(trials, None if minutes is None else 60 * minutes, clock)
    with studies.opened() as storage:
        search = partial(
            _searched, storage, rows, data, folds, horizon=horizon, seed=seed, after_trial=after_trial
        )
        share = budget.shared(kinds=len(free), threads=threads)
        searches = [partial(search, _free(kind_settings(kind)), budget=share) for kind in free]
        found = dict(zip(free, side_by_side(searches, threads=threads), strict=True))
        for kind in [*(kind for kind in starts if kind not in (*free, *ensembles)), *ensembles]:
            settings = _gathered(starts[kind], {one: found[one].settings for one in found})
            found[kind] = search(_fixed(settings), budget=Budget(1), threads=threads, run=run)
        return Searched(found, trials_on(storage, rows))


def _gathered(start: ForecasterSettings, found: Mapping[str, ForecasterSettings]) -> ForecasterSettings:
    """Ensemble of what was found; as it starts where nothing was, and what is no ensemble as it is."""
    single = {kind: settings for kind, settings in found.items() if not members_of(settings)}
    trees = [settings for kind, settings in single.items() if kind in FIRST_WEIGHTS]
    if isinstance(start, EnsembleSettings) and trees:
        return EnsembleSettings.of(cast(list[TreeSettings], trees))
    if isinstance(start, BlendSettings) and single:
        return BlendSettings(tuple(single.values()))
    return start


def search_settings(
    data: Dataset,
    kind: type[ForecasterSettings],
    *,
    horizon: int,
    trials: int,
    seed: int,
    after_trial: Callable[[Tried], None],
    studies: Studies = IN_MEMORY,
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
    rows = rows_fingerprint(data)
    with studies.opened() as storage:
        return _searched(
            storage,
            rows,
            data,
            validation_folds(data, horizon=horizon),
            _free(kind),
            horizon=horizon,
            seed=seed,
            after_trial=after_trial,
            budget=Budget(trials),
        )


@dataclass(frozen=True, slots=True)
class ValidationFold:
    """Rows that a trial is trained on, and later ones that validate it; what lies between is purged."""

    train: Dataset
    validation: Dataset


def validation_folds(data: Dataset, *, horizon: int) -> tuple[ValidationFold, ...]:
    """Folds over the later half of some rows, the same ones for every trial."""
    times, count = data.times, len(data.times)
    cuts = [int(count * (1 - VALIDATION_SHARE * (1 - fold / FOLDS))) for fold in range(FOLDS)]
    return tuple(
        ValidationFold(
            data.between(None, times[first - horizon]),
            data.between(times[first], None if end is None else times[end]),
        )
        for first, end in zip(cuts, [*cuts[1:], None], strict=True)
    )


def validation_losses(
    folds: Sequence[ValidationFold],
    settings: ForecasterSettings,
    *,
    horizon: int,
    seed: int,
    threads: int = 1,
    run: NetworkRun = UNTOLD,
) -> Iterator[Float64Array]:
    """Log loss of each row of a fold that moved, by a direction head fitted on the rows before it."""
    for fold in folds:
        up = fold.validation.target("up", horizon)
        moved = np.isfinite(up)
        model = forecaster(settings, threads=threads, run=run)
        head = model.direction_head(fold.train, horizon=horizon, seed=seed)
        yield log_loss(head.probability_up(fold.validation)[moved], up[moved])


@dataclass(frozen=True, slots=True)
class _Space:
    """Settings that a search tries.

    Parameters
    ----------
    start
        Parameters of its first trial.
    """

    kind: str
    start: Mapping[str, Any]
    suggested: Callable[[optuna.trial.BaseTrial], ForecasterSettings]
    record: Mapping[str, Any]


def _free(kind: type[ForecasterSettings]) -> _Space:
    """Space of a kind that suggests what it tries."""
    start = kind.start()
    return _Space(kind.kind, start.as_trial(), kind.suggested, model_record(start))


def _fixed(settings: ForecasterSettings) -> _Space:
    """Space of one point."""
    return _Space(settings.kind, {}, lambda _: settings, model_record(settings))


def _searched(
    storage: optuna.storages.BaseStorage,
    rows: str,
    data: Dataset,
    folds: Sequence[ValidationFold],
    space: _Space,
    *,
    horizon: int,
    seed: int,
    after_trial: Callable[[Tried], None],
    budget: Budget,
    threads: int = 1,
    run: NetworkRun = UNTOLD,
) -> Found:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made_with = {
        "settings": space.record,
        "inputs": inputs_fingerprint(data),
        "horizon": horizon,
        "seed": seed,
        "code": code_fingerprint(*_CODE),
    }
    study = opened_study(storage, space.kind, rows=rows, made_with=made_with)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=0)
    for number, trial in enumerate(_finished(study)):
        after_trial(_tried(space.kind, study, number, trial))
    began = budget.clock()
    while (done := len(_finished(study))) < budget.trials:
        if done and budget.seconds is not None and budget.clock() - began >= budget.seconds:
            break
        study.sampler = optuna.samplers.TPESampler(seed=_seed_of_trial(seed, done))
        losses = partial(validation_losses, folds, horizon=horizon, seed=seed, threads=threads, run=run)
        _try(study, space, losses)
        after_trial(_tried(space.kind, study, done, _finished(study)[-1]))
    storage.remove_session()
    return _found(space, _finished(study))


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


def _seed_of_trial(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _try(
    study: optuna.Study,
    space: _Space,
    validated: Callable[[ForecasterSettings], Iterator[Float64Array]],
) -> None:
    """Make one trial; the first one is that of the start settings, also after it was killed."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if space.start and not waiting and not _finished(study):
        study.enqueue_trial(dict(space.start))
    trial = study.ask()
    settings = space.suggested(trial)
    total, rows = 0.0, 0
    means: list[float] = []
    for fold, losses in enumerate(validated(settings)):
        total, rows = total + float(losses.sum()), rows + len(losses)
        means += [float(part.mean()) for part in np.array_split(losses, BLOCKS)]
        trial.set_user_attr(_BLOCK_MEANS, means)
        trial.report(total / rows, fold)
        if fold + 1 < FOLDS and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, total / rows, state=TrialState.COMPLETE)


def _tried(kind: str, study: optuna.Study, number: int, trial: optuna.trial.FrozenTrial) -> Tried:
    def instant(moment: datetime | None) -> datetime:
        return (moment or datetime.now(UTC)).astimezone(UTC)

    return Tried(
        kind=kind,
        study=study.study_name,
        number=number,
        parameters=dict(trial.params),
        losses=tuple(loss for _, loss in sorted(trial.intermediate_values.items())),
        pruned=trial.state == TrialState.PRUNED,
        began=instant(trial.datetime_start),
        ended=instant(trial.datetime_complete),
    )


def _found(space: _Space, finished: Sequence[optuna.trial.FrozenTrial]) -> Found:
    """Settings of the best trial where it is better than luck has it, of the first one otherwise."""
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    start, best = finished[0], min(complete, key=lambda trial: float(trial.value or np.inf))
    means = [np.array(trial.user_attrs[_BLOCK_MEANS]) for trial in (best, start)]
    chosen = best if _is_better(means[0], means[1], trials=len(finished)) else start
    losses = tuple(None if trial.state == TrialState.PRUNED else trial.value for trial in finished)
    settings = space.suggested(optuna.trial.FixedTrial(chosen.params))
    return Found(settings, losses, float(chosen.value or np.nan))


def _is_better(means: Float64Array, start: Float64Array, *, trials: int) -> bool:
    """Whether the best of `trials` lies below the start settings by more than luck makes it.

    Parameters
    ----------
    means, start
        Mean losses of stretches of time: rows are ordered by time, and neighbours resemble each other, so
        that the error is that of these means. The level is shared among the trials (Bonferroni).
    """
    saved = start - means
    error = saved.std(ddof=1) / len(saved) ** 0.5
    return bool(saved.mean() > stats.t.ppf(1 - LEVEL / trials, len(saved) - 1) * error)
