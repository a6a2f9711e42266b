"""A job whose one step asks a venue."""

import dagster as dg


def asking_job(pool: str) -> dg.JobDefinition:
    """Job that takes a slot of a pool."""

    @dg.op(pool=pool)
    def question() -> None: ...

    @dg.job(executor_def=dg.in_process_executor)
    def asking() -> None:
        question()

    return asking
