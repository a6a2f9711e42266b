"""A project root of a test's own: a short real archive, `make demo` in a process that may die, what is there.

Run as ``python tests/fakes/project_root.py STEP`` in the root. The process ends by SIGKILL right before STEP,
which is seen through Python's audit events, so that nothing of the platform is replaced.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from fakes.archives import archive, embedded_candles

PROJECT = Path(__file__).parents[2]
ARCHIVE = "archive.parquet"
# Five months of five coins: a month of warm-up and six weeks of final stretch leave two months to train on.
FIRST = datetime(2019, 5, 1, tzinfo=UTC)
WRITING_GRAPH = "writing the graph"
KEEPING_RECORD = "keeping the record of what was registered"
REPLACING_CHANNEL = "replacing the channel"
NEVER = "never"
STEPS = (WRITING_GRAPH, KEEPING_RECORD, REPLACING_CHANNEL, NEVER)
RENAMED = {"candidate/candidate.json": KEEPING_RECORD, "channel.json": REPLACING_CHANNEL}
Made = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class ProjectRoot:
    """A folder in which the platform keeps everything, as in a checkout of the project."""

    path: Path

    @classmethod
    def begin(cls, path: Path) -> "ProjectRoot":
        archive(path, embedded_candles().filter(pl.col("open_time") >= FIRST))
        shutil.copy(PROJECT / "dagster.yaml", path)
        return cls(path)

    def copied_to(self, path: Path) -> "ProjectRoot":
        """Everything but the artifacts, which MLflow finds where they were logged."""
        shutil.copytree(self.path, path, ignore=shutil.ignore_patterns("mlruns"))
        return ProjectRoot(path)

    def materialize(self, *, until: str = NEVER) -> subprocess.CompletedProcess[str]:
        """Make what is stale in a process of its own."""
        return subprocess.run(
            [sys.executable, __file__, until],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def made_by(self, run: subprocess.CompletedProcess[str]) -> Made:
        """Partitions of each asset that a process made, in order; an asset without partitions has ``""``."""
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
        made: Made = json.loads(run.stdout.splitlines()[-1])
        return made

    def make(self) -> Made:
        return self.made_by(self.materialize())


def die_before(step: str) -> None:
    """Let this process end by SIGKILL before a step."""
    assert step in STEPS, step

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if step_seen(event, arguments) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def step_seen(event: str, arguments: tuple[Any, ...]) -> str | None:
    if event == "open" and "w" in str(arguments[1]):
        return WRITING_GRAPH if str(arguments[0]).endswith("candidate/bundle/model.onnx") else None
    if event == "os.rename":
        return next((step for end, step in RENAMED.items() if str(arguments[1]).endswith(end)), None)
    return None


def main(step: str) -> None:
    import dagster as dg

    from cryptoai_assets.defs.materialization import UNPARTITIONED
    from cryptoai_assets.defs.recipes import IN_ORDER
    from cryptoai_assets.defs.resources import MarketResource
    from cryptoai_assets.demo import materialize_stale, project_instance

    die_before(step)
    with project_instance() as instance:
        before = set(instance.get_run_ids())
        materialize_stale(instance, MarketResource(name="sample", archive=ARCHIVE))
        made: Made = {}
        for asset in IN_ORDER:
            records = instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
            keys = [r.partition_key or UNPARTITIONED for r in records if r.run_id not in before]
            if keys:
                made[asset] = sorted(keys)
    sys.stdout.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
