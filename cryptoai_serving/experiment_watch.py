"""Experiments in service: which version answers whom, and which only runs beside.

It knows nothing about results: those come from the log, when the experiment has its length.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptoai_serving.champion import ServedModel, verified_model
from cryptoai_serving.errors import reason_of
from cryptoai_serving.forecast_log import Variant
from cryptoai_serving.last_failure import LastFailure
from edge_bundle.experiment import Experiment, read_experiment

TOKEN_BYTES = 8


@dataclass(frozen=True, slots=True)
class Chosen:
    """The version that answers, and as which variant of which experiment."""

    served: ServedModel
    variant: Variant = "champion"
    experiment: str | None = None
    user_token: str | None = None


@dataclass(frozen=True, slots=True)
class RunningExperiment:
    """An experiment with its verified challenger."""

    experiment: Experiment
    challenger: ServedModel

    def chosen(self, champion: ServedModel, user_id: str | None) -> Chosen:
        """Version for a user: the same one every time; who gives no name stays out of a split."""
        experiment = self.experiment
        if champion.released.sha256 != experiment.control.sha256:
            return Chosen(champion)
        if experiment.mode == "shadow":
            return Chosen(champion, "control", experiment.key)
        if user_id is None:
            return Chosen(champion)
        token = user_token(experiment.name, user_id)
        if int(token, 16) < experiment.challenger_share * 256**TOKEN_BYTES:
            return Chosen(self.challenger, "challenger", experiment.key, token)
        return Chosen(champion, "control", experiment.key, token)

    def beside(self, chosen: Chosen) -> Chosen | None:
        """Version that runs beside an answer without a word of its own; None when there is none."""
        if self.experiment.mode == "split" or chosen.experiment != self.experiment.key:
            return None
        return Chosen(self.challenger, "shadow", self.experiment.key)


class ExperimentWatch:
    """Holds the experiment of one model; `refresh` is called like that of `ChampionWatch`, after it."""

    def __init__(self, *, root: Path, model: str, clock: Callable[[], datetime]) -> None:
        self._root = root
        self._model = model
        self._clock = clock
        self._running: RunningExperiment | None = None
        self._failure = LastFailure(clock)
        self._reason = ""

    @property
    def running(self) -> RunningExperiment | None:
        """What runs; None also while the one that should is refused."""
        return self._running

    @property
    def refused(self) -> str:
        """Why the experiment that should run does not; empty when it does, or when there is none."""
        return self._reason

    def refresh(self) -> None:
        """Look at the experiment; load and verify its challenger when it is another one."""
        wanted: Experiment | None = None
        try:
            wanted = read_experiment(self._root, self._model)
            if wanted is None:
                self._running, self._reason = None, ""
            elif (running := self._running) is not None and running.experiment == wanted:
                self._reason = ""
            elif not self._failure.is_recent(wanted.challenger):
                challenger = verified_model(
                    self._root, self._model, wanted.challenger, role="challenger", now=self._clock()
                )
                self._running, self._reason = RunningExperiment(wanted, challenger), ""
        except Exception as error:  # noqa: BLE001 — whatever a bundle breaks with, it stays out
            # Nobody is drawn by rules that are in doubt: all get the champion.
            self._running = None
            self._reason = reason_of(error, releases=self._root)
            self._failure.keep(wanted.challenger if wanted else None)


def user_token(experiment: str, user_id: str) -> str:
    """Sixteen hexadecimal digits, uniform over users and unrelated from one experiment to another."""
    return hashlib.sha256(f"{experiment}\n{user_id}".encode()).digest()[:TOKEN_BYTES].hex()
