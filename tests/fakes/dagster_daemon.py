"""Dagster's own daemon, which evaluates the sensors of a location of code once."""

import logging
import sys
from pathlib import Path

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.sensor import execute_sensor_iteration


def evaluate(root: Path, instance: dg.DagsterInstance, location: str) -> None:
    """Let the daemon evaluate a location's sensors once, in a fresh workspace."""
    path = root / "location.py"
    path.write_text(location)
    target = LoadableTargetOrigin(executable_path=sys.executable, python_file=str(path))
    origin = InProcessCodeLocationOrigin(target, location_name="cryptoai")
    with WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)) as workspace:
        list(execute_sensor_iteration(workspace, logging.getLogger("daemon"), None, None))
