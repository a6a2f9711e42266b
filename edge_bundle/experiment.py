"""The experiment that runs on a model, as its readers see it: two versions, who gets which, and how long.

In the model's release folder ``experiments/<name>.json`` never changes once it is written,
``experiment.json`` names the one that runs, with the SHA-256 of its file, and
``experiments/ended/<name>.json`` says when somebody ended one. It knows nothing about how one begins or ends.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.releases import ReleasedVersion

SCHEMA_VERSION = 1
RUNNING_NAME = "experiment.json"
Mode = Literal["split", "shadow"]
Metric = Literal["log_loss", "brier", "absolute_error_bps"]
SHOWN_DIGITS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Two versions held against each other on what is asked of the service.

    Parameters
    ----------
    mode
        Whether users are split between the two, or the challenger runs beside and answers nobody.
    control
        The champion when the experiment began: while another version is champion, it rests.
    challenger_share
        Of users, whom the challenger answers; 0 in a shadow.
    metric, horizon_bars
        Loss that decides, on forecasts of this horizon.
    minimal_effect
        Difference of the mean loss that should be found.
    false_alarm_rate, power
        Of the test that the length was reckoned for.
    times_needed
        Bars at which both have answered, after which it is decided, and not before.
    block_bars
        Length of the blocks that stand for errors which depend on each other.
    """

    name: str
    model: str
    mode: Mode
    control: ReleasedVersion
    challenger: ReleasedVersion
    challenger_share: float
    metric: Metric
    horizon_bars: int
    minimal_effect: float
    false_alarm_rate: float
    power: float
    times_needed: int
    block_bars: int
    began_at: datetime

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.mode not in get_args(Mode) or self.metric not in get_args(Metric):
            raise ReleaseRefusedError(
                f"mode {self.mode!r} and metric {self.metric!r}: one of {get_args(Mode)}, {get_args(Metric)}"
            )
        share = self.challenger_share
        if not (share == 0 if self.mode == "shadow" else 0 < share < 1):
            raise ReleaseRefusedError(f"a challenger's share of {share} in mode {self.mode}")
        if self.control == self.challenger or min(self.times_needed, self.horizon_bars, self.block_bars) < 1:
            raise ReleaseRefusedError(
                "two versions, and a length, a horizon and a block of 1 at least, needed"
            )

    def to_dict(self) -> dict[str, Any]:
        """Content of its file."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "began_at": self.began_at.isoformat()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises
        ------
        ReleaseRefusedError
            When the schema version is unknown, or an entry is absent, unknown or cannot be.
        """
        if (version := record.get("schema_version")) != SCHEMA_VERSION:
            raise ReleaseRefusedError(f"schema version {version!r}, this code reads {SCHEMA_VERSION}")
        if differing := sorted({field.name for field in fields(cls)} ^ (set(record) - {"schema_version"})):
            raise ReleaseRefusedError(f"absent or unknown entries: {', '.join(differing)}")
        given = {name: value for name, value in record.items() if name != "schema_version"}
        try:
            for role in ("control", "challenger"):
                given[role] = ReleasedVersion(**given[role])
            return cls(**given | {"began_at": datetime.fromisoformat(given["began_at"])})
        except (TypeError, ValueError) as error:
            raise ReleaseRefusedError(f"an entry cannot be read: {error}") from error

    @property
    def content(self) -> bytes:
        """Bytes of its file."""
        return (json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n").encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of its file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> str:
        """What forecasts of it are logged with: changed, it is another experiment."""
        return f"{self.name}:{self.sha256[:SHOWN_DIGITS]}"


def check_name(name: object) -> str:
    """Name of an experiment, which names a file as well.

    Raises
    ------
    ReleaseRefusedError
        When it is no name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ReleaseRefusedError(f"{name!r} names no experiment: 1 to 60 letters, digits, - and _ needed")
    return name


def running_path(root: Path, model: str) -> Path:
    """File that names the experiment that runs."""
    return root / model / RUNNING_NAME


def experiment_path(root: Path, model: str, name: str) -> Path:
    """File of an experiment."""
    return root / model / "experiments" / f"{name}.json"


def ended_path(root: Path, model: str, name: str) -> Path:
    """File that says when an experiment was ended, by whom and why."""
    return root / model / "experiments" / "ended" / f"{name}.json"


def read_experiment(root: Path, model: str) -> Experiment | None:
    """Read the experiment that runs on a model; None when there is none.

    Raises
    ------
    ReleaseRefusedError
        When a file cannot be read, is of another model, or was changed since the experiment began.
    """
    running = running_path(root, model)
    try:
        named = json.loads(running.read_bytes())
        name, promised = check_name(named["name"]), str(named["sha256"])
        content = experiment_path(root, model, name).read_bytes()
    except FileNotFoundError as error:
        if error.filename == str(running):
            return None
        raise ReleaseRefusedError(f"the experiment that runs has no file {error.filename}; end it") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ReleaseRefusedError) as error:
        raise ReleaseRefusedError(f"{running} cannot be read: {error}; end the experiment") from error
    if hashlib.sha256(content).hexdigest() != promised:
        raise ReleaseRefusedError(
            f"the experiment {name} was changed after it began; restore its file, or end it and begin another"
        )
    experiment = parsed_experiment(content)
    if experiment.model != model:
        raise ReleaseRefusedError(f"the experiment {name} is on {experiment.model}, {model} needed")
    return experiment


def parsed_experiment(content: bytes) -> Experiment:
    """Read an experiment's file.

    Raises
    ------
    ReleaseRefusedError
        When it cannot be read.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ReleaseRefusedError(f"the experiment's file is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise ReleaseRefusedError("the experiment's file is no JSON object")
    return Experiment.from_dict(record)
