"""What MLflow is told of a training: a parent run, a nested run a fold, figures, the registered version."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
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
from cryptoai_assets.lib.scoring import BootstrapSettings, direction_scores
from cryptoai_assets.lib.strategy import Backtest
from cryptoai_assets.lib.tracking import Tracking
from cryptoai_assets.lib.training import settings_record

CANDIDATE_RECORD = "candidate"
# Metrics of a version's own score, as MLflow groups them.
STRETCH_GROUP = "final_stretch/"


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


def record_training(
    tracking: Tracking,
    folder: Path,
    candidate: Candidate,
    *,
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
    with tracking.run(f"{candidate.model} {candidate.as_of:%Y-%m-%d}", tags=tags) as run_id:
        tracking.log(run_id, parameters=settings_record(candidate.settings, candidate.model_settings))
        ours = scores.filter(pl.col("model") == candidate.kind)
        metrics = dict(zip(("procedure/" + ours["metric"]).to_list(), ours["value"].to_list(), strict=True))
        tracking.log(run_id, metrics=metrics)
        for name, figure in figures.items():
            tracking.log_figure(run_id, figure, name)
        tracking.log_record(run_id, {"scores": scores.to_dicts()}, "procedure_scores")
        _record_folds(tracking, predictions.filter(pl.col("model") == candidate.kind), bootstrap)
        tracking.log_record(run_id, candidate.to_json(), CANDIDATE_RECORD)
        version = tracking.register(run_id, bundle_folder(folder), model=candidate.model, tags=tags)
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
        if score.name.endswith(("/accuracy", "/volatility_rank_ic"))
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


def _horizons(result: StretchResult) -> list[int]:
    return [int(name.partition("_")[2]) for name in result.test.targets.columns if name.startswith("up_")]
