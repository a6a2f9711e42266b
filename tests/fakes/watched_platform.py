"""A platform that watches the telling market: its daemon, its page, and a person at the console.

Each is a process.

Run in a project root as ``python tests/fakes/watched_platform.py``: each line that comes in is something that
the person does, and is answered by a line of JSON when it is done. Partitions are those of
``CRYPTOAI_MARKET``, so it takes a process of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from fakes.bento_process import free_port
from fakes.slack_api import CHANNEL, TOKEN, SlackApi
from fakes.telling_market import NAME, SYMBOL, candles
from fakes.waiting import wait_until

PROJECT = Path(__file__).parents[2]
ARCHIVE = "archive.parquet"
# The champion's training ended here, and here the market begins to drift.
TRAINED_UNTIL = datetime(2019, 9, 16, tzinfo=UTC)
# The drift's fifth day is over.
DRIFTED = TRAINED_UNTIL + timedelta(days=5)
WILDER, SEED = 1.6, 1
# A training and a release may take so long.
wait_patiently = partial(wait_until, seconds=600.0)
INGESTED = ("raw_candles", "clean_candles", "features")
SCORED = ("version_scores", "backtest", "gate_decision", "released_bundle")
LOCATION, REPOSITORY = "cryptoai", "__repository__"
MATERIALIZE = """
mutation Materialize($asked: ExecutionParams!) {
  launchRun(executionParams: $asked) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


def drifting_market(until: datetime) -> pl.DataFrame:
    """Candles that spread farther since the champion's training ended."""
    return candles(until=until, seed=SEED, wilder_since=TRAINED_UNTIL, times=WILDER)


def environment(root: Path, slack: SlackApi) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOAI_")}
    return {
        **kept,
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}",
        "PYTHONWARNINGS": "ignore",
        "DAGSTER_HOME": str(root),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "CRYPTOAI_MARKET": NAME,
        "CRYPTOAI_ARCHIVE": str(root / ARCHIVE),
        "CRYPTOAI_LOOK_SECONDS": "1",
        "CRYPTOAI_SLACK_TOKEN": TOKEN,
        "CRYPTOAI_SLACK_CHANNEL": CHANNEL,
        "CRYPTOAI_SLACK_ADDRESS": slack.url,
    }


@dataclass(frozen=True, slots=True)
class Console:
    """The person's process."""

    process: subprocess.Popen[str]

    def ask(self, task: str) -> None:
        """Let the person begin with something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Wait until it is done."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, "the console ended"
        return json.loads(said)

    def does(self, task: str) -> Any:
        self.ask(task)
        return self.answer()


@contextmanager
def console(root: Path, given: Mapping[str, str]) -> Iterator[Console]:
    with (
        (root / "console.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, __file__],
            cwd=root,
            env=given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield Console(process)
        finally:
            process.kill()


@contextmanager
def daemon(root: Path, given: Mapping[str, str]) -> Iterator[None]:
    """Dagster's daemon with the location of the project; in the end it and its runs are killed."""
    with _dagster(root, given, "dagster._daemon", "run", log="daemon.log") as process:
        yield
        assert process.poll() is None, (root / "daemon.log").read_text()[-3000:]


@contextmanager
def page(root: Path, given: Mapping[str, str]) -> Iterator[httpx.Client]:
    """Dagster's page, which puts what a person materializes into the daemon's queue, once it answers."""
    port = free_port()
    with (
        _dagster(root, given, "dagster_webserver", "-p", str(port), log="page.log"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        yield client


@contextmanager
def _dagster(
    root: Path, given: Mapping[str, str], *command: str, log: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Dagster's with the location of the project, killed in the end with all that it began."""
    with (root / log).open("ab") as written:
        process = subprocess.Popen(
            (sys.executable, "-m", *command, "-w", str(PROJECT / "workspace.yaml")),
            cwd=root,
            env=given,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(client: httpx.Client) -> bool:
    """Whether Dagster's page is there."""
    try:
        return client.get("/server_info").is_success
    except httpx.TransportError:
        return False


def materialize(client: httpx.Client, assets: Sequence[str]) -> None:
    """Ask for assets as the page's button does."""
    asked = {
        "selector": {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        },
        "mode": "default",
        "runConfigData": {},
    }
    answer = client.post("/graphql", json={"query": MATERIALIZE, "variables": {"asked": asked}})
    launched = answer.json()["data"]["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched


def begin() -> dict[str, Any]:
    """A first version is champion, bars are there, and two days in a row have drifted already."""
    from fakes.tiny_bundle import write_tiny_bundle

    from cryptoai_assets.defs.resources import configured_resource
    from cryptoai_assets.lib.releases import champion_forecaster
    from cryptoai_assets.lib.store import read_stored_parquet
    from cryptoai_assets.lib.watch import FALSE_ALARMS_A_MONTH, watch
    from edge_bundle.manifest import Manifest

    market = configured_resource()
    home = market.home
    bundle = write_tiny_bundle(
        Path("bundles/1").resolve(), seed=1, market=NAME, symbols=(SYMBOL,), horizons=(1,)
    )
    ended = TRAINED_UNTIL.isoformat()
    replace(Manifest.read(bundle), trained_until=ended, as_of=ended).write(bundle)
    with home.tracking.run("the first one", tags={"market": NAME}) as run_id:
        home.tracking.register(run_id, bundle, model=home.market.model, tags={"kind": "tiny_linear"})
    home.release_desk.promote(
        home.market.model, 1, actor="Ada", reason="a beginning", numbers={}, at=datetime.now(UTC)
    )
    _make((*INGESTED, "training_dataset", "online_bars"))
    champion, known = champion_forecaster(home.releases, home.market.model), home.training_dataset
    assert champion is not None
    frame = read_stored_parquet(known)
    actions = [
        watch(
            home,
            champion,
            frame.filter(pl.col("open_time") < TRAINED_UNTIL + timedelta(days=days)),
            false_alarms_a_month=FALSE_ALARMS_A_MONTH,
            policy=market.verdict_policy,
        ).verdict.action
        for days in (3, 4)
    ]
    _let_a_day_pass()
    return {"actions": actions}


def challenge() -> dict[str, Any]:
    """Put a version that knows nothing in the place of the newest candidate."""
    from fakes.tiny_bundle import write_tiny_bundle

    from cryptoai_assets.defs.resources import configured_resource
    from cryptoai_assets.lib.candidate import Candidate, bundle_folder
    from edge_bundle.manifest import Manifest, bundle_digest

    home = configured_resource().home
    candidate, folder = Candidate.read(home.candidate), bundle_folder(home.candidate)
    before = Manifest.read(folder)
    write_tiny_bundle(folder, seed=3, market=NAME, symbols=(SYMBOL,), horizons=(1,))
    manifest = replace(
        Manifest.read(folder), trained_until=before.trained_until, as_of=before.as_of, kind=before.kind
    )
    manifest.write(folder)
    with home.tracking.run("one that knows nothing", tags={"market": NAME}) as run_id:
        made = home.tracking.register(run_id, folder, model=home.market.model, tags={"kind": before.kind})
    replace(
        candidate,
        bundle_digest=bundle_digest(folder),
        feature_fingerprint=manifest.feature_fingerprint,
    ).registered(made.version, run_id).write(home.candidate)
    return {"version": made.version}


def ingest() -> dict[str, Any]:
    """Take in what the archive holds by now, and let a day pass."""
    _make(INGESTED)
    _let_a_day_pass()
    return {}


def runs() -> list[dict[str, Any]]:
    """Every run of the retraining, oldest first."""
    from dagster import RunsFilter

    from cryptoai_assets.defs.monitoring.sensors import retraining_job
    from cryptoai_assets.demo import project_instance

    with project_instance() as instance:
        found = instance.get_runs(RunsFilter(job_name=retraining_job.name))
    return [{"status": run.status.value, "tags": dict(run.tags)} for run in reversed(found)]


def _make(assets: tuple[str, ...]) -> None:
    """Make what is stale, as `make demo` does."""
    from cryptoai_assets.defs.resources import configured_resource
    from cryptoai_assets.demo import materialize_stale, project_instance

    with project_instance() as instance:
        materialize_stale(instance, configured_resource(), assets)


def _let_a_day_pass() -> None:
    """Let the schedule of the verdict, its ticks and its runs be a day older than they are.

    So the daemon finds that its time has come.
    """
    from dagster import RunsFilter
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.definitions.selector import InstigatorSelector
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        ScheduleInstigatorData,
        TickStatus,
    )
    from dagster._core.storage.tags import SCHEDULE_NAME_TAG, SCHEDULED_EXECUTION_TIME_TAG
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    from cryptoai_assets.defs.monitoring.schedules import verdict_every_day
    from cryptoai_assets.demo import project_instance

    name, day = verdict_every_day.name, timedelta(days=1)
    code = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="cryptoai_assets.definitions", working_directory="."), LOCATION
    )
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, REPOSITORY), name)
    selector = InstigatorSelector(location_name=LOCATION, repository_name=REPOSITORY, name=name).get_id()
    looked = ScheduleInstigatorData(
        verdict_every_day.cron_schedule, start_timestamp=time.time() - day.total_seconds()
    )
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.DECLARED_IN_CODE, looked)
    with project_instance() as instance:
        known = instance.get_instigator_state(origin.get_id(), selector)
        if known is None:
            instance.add_instigator_state(state)
            return
        instance.purge_ticks(known.instigator_origin_id, selector, time.time(), list(TickStatus))
        instance.update_instigator_state(known.with_data(looked))
        for run in instance.get_runs(RunsFilter(tags={SCHEDULE_NAME_TAG: name})):
            before = datetime.fromisoformat(run.tags[SCHEDULED_EXECUTION_TIME_TAG]) - day
            instance.add_run_tags(run.run_id, {SCHEDULED_EXECUTION_TIME_TAG: before.isoformat()})


def main() -> None:
    import logging

    for name in ("dagster", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    tasks = {task.__name__: task for task in (begin, runs, challenge, ingest)}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        answers.write(json.dumps(tasks[line.strip()]()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
