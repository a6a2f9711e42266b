"""Probation: what the gate admits is held against the champion on what is really asked, and then promoted.

The gate has found the version better on the past. Probation is an experiment of fixed length that asks the
one question which is left: is it no worse on what is served?
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import count

from cryptoai_assets.lib.decisions import GATE, champion_version, note_word
from cryptoai_assets.lib.experiment_analysis import ExperimentError, ExperimentResult
from cryptoai_assets.lib.experiment_desk import Ended, begin, end, ended_experiment, running_name
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.ledger import Entry
from cryptoai_assets.lib.releases import PromotionError
from edge_bundle.experiment import Experiment, Metric, Mode, experiment_path

# Of what the gate's own tests are: the direction, on the middle horizon.
METRIC: Metric = "log_loss"
FALSE_ALARM_RATE, POWER = 0.05, 0.8
# Of the users who name themselves.
SPLIT_SHARE = 0.5
_NAME = re.compile(r"probation-(?P<version>\d+)(-\d+)?")
_ANSWERS = ("promotion", "refusal")


@dataclass(frozen=True, slots=True)
class Probation:
    """How a version is tried before it is promoted.

    Parameters
    ----------
    mode
        Whether it answers half of the users, or runs beside and answers nobody.
    tolerated_loss
        By which its mean log loss may be higher than the champion's.
    """

    mode: Mode
    tolerated_loss: float


def note_probation(
    home: Home, decision: Mapping[str, object], probation: Probation, *, version: int, at: datetime
) -> bool:
    """Write that a version which the gate admits is tried first, once a version.

    Returns
    -------
    bool
        Whether the line is new.
    """
    reason = (
        f"the gate would promote it; in a {probation.mode} it must lose less than "
        f"{probation.tolerated_loss:g} of log loss to the champion first"
    )
    return note_word(home, "probation", decision, version=version, reason=reason, at=at)


def begin_probation(home: Home, probation: Probation, at: datetime) -> str:
    """Begin to try the newest version that waits for it and is newer than the champion.

    Returns
    -------
    str
        What became of it, with the reason when it cannot begin yet; empty when no version waits.
    """
    model = home.market.model
    version = max(_waiting(home), default=0)
    running = probation_version(running_name(home) or "")
    if version <= (champion_version(home) or 0) or running == version:
        return ""
    horizons = sorted(home.market.horizons)
    try:
        begun = begin(
            home,
            name=_free_name(home, version),
            challenger=version,
            mode=probation.mode,
            challenger_share=SPLIT_SHARE if probation.mode == "split" else 0.0,
            metric=METRIC,
            horizon_bars=horizons[len(horizons) // 2],
            minimal_effect=probation.tolerated_loss,
            false_alarm_rate=FALSE_ALARM_RATE,
            power=POWER,
            at=at,
        )
    except (ExperimentError, PromotionError) as error:
        return f"version {version} of {model} waits for its probation: {error}"
    return f"{begun.name} has begun: {begun.times_needed} bars needed"


def conclude_probation(home: Home, experiment: Experiment, result: ExperimentResult, at: datetime) -> str:
    """Promote or refuse the version of a probation that has its length, or that cannot reach it any more.

    Carried out twice, as after a kill, it changes nothing the second time.

    Returns
    -------
    str
        What became of it; empty while it runs, and for an experiment that is no probation.
    """
    model, version = home.market.model, probation_version(experiment.name)
    if version is None:
        return ""
    if (entry := _waiting(home).get(version)) is not None:
        objection = _objection(home, experiment, result)
        if objection is None:
            return ""
        if objection:
            _refuse(home, entry, experiment, f"{objection}: {_told(experiment, result)}", result, at)
        else:
            home.release_desk.promote(
                model,
                version,
                actor=GATE,
                reason=f"{experiment.name}: {_told(experiment, result)}",
                numbers={"probation": asdict(result)},
                at=at,
            )
    if running_name(home) == experiment.name:
        end(home, Ended(at, GATE, "its version was decided about"))
    return f"version {version} was decided about"


def probation_version(name: str) -> int | None:
    """Version that an experiment of this name is the probation of; None when it is of none."""
    found = _NAME.fullmatch(name)
    return int(found["version"]) if found else None


def _objection(home: Home, experiment: Experiment, result: ExperimentResult) -> str | None:
    """Why its version must not be promoted: empty when nothing speaks against it, None when it still runs."""
    champion = champion_version(home)
    if champion != experiment.control.version:
        return f"version {experiment.control.version}, which it was tried against, is not champion any more"
    if ended_experiment(home, experiment.name) is not None and result.effect is None:
        return "its probation was ended before its length"
    if result.recommendation == "running":
        return None
    if result.effect is None:
        return f"its probation is {result.recommendation}"
    if result.effect.upper >= experiment.minimal_effect:
        return "it may lose more than is tolerated"
    return ""


def _told(experiment: Experiment, result: ExperimentResult) -> str:
    bars = f"{result.times} of {result.times_needed} bars"
    if result.effect is None:
        return bars
    return (
        f"its {experiment.metric} is higher by {result.effect.value:.4f}, from {result.effect.lower:.4f} to "
        f"{result.effect.upper:.4f}, on {bars}; under {experiment.minimal_effect:g} needed"
    )


def _refuse(
    home: Home, entry: Entry, experiment: Experiment, reason: str, result: ExperimentResult, at: datetime
) -> None:
    home.ledger.append(
        "refusal",
        model=entry.model,
        version=entry.version,
        previous=experiment.control.version,
        actor=GATE,
        reason=reason,
        numbers={"probation": asdict(result)},
        at=at,
    )


def _waiting(home: Home) -> dict[int, Entry]:
    """Lines of probations, by their versions, that no later line about the version answers."""
    waiting: dict[int, Entry] = {}
    for entry in home.ledger.entries(home.market.model):
        if entry.kind == "probation":
            waiting[entry.version] = entry
        elif entry.kind in _ANSWERS:
            waiting.pop(entry.version, None)
    return waiting


def _free_name(home: Home, version: int) -> str:
    """Name that no experiment had: one whose beginning was killed has used its own up."""
    names = (f"probation-{version}{f'-{attempt}' if attempt > 1 else ''}" for attempt in count(1))
    return next(
        name for name in names if not experiment_path(home.releases, home.market.model, name).exists()
    )
