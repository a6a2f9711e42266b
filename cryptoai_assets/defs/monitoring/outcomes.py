"""How the steps and the checks of a run ended, read from Dagster's events: None is well."""

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster_shared.error import SerializableErrorInfo

PARTITION_TAGS = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
STEP_ENDS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}


def step_outcomes(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str | None]:
    """What went wrong in each step of a run that came to an end, by name and partitions.

    A step that a blocking check stopped is none of them. Where no step failed in a run that did, its job
    stands for them. A run that a person ended says nothing.
    """
    if run.status is dg.DagsterRunStatus.CANCELED:
        return {}
    ends = _events(instance, run, STEP_ENDS)
    broken = {str(end.step_key): end.step_failure_data.error for end in ends if end.is_step_failure}
    found = {
        _named(str(end.step_key), run): what_went_wrong(broken.get(str(end.step_key)))
        if end.is_step_failure
        else None
        for end in ends
        if not _stopped_at_a_check(broken.get(str(end.step_key)))
    }
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return {**found, run.job_name: None}
    if broken:
        return found
    failures = _events(instance, run, {dg.DagsterEventType.RUN_FAILURE})
    said = [failure.message for failure in failures if failure.message]
    return {**found, run.job_name: said[-1] if said else what_went_wrong(None)}


def check_outcomes(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str | None]:
    """What each check of a run says that failed as an error, by name and partitions; None of any other."""
    found = [
        event.asset_check_evaluation_data
        for event in _events(instance, run, {dg.DagsterEventType.ASSET_CHECK_EVALUATION})
    ]
    return {
        _named(
            f"{check.asset_key.to_user_string()}: {check.check_name}", run, check.partition
        ): _failure_said(check)
        for check in found
    }


def what_went_wrong(error: SerializableErrorInfo | None) -> str:
    """First line of an error, of the one behind it where Dagster wrapped it."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().partition("\n")[0] if error else "no error was recorded"


def _events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kinds: set[dg.DagsterEventType]
) -> list[dg.DagsterEvent]:
    # Event by run: the default storage keeps a file a run, and knows no place among the events of all.
    records = instance.get_records_for_run(run.run_id, of_type=kinds).records
    return [event for record in records if (event := record.event_log_entry.dagster_event) is not None]


def _stopped_at_a_check(error: SerializableErrorInfo | None) -> bool:
    return error is not None and error.cls_name == DagsterAssetCheckFailedError.__name__


def _named(name: str, run: dg.DagsterRun, partition: str | None = None) -> str:
    spans = [run.tags[tag] for tag in PARTITION_TAGS if tag in run.tags]
    where = partition or " … ".join(spans)
    return name + (f" of {where}" if where else "")


def _failure_said(check: dg.AssetCheckEvaluation) -> str | None:
    """What a check says that failed as an error; None of any other."""
    if check.passed or check.severity is not dg.AssetCheckSeverity.ERROR:
        return None
    counted = {name: entry.value for name, entry in check.metadata.items() if isinstance(entry.value, int)}
    numbers = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in counted.items())
    return check.description or numbers or "it is not true"
