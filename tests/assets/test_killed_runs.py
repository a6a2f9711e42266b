"""Runs whose process was killed: they end, keep no slot, and are told from those that go on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from fakes.asking_job import asking_job

from cryptoai_assets.defs.upkeep.killed_runs import PROCESS_TAG, bury_killed_runs
from cryptoai_assets.defs.upkeep.sensors import killed_runs_are_buried

POOL = "venue"
OVERRIDES = {
    "telemetry": {"enabled": False},
    "concurrency": {"pools": {"default_limit": 1, "granularity": "op"}},
}
# Dies inside of its question, while it holds the pool's one slot.
MORTAL = """
import os, signal, sys, dagster as dg

@dg.op(pool="venue")
def question() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@dg.job(executor_def=dg.in_process_executor)
def asking() -> None:
    question()

overrides = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
with dg.DagsterInstance.local_temp(sys.argv[1], overrides=overrides) as instance:
    asking.execute_in_process(instance=instance)
"""
ASKING = asking_job(POOL)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=OVERRIDES) as instance:
        yield instance


def begun(instance: dg.DagsterInstance, process: int, **tags: str) -> dg.DagsterRun:
    """A run of which Dagster says that it goes on, in some process."""
    run = instance.create_run_for_job(ASKING, tags=tags, status=dg.DagsterRunStatus.STARTED)
    if not tags:
        instance.report_engine_event("begun", run, EngineEventData.in_process(process))
    return run


def ended() -> int:
    """Number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_run_that_is_killed_at_work_ends_as_failed_and_gives_its_slot_back(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert ASKING.execute_in_process(instance=instance).success  # makes the pool
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MORTAL, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    [killed] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    storage = instance.event_log_storage
    assert storage.get_concurrency_info(POOL).active_slot_count == 1
    assert killed_runs_are_buried(dg.build_sensor_context(instance=instance)) == dg.SkipReason(
        f"killed: {killed.run_id}"
    )
    assert storage.get_concurrency_info(POOL).active_slot_count == 0
    after = instance.get_run_by_id(killed.run_id)
    assert after is not None
    assert after.is_failure
    assert bury_killed_runs(instance) == []


def test_run_whose_process_lives_goes_on_and_so_does_one_that_has_not_told_its_own(
    instance: dg.DagsterInstance,
) -> None:
    begun(instance, os.getpid())
    begun(instance, os.getpid(), **{PROCESS_TAG: str(os.getpid())})
    instance.create_run_for_job(ASKING, status=dg.DagsterRunStatus.STARTED)
    assert bury_killed_runs(instance) == []


def test_run_of_a_program_that_executes_it_itself_is_known_by_its_tag(instance: dg.DagsterInstance) -> None:
    killed = begun(instance, 0, **{PROCESS_TAG: str(ended())})
    assert bury_killed_runs(instance) == [killed.run_id]
