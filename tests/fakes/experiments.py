"""Experiments between two miniature releases, as the platform begins them but with a length of our own."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fakes.releases import release_tiny_bundle

from edge_bundle.experiment import Experiment, experiment_path, running_path
from edge_bundle.manifest import bundle_digest
from edge_bundle.releases import ReleasedVersion, release_folder

MODEL = "cryptoai-forecaster-sample"
PLAN = Experiment(
    name="two-seeds",
    model=MODEL,
    mode="split",
    control=ReleasedVersion(1, "1" * 64),
    challenger=ReleasedVersion(2, "2" * 64),
    challenger_share=0.5,
    metric="brier",
    horizon_bars=1,
    minimal_effect=0.01,
    false_alarm_rate=0.05,
    power=0.8,
    times_needed=200,
    block_bars=10,
    began_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def begin_tiny_experiment(releases: Path, plan: Experiment = PLAN) -> Experiment:
    """Release version 1 as champion, stage version 2, and run the plan on both."""
    release_tiny_bundle(releases, version=2, seed=2)
    release_tiny_bundle(releases, version=1, seed=1)
    control, challenger = (
        ReleasedVersion(version, bundle_digest(release_folder(releases, MODEL, version)))
        for version in (1, 2)
    )
    return write_experiment(releases, replace(plan, control=control, challenger=challenger))


def write_experiment(releases: Path, experiment: Experiment) -> Experiment:
    """Write its file, and name it as the one that runs."""
    path = experiment_path(releases, MODEL, experiment.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(experiment.content)
    running = {"name": experiment.name, "sha256": experiment.sha256}
    running_path(releases, MODEL).write_text(json.dumps(running))
    return experiment
