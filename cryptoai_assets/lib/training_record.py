"""What MLflow is told of a training: a parent run, a nested run a fold, figures, the registered version."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from cryptoai_assets.lib.candidate import Candidate, StretchResult, bundle_folder
from cryptoai_assets.lib.figures import (
    calibration_figure,
    confidence_figure,
    equity_figure,
    importance_figure,
    precision_figure,
    score_figure,
)
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES, VOLATILITY_BASELINES
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.zoo import model_record
from cryptoai_assets.lib.scoring import BootstrapSettings, direction_scores
from cryptoai_assets.lib.search import Tried
from cryptoai_assets.lib.skill_tests import skill_tests
from cryptoai_assets.lib.strategy import Backtest
from cryptoai_assets.lib.tracking import NAME_TAG, VERSION_TAG, Tracking
from cryptoai_assets.lib.training import TrainingSettings

CANDIDATE_RECORD = "candidate"
# Tag of a training's run, by which the training finds the run that its search began.
TRAINING_TAG = "training"
TRIAL_TAG = "trial"
# Metrics of a version's own score, as MLflow groups them.
STRETCH_GROUP = "final_stretch/"


def shown_settings(settings: TrainingSettings, model: ForecasterSettings) -> Mapping[str, str]:
    """Settings of a training as columns that runs are compared by: a member's stand below its kind."""
    return {**_shown("training", asdict(settings)), **_shown("model", model_record(model))}


def _shown(group: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Values by ``group/name``; exact ones are in the record of the candidate."""
    found: dict[str, str] = {}
    for name, value in record.items():
        if name == "members":
            for member in value:
                found |= _shown(f"{group}/{member['kind']}", {**member, "kind": None})
        elif isinstance(value, Mapping):
            found |= _shown(f"{group}/{name}", value)
        elif value is not None:
            found[f"{group}/{name}"] = _cell(value)
    return found


def _cell(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_cell, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def procedure_figures(scores: pl.DataFrame, predictions: pl.DataFrame, *, kind: str) -> Mapping[str, Figure]:
    """Figures of the walk-forward: scores beside baselines, accuracy by confidence, calibration by horizon.

    Parameters
    ----------
    predictions
        Out-of-sample predictions of all models, told apart by ``model``.
    kind
        The model that was chosen, whose calibration is drawn.
    """
    ours = predictions.filter(pl.col("model") == kind)
    figures = {
        "procedure_accuracy": score_figure(
            scores, metric="accuracy", title="Walk-forward accuracy with 95 % intervals", chance=0.5
        ),
        "procedure_volatility_rank_ic": score_figure(
            scores, metric="volatility_rank_ic", title="Walk-forward rank IC of volatility", chance=None
        ),
        "procedure_confidence": confidence_figure(ours, title="Walk-forward accuracy by share answered"),
    }
    for (horizon,), rows in ours.group_by("horizon", maintain_order=True):
        figures[f"procedure_calibration_h{horizon}"] = calibration_figure(
            rows["probability_up"].to_numpy(), rows["up"].to_numpy(), horizon=int(str(horizon))
        )
    return figures


def tests_against_baselines(predictions: pl.DataFrame, *, kind: str) -> pl.DataFrame:
    """Tests of skill of one model of the walk-forward, as `skill_tests` gives them."""
    baselines = [model.kind for model in (*DIRECTION_BASELINES, *VOLATILITY_BASELINES)]
    return skill_tests(
        predictions.filter(model=kind), {name: predictions.filter(model=name) for name in baselines}
    )


def training_run(tracking: Tracking, model: str, as_of: datetime, *, key: str) -> str:
    """Id of a training's run: the one that its search began, or a new one where that made a version.

    Parameters
    ----------
    key
        Says what is trained on what; a training that was killed has the same one again.
    """
    return tracking.begun_run(f"{model} {as_of:%Y-%m-%d}", tag=TRAINING_TAG, value=key)


def version_tags(version: int, model: str, *, kind: str) -> Mapping[str, str]:
    """Tags of the run of a training that made a version; its name tells it apart in a comparison."""
    return {VERSION_TAG: str(version), NAME_TAG: f"{model} version {version}, {kind}"}


def trial_recorder(tracking: Tracking, run_id: str) -> Callable[[Tried], None]:
    """Return what keeps each trial as a run below that of its training, once, whoever was killed before."""
    known = {tags.get(TRIAL_TAG) for tags in tracking.nested_runs(run_id)}
    one_at_a_time = Lock()

    def record(tried: Tried) -> None:
        name = f"{tried.study} {tried.number}"
        folds = {f"search/log_loss_after_fold_{k}": loss for k, loss in enumerate(tried.losses, start=1)}
        with one_at_a_time:
            if name in known:
                return
            tracking.nest(
                run_id,
                f"{tried.kind} trial {tried.number + 1}",
                parameters=_shown("model", tried.parameters),
                metrics=folds if tried.pruned else {"search/log_loss": tried.losses[-1], **folds},
                tags={TRIAL_TAG: name, "kind": tried.kind, "pruned": str(tried.pruned)},
                began=tried.began,
                ended=tried.ended,
            )
            known.add(name)

    return record


def record_training(
    tracking: Tracking,
    folder: Path,
    candidate: Candidate,
    *,
    key: str,
    scores: pl.DataFrame,
    predictions: pl.DataFrame,
    importance: Mapping[str, float],
    dagster_run_id: str,
    bootstrap: BootstrapSettings,
) -> Candidate:
    """Log a training and register its bundle as the next version, with the alias `challenger`.

    Parameters
    ----------
    folder
        Of the candidate.
    key
        By which the search began the training's run.
    """
    tags = {
        "dagster/run_id": dagster_run_id,
        "market": candidate.market,
        "kind": candidate.kind,
        "cause": candidate.cause,
        "git_commit": candidate.git_commit,
        "data_fingerprint": candidate.data_fingerprint,
        "feature_fingerprint": candidate.feature_fingerprint,
        "bundle_sha256": candidate.bundle_digest,
        "as_of": candidate.as_of.isoformat(),
    }
    drawn = procedure_figures(scores, predictions, kind=candidate.kind)
    figures = dict(drawn) | {"importance": importance_figure(importance)}
    if candidate.precisions:
        figures["precision"] = precision_figure(candidate.precisions)
    run_id = training_run(tracking, candidate.model, candidate.as_of, key=key)
    with tracking.resumed(run_id):
        parameters = shown_settings(candidate.settings, candidate.model_settings)
        tracking.log(run_id, parameters=parameters, tags=tags)
        ours = scores.filter(pl.col("model") == candidate.kind)
        metrics = dict(zip(("procedure/" + ours["metric"]).to_list(), ours["value"].to_list(), strict=True))
        tracking.log(run_id, metrics=metrics)
        for name, figure in figures.items():
            tracking.log_figure(run_id, figure, name)
        tracking.log_record(run_id, {"scores": scores.to_dicts()}, "procedure_scores")
        tests = tests_against_baselines(predictions, kind=candidate.kind)
        tracking.log_record(run_id, {"tests": tests.to_dicts()}, "procedure_tests")
        _record_folds(tracking, predictions.filter(pl.col("model") == candidate.kind), bootstrap)
        tracking.log_record(run_id, candidate.to_json(), CANDIDATE_RECORD)
        version = tracking.register(run_id, bundle_folder(folder), model=candidate.model, tags=tags)
        tracking.log(run_id, tags=version_tags(version.version, candidate.model, kind=candidate.kind))
    registered = candidate.registered(version.version, run_id)
    registered.write(folder)
    return registered


def _record_folds(tracking: Tracking, predictions: pl.DataFrame, bootstrap: BootstrapSettings) -> None:
    for (fold,), rows in predictions.group_by("fold", maintain_order=True):
        start, end = rows["open_time"].min(), rows["open_time"].max()
        tags = {"fold": str(fold), "test_start": str(start), "test_end": str(end)}
        with tracking.run(f"fold {fold}", tags=tags, nested=True) as run_id:
            metrics = {
                f"fold/h{horizon}/{score.name}": score.value
                for (horizon,), part in rows.group_by("horizon", maintain_order=True)
                for score in direction_scores(
                    part["probability_up"].to_numpy(), part["up"].to_numpy(), part["open_time"], bootstrap
                )
            }
            tracking.log(run_id, metrics=metrics)


def record_stretch(tracking: Tracking, candidate: Candidate, result: StretchResult, *, uses: int) -> None:
    """Add the version's own score to its run and its tags.

    Parameters
    ----------
    uses
        How often versions were scored on this final stretch, this time included.
    """
    if candidate.run_id is None or candidate.version is None:
        return
    metrics = {f"{STRETCH_GROUP}{score.name}": score.value for score in result.scores}
    tracking.log(candidate.run_id, metrics=metrics | {f"{STRETCH_GROUP}uses": uses})
    figures = {
        f"final_stretch_calibration_h{horizon}": calibration_figure(
            result.predictions.probability_up[:, column], result.test.target("up", horizon), horizon=horizon
        )
        for column, horizon in enumerate(_horizons(result))
    }
    for name, figure in figures.items():
        tracking.log_figure(candidate.run_id, figure, name)
    tags = {
        f"{STRETCH_GROUP}{score.name}": f"{score.value:.4f} [{score.lower:.4f}, {score.upper:.4f}]"
        for score in result.scores
        if score.name.endswith(("/accuracy", "/brier", "/rank_ic", "/volatility_rank_ic"))
    }
    tags |= {
        f"{STRETCH_GROUP}h{horizon}/{error.name}": f"{error.value:.4f} [{error.lower:.4f}, {error.upper:.4f}]"
        for horizon, error in zip(_horizons(result), result.calibration, strict=True)
    }
    tracking.tag_version(candidate.model, candidate.version, tags | {f"{STRETCH_GROUP}uses": str(uses)})


def record_backtest(
    tracking: Tracking, candidate: Candidate, found: Backtest, record: Mapping[str, Any]
) -> None:
    """Add what a strategy would have brought to the version's run."""
    if candidate.run_id is None:
        return
    numbers = record["performance"] | {"deflated_sharpe": found.deflated}
    metrics = {f"backtest/{name}": value for name, value in numbers.items() if isfinite(value)}
    tracking.log(candidate.run_id, metrics=metrics)
    tracking.log_figure(candidate.run_id, equity_figure(found), "backtest_equity")
    tracking.log_record(candidate.run_id, record, "backtest")


def record_card(tracking: Tracking, candidate: Candidate, card: Path, *, summary: str) -> None:
    """Keep a version's card with its run, and its summary as the version's description."""
    if candidate.run_id is None or candidate.version is None:
        return
    tracking.log_file(candidate.run_id, card, "card")
    tracking.describe_version(candidate.model, candidate.version, summary)


def _horizons(result: StretchResult) -> list[int]:
    return [int(name.partition("_")[2]) for name in result.test.targets.columns if name.startswith("up_")]
