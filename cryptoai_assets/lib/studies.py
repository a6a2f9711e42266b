"""Studies: what Optuna keeps of a search, so that a killed one goes on and no trial is forgotten.

A study is of one kind of model on some rows, inputs and settings, which its name says: on others there is
another study. It knows nothing about models.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import polars as pl
from optuna.trial import TrialState

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.fingerprints import settings_fingerprint

# States of a trial that told something; one that was killed did not.
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Of a fingerprint, in a study's name.
SHOWN_DIGITS = 12
_ROWS = "rows"
# Several kinds are searched side by side, and SQLite has one writer at a time.
_LOCK_SECONDS = 60.0


class StudiesError(Exception):
    """Studies cannot be kept at their address; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Studies:
    """Where studies are kept; one search at a time works on a study.

    Parameters
    ----------
    address
        Of a database, as SQLAlchemy reads it, such as ``sqlite:////folder/studies.db``; None is the memory of
        one search.
    """

    address: str | None

    @contextmanager
    def opened(self) -> Iterator[optuna.storages.BaseStorage]:
        """Open the database, and make its tables where they are absent.

        Raises
        ------
        StudiesError
            When the driver of the database is not installed.
        """
        if self.address is None:
            yield optuna.storages.InMemoryStorage()
            return
        locks = {"connect_args": {"timeout": _LOCK_SECONDS}} if self.address.startswith("sqlite") else {}
        try:
            storage = optuna.storages.RDBStorage(self.address, engine_kwargs=locks)
        except ImportError as error:
            kind = self.address.partition(":")[0]
            raise StudiesError(
                f"no driver for {kind} is installed; for PostgreSQL: pip install 'psycopg[binary]', "
                "and an address that begins with postgresql+psycopg://"
            ) from error
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


IN_MEMORY = Studies(None)


def rows_fingerprint(data: Dataset) -> str:
    """SHA-256 of the times, symbols and outcomes of a dataset, whatever its features are."""
    digest = hashlib.sha256()
    digest.update(data.keys["open_time"].dt.epoch("us").to_numpy().tobytes())
    digest.update("\n".join(data.keys["symbol"]).encode())
    for name in sorted(data.targets.columns):
        digest.update(name.encode())
        digest.update(data.targets[name].cast(pl.Float64).fill_null(np.nan).to_numpy().tobytes())
    return digest.hexdigest()


def inputs_fingerprint(data: Dataset) -> str:
    """SHA-256 of the features of a dataset, their names and values."""
    digest = hashlib.sha256("\n".join(data.names).encode())
    digest.update(np.ascontiguousarray(data.values).data)
    return digest.hexdigest()


def opened_study(
    storage: optuna.storages.BaseStorage, kind: str, *, rows: str, made_with: Mapping[str, Any]
) -> optuna.Study:
    """Begin a study, or go on with the one of this kind, these rows and these settings.

    A trial that nobody finished, since its search was killed, is taken for failed, and is not counted.

    Parameters
    ----------
    rows
        From `rows_fingerprint`.
    made_with
        Whatever else changes a trial's loss, as JSON holds it.
    """
    name = f"{kind} {rows[:SHOWN_DIGITS]} {settings_fingerprint(made_with)[:SHOWN_DIGITS]}"
    study = optuna.create_study(study_name=name, storage=storage, direction="minimize", load_if_exists=True)
    study.set_user_attr(_ROWS, rows)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def trials_on(storage: optuna.storages.BaseStorage, rows: str) -> int:
    """How many trials were ever finished on these rows, whatever was tried."""
    names = [
        summary.study_name
        for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)
        if summary.user_attrs.get(_ROWS) == rows
    ]
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return sum(len(study.get_trials(deepcopy=False, states=FINISHED)) for study in studies)
