"""Dagster's part of a live platform in a process of its own: it does, asked, what the daemon does by time.

Run in a project root with ``CRYPTOAI_MARKET`` set, since partitions are those of that market. For each line
``refresh`` it evaluates the schedule, runs what that asks for, lets assets follow what they read, and answers
with one line of JSON.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class LivePlatform:
    """The running process."""

    process: subprocess.Popen[str]

    def refresh(self) -> dict[str, Any]:
        """Let one tick of the schedule and what follows from it happen; what was run and made."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("refresh\n")
        self.process.stdin.flush()
        answered: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answered


def environment(sandbox: str, market: str = "sandbox") -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}",
        "CRYPTOAI_MARKET": market,
        "CRYPTOAI_SANDBOX": sandbox,
    }


@contextmanager
def live_platform(root: Path, sandbox: str) -> Iterator[LivePlatform]:
    with subprocess.Popen(
        [sys.executable, __file__],
        cwd=root,
        env=environment(sandbox),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LivePlatform(process)
        finally:
            process.kill()


def main() -> None:
    import dagster as dg

    from cryptoai_assets.definitions import defs
    from cryptoai_assets.defs.resources import configured_resource
    from cryptoai_assets.demo import project_instance

    logging.disable(logging.CRITICAL)
    definitions = defs()
    repository = definitions.get_repository_def()
    schedule = definitions.resolve_schedule_def("candles_every_five_minutes")
    assert isinstance(schedule, dg.ScheduleDefinition)
    online = dg.AssetSelection.assets("online_bars")
    with project_instance() as instance:
        # What was updated is told from one evaluation to the next.
        cursor = dg.evaluate_automation_conditions(definitions, instance, asset_selection=online).cursor
        for _ in sys.stdin:
            with dg.build_schedule_context(
                instance,
                resources={"market": configured_resource()},
                repository_def=repository,
                scheduled_execution_time=datetime.now(UTC),
            ) as context:
                tick = schedule.evaluate_tick(context)
            job = definitions.resolve_job_def("refreshed_candles")
            asked = tick.run_requests or []
            runs = [
                job.execute_in_process(
                    instance=instance, partition_key=request.partition_key, tags=request.tags
                )
                for request in asked
            ]
            followed = dg.evaluate_automation_conditions(
                definitions, instance, asset_selection=online, cursor=cursor
            )
            cursor = followed.cursor
            follows = followed.total_requested > 0
            if follows:
                everything = repository.get_implicit_global_asset_job_def()
                following = everything.get_subset(asset_selection={dg.AssetKey("online_bars")})
                runs.append(following.execute_in_process(instance=instance))
            told = {
                "asked": [request.partition_key for request in asked],
                "followed": follows,
                "succeeded": all(run.success for run in runs),
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
