"""Experiments begun, ended and read: the platform writes them down, the service follows, the log tells."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from cryptoai_assets.lib.datasets import Float64Array, dataset
from cryptoai_assets.lib.experiment_analysis import (
    ExperimentError,
    ExperimentResult,
    block_inflation,
    experiment_result,
    losses,
    needed_times,
)
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.figures import experiment_figure
from cryptoai_assets.lib.graph_builder import BASIS_POINTS
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.releases import write_json
from cryptoai_assets.lib.scoring import LEAST_BLOCKS
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_serving.forecast_log import ForecastLog
from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.experiment import (
    Experiment,
    Metric,
    Mode,
    check_name,
    ended_path,
    experiment_path,
    parsed_experiment,
    read_experiment,
    running_path,
)
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import ReleasedVersion, read_channel, release_folder
from edge_bundle.whole_file import create_file

RESULT_NAME = "experiment.json"
EXPERIMENT_TAG = "cryptoai/experiment"
# A day or ten horizons, whichever is longer: over that, errors hardly depend on each other.
BLOCK_HORIZONS = 10


def begin(
    home: Home,
    *,
    name: str,
    challenger: int,
    mode: Mode,
    challenger_share: float,
    metric: Metric,
    horizon_bars: int,
    minimal_effect: float,
    false_alarm_rate: float,
    power: float,
    at: datetime,
) -> Experiment:
    """Hold a version against the champion from now on, for a length that is fixed here.

    Raises
    ------
    ExperimentError
        When one runs already, the name was used, nothing is released, or the length cannot be told.
    PromotionError
        When the challenger's bundle may not run.
    """
    model = home.market.model
    if (running := running_path(home.releases, model)).exists():
        raise ExperimentError(f"an experiment runs already ({running}): end it first")
    try:
        path = experiment_path(home.releases, model, check_name(name))
    except ReleaseRefusedError as error:
        raise ExperimentError(str(error)) from error
    if path.exists():
        raise ExperimentError(f"{name} was the name of an experiment before: choose another")
    channel = read_channel(home.releases, model)
    if channel is None or channel.champion is None:
        raise ExperimentError(f"no champion of {model} is released: there is nothing to compare with")
    if channel.champion.version == challenger:
        raise ExperimentError(f"version {challenger} is champion already: two versions are needed")
    versions = channel.champion, home.release_desk.staged(model, challenger)
    block = max(home.market.bars_a_day, BLOCK_HORIZONS * horizon_bars)
    differences = _past_differences(home, versions, metric, horizon_bars)
    seen = min(block, max(horizon_bars, len(differences) // LEAST_BLOCKS))
    times = needed_times(
        deviation=float(differences.std()),
        minimal_effect=minimal_effect,
        false_alarm_rate=false_alarm_rate,
        power=power,
        inflation=block_inflation(differences, block_bars=seen),
        block_bars=block,
    )
    try:
        experiment = Experiment(
            name=name,
            model=model,
            mode=mode,
            control=versions[0],
            challenger=versions[1],
            challenger_share=challenger_share,
            metric=metric,
            horizon_bars=horizon_bars,
            minimal_effect=minimal_effect,
            false_alarm_rate=false_alarm_rate,
            power=power,
            times_needed=times,
            block_bars=block,
            began_at=at,
        )
    except ReleaseRefusedError as error:
        raise ExperimentError(str(error)) from error
    _write_once(path, experiment.content)
    write_json(running, {"name": name, "sha256": experiment.sha256})
    return experiment


@dataclass(frozen=True, slots=True)
class Ended:
    """That somebody ended an experiment: when, who and why."""

    ended_at: datetime
    actor: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Content of its file."""
        return asdict(self) | {"ended_at": self.ended_at.isoformat()}


def running_name(home: Home) -> str | None:
    """Name of the experiment that runs; None when none does, and an empty text when it cannot be read."""
    try:
        name = json.loads(running_path(home.releases, home.market.model).read_bytes())["name"]
        return check_name(name)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ReleaseRefusedError):
        return ""


def end(home: Home, ended: Ended) -> str:
    """End what runs; its file and its forecasts stay, and its name cannot be used again.

    Raises
    ------
    ExperimentError
        When nothing runs.
    """
    root, model, name = home.releases, home.market.model, running_name(home)
    if name is None:
        raise ExperimentError("no experiment runs")
    if name and not (path := ended_path(root, model, name)).exists():
        write_json(path, ended.to_dict())
    running_path(root, model).unlink()
    return name or "an experiment whose name cannot be read"


def ended_experiment(home: Home, name: str) -> Ended | None:
    """When, by whom and why an experiment was ended; None where nobody ended it.

    Raises
    ------
    ExperimentError
        When its file cannot be read.
    """
    path = ended_path(home.releases, home.market.model, name)
    try:
        record = json.loads(path.read_bytes())
        return Ended(**record | {"ended_at": datetime.fromisoformat(record["ended_at"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExperimentError(f"{path} cannot be read: {error}") from error


def newest_experiment(home: Home) -> Experiment | None:
    """Read the experiment that runs, or else the one that began last; None before the first.

    Raises
    ------
    ReleaseRefusedError
        When its file cannot be read, or was changed.
    """
    root, model = home.releases, home.market.model
    if (running := read_experiment(root, model)) is not None:
        return running
    folder = experiment_path(root, model, "any").parent
    every = [parsed_experiment(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return max(every, key=lambda one: one.began_at, default=None)


def reckoned(home: Home, experiment: Experiment, outcomes: pl.DataFrame) -> ExperimentResult:
    """Read what was answered, and hold it against what happened.

    Parameters
    ----------
    outcomes
        ``symbol``, ``open_time``, ``horizon_bars``, ``return_bps`` of every bar whose outcome is known.
    """
    with ForecastLog(home.forecasts_database) as log:
        logged = log.read(model=experiment.model, experiment=experiment.key)
        users = log.users(experiment=experiment.key)
    known = outcomes.with_columns(known_at=pl.col("open_time") + home.market.bar)
    result = experiment_result(experiment, logged, known, users)
    if result.recommendation == "running" and ended_experiment(home, experiment.name) is not None:
        # Whoever ends it when he likes what he sees would find effects where there are none.
        return replace(result, recommendation="stopped")
    return result


def record(home: Home, experiment: Experiment, result: ExperimentResult) -> str:
    """Keep a result with its figure in MLflow, one run an experiment; return the run's id."""
    tracking = home.tracking
    run = tracking.begun_run(f"experiment {experiment.name}", tag=EXPERIMENT_TAG, value=experiment.key)
    metrics = {"experiment/times": float(result.times)}
    if result.sample_ratio_p is not None:
        metrics["experiment/sample_ratio_p"] = result.sample_ratio_p
    if result.effect is not None:
        metrics |= {
            f"experiment/effect{end}": value
            for end, value in (
                ("", result.effect.value),
                ("_lower", result.effect.lower),
                ("_upper", result.effect.upper),
            )
        }
    with tracking.resumed(run):
        tracking.log(
            run,
            parameters=_plan(experiment),
            metrics=metrics,
            tags={"experiment/recommendation": result.recommendation},
        )
        tracking.log_figure(run, experiment_figure(experiment, result), "experiment")
    return run


def result_record(experiment: Experiment, result: ExperimentResult, ended: Ended | None) -> dict[str, Any]:
    """JSON-ready form of an experiment with its result."""
    told = ended.to_dict() if ended else None
    return {"experiment": experiment.to_dict(), "result": asdict(result), "ended": told}


def _plan(experiment: Experiment) -> dict[str, object]:
    plan = experiment.to_dict()
    versions = {role: plan[role]["version"] for role in ("control", "challenger")}
    return {f"experiment/{name}": value for name, value in (plan | versions).items()}


def _past_differences(
    home: Home, versions: tuple[ReleasedVersion, ReleasedVersion], metric: Metric, horizon_bars: int
) -> Float64Array:
    """Differences of the two losses on stored bars after both trainings, one a bar time, in order."""
    if horizon_bars not in home.market.horizons:
        raise ExperimentError(f"a horizon of {horizon_bars} bars: one of {home.market.horizons} needed")
    market = home.market
    forecasters = [
        Forecaster.load(release_folder(home.releases, market.model, one.version)) for one in versions
    ]
    names = sorted({name for forecaster in forecasters for name in forecaster.manifest.features})
    frame = read_stored_parquet(home.training_dataset)
    if absent := [name for name in names if name not in frame.columns]:
        raise ExperimentError(f"the training dataset lacks {', '.join(absent)}: materialize it again")
    trained = max(datetime.fromisoformat(one.manifest.trained_until) for one in forecasters)
    lookback = max(one.manifest.lookback for one in forecasters)
    rows = dataset(frame, frame, names, lookback=lookback, bar=market.bar).between(trained, None)
    if not len(rows):
        raise ExperimentError(f"no bar is stored after {trained:%Y-%m-%d %H:%M} UTC, when both were trained")
    place = market.horizons.index(horizon_bars)
    realised = rows.target("return", horizon_bars) * BASIS_POINTS
    found = []
    for forecaster in forecasters:
        said = graph_predictions(forecaster, rows)
        told = pl.DataFrame(
            {
                "probability_up": said.probability_up[:, place],
                "expected_return_bps": said.expected_return[:, place] * BASIS_POINTS,
                "return_bps": realised,
            }
        )
        found.append(losses(metric, told))
    frame = rows.keys.select("open_time").with_columns(difference=pl.Series(found[1] - found[0]))
    known = frame.filter(pl.col("difference").is_not_nan()).group_by("open_time").agg(pl.mean("difference"))
    return known.sort("open_time")["difference"].to_numpy()


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that nothing writes again."""
    if not create_file(path, content, mode=0o444):
        raise ExperimentError(f"{path.stem} was the name of an experiment before: choose another")
