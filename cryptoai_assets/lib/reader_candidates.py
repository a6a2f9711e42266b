"""Networks that read charts or candles on their way to a release: their version, and what the gate asks."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.figure import Figure

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.gate import CanaryResult, Comparison, Evidence
from cryptoai_assets.lib.tracking import NAME_TAG, VERSION_TAG, Tracking, reader_wrapping
from edge_bundle.manifest import bundle_digest
from edge_bundle.whole_file import replace_file
from edge_bundle.windows import Float32Array

RECORD_NAME = "candidate.json"
# Probabilities nearer to nothing are as bad as this one.
LEAST_PROBABILITY = 1e-6
SHARES = "the shares of the training windows"


@dataclass(frozen=True, slots=True)
class ReaderCandidate:
    """A registered bundle of a reader.

    Parameters
    ----------
    origin
        ``shipped`` with the project, or the size of the training that made it.
    """

    model: str
    kind: str
    version: int
    run_id: str
    bundle_sha256: str
    origin: str

    def write(self, folder: Path) -> None:
        """Write it beside its bundle's folder."""
        replace_file(folder / RECORD_NAME, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote."""
        return cls(**json.loads((folder / RECORD_NAME).read_bytes()))


@dataclass(frozen=True, slots=True)
class ReaderReport:
    """What MLflow keeps of a reader.

    Parameters
    ----------
    classes
        One row a pattern.
    example, said
        Some of what it reads, and the probabilities that it gives.
    """

    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
    classes: pl.DataFrame
    figures: Mapping[str, Figure]
    example: npt.NDArray[np.uint8] | Float32Array
    said: Float32Array


def registered_reader(
    tracking: Tracking,
    bundle: Path,
    report: ReaderReport,
    *,
    model: str,
    kind: str,
    origin: str,
    tags: Mapping[str, str],
) -> ReaderCandidate:
    """Keep a reader as a run, and register its bundle as the next version; the same bytes only once."""
    digest = bundle_digest(bundle)
    for known in tracking.versions(model):
        if known.bundle_sha256 == digest:
            return ReaderCandidate(model, kind, known.version, known.run_id, digest, origin)
    with tracking.run(f"{model}, {origin}", tags={**tags, "kind": kind, "origin": origin}) as run_id:
        tracking.log(run_id, parameters=report.parameters, metrics=report.metrics)
        tracking.log_record(run_id, {"classes": report.classes.to_dicts()}, "classes")
        for name, figure in report.figures.items():
            tracking.log_figure(run_id, figure, name)
        form = reader_wrapping(report.example, report.said)
        version = tracking.register(run_id, bundle, model=model, tags=tags, wrapping=form).version
        tracking.log(run_id, tags={VERSION_TAG: str(version), NAME_TAG: f"{model} version {version}, {kind}"})
    return ReaderCandidate(model, kind, version, run_id, digest, origin)


def class_losses(probabilities: Float32Array, classes: npt.NDArray[np.integer]) -> Float64Array:
    """Log loss of each row, of probabilities (rows, classes)."""
    given = probabilities[np.arange(len(classes)), classes]
    losses: Float64Array = -np.log(np.clip(given.astype(np.float64), LEAST_PROBABILITY, 1.0))
    return losses


def label_losses(probabilities: Float32Array, present: npt.NDArray[np.bool_]) -> Float64Array:
    """Mean log loss of each row over its labels, of independent probabilities (rows, labels)."""
    given = np.where(present, probabilities, 1 - probabilities).astype(np.float64)
    losses: Float64Array = -np.log(np.clip(given, LEAST_PROBABILITY, 1.0)).mean(axis=1)
    return losses


def reader_evidence(
    losses: Float64Array,
    *,
    champion: Float64Array | None,
    baseline: Float64Array,
    times: npt.NDArray[np.datetime64],
    replayed: bool,
    refresh_cause: str | None,
) -> Evidence:
    """What the gate is told; all losses are per row, on rows after the training ended.

    Parameters
    ----------
    refresh_cause
        Why the champion's kind is trained anew; None for another kind.
    """
    return Evidence(
        times=pl.Series("open_time", times),
        champion=None if champion is None else Comparison(champion, losses),
        baselines={SHARES: Comparison(baseline, losses, champion)},
        scores=(),
        bounds=(),
        canaries=(CanaryResult("golden_rows", replayed, "the golden rows are replayed on this machine"),),
        same_kind=refresh_cause is not None,
        refresh_cause=refresh_cause,
        acknowledged_by=None,
    )


def record_of(decision: Mapping[str, Any], candidate: ReaderCandidate) -> Mapping[str, Any]:
    """Decision about a candidate, as it is kept."""
    return {**decision, "model": candidate.model, "version": candidate.version}
