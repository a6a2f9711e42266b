"""Runs whose process was killed: Dagster itself takes them for running, for ever."""

import dagster as dg
from dagster._core.events import EngineEventData

from edge_bundle.processes import process_lives

# Process of a run that a program executes itself.
PROCESS_TAG = "cryptoai/process"
PID = "pid"
BEGUN = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def bury_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process was killed, of this machine; a number that is used again is not its.

    Such a run would keep its place in the queue and its venue's pool for ever, and causes of a training that
    come later would be merged with it. As a failed one it is started again.

    Returns
    -------
    list of str
        Their ids.
    """
    buried = []
    for run in instance.get_runs(dg.RunsFilter(statuses=BEGUN)):
        found = _process(instance, run)
        if found is not None and not process_lives(found[0], since=found[1]):
            instance.report_run_failed(run, "its process was killed")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            buried.append(run.run_id)
    return buried


def _process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float | None] | None:
    """Process of a run, and when it told so, in seconds since 1970; None before it has."""
    told = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    for record in reversed(told):
        event = record.event_log_entry.dagster_event
        if event is not None and isinstance(event.event_specific_data, EngineEventData):
            named = event.event_specific_data.metadata.get(PID)
            if named is not None:
                return int(str(named.value)), record.event_log_entry.timestamp
    tag = run.tags.get(PROCESS_TAG)
    return None if tag is None else (int(tag), None)
