"""From a verdict to a run and to Slack, by Dagster's daemon in processes that die at any of their steps.

Run as ``python tests/fakes/mortal_sensors.py FOLDER SLACK STEP …``: for each step a platform of its own, of
which the daemon ends by SIGKILL there, and another daemon goes on. A step begins where a database is opened,
which is seen through Python's audit events, or where Slack has taken a message. Without any step it says how
many there are. The last line is JSON.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from fakes.dagster_daemon import evaluate
from fakes.mortal_desk import AT
from fakes.mortal_teller import NEVER, MortalBot, Steps
from fakes.slack_api import CHANNEL

from cryptoai_assets.definitions import defs
from cryptoai_assets.defs.monitoring.sensors import (
    AFTERWARDS,
    CAUSE_TAG,
    TRAINING,
    decisions_are_told,
    drift_asks_for_training,
    outbox_is_delivered,
)
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.watch import VERDICT_NAME
from edge_bundle.alerts import Channel, Outbox
from edge_bundle.channels import SlackBotChannel

QUEUED = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}}
LOCATION = """
from fakes.mortal_sensors import location
defs = location({root!r}, {slack!r}, {time!r})
"""
PATIENCE_SECONDS = 120.0
WHOLE = defs()
# Of the others, which no run here comes to, making a location would take long.
TRAINED = (TRAINING | AFTERWARDS).resolve(WHOLE.resolve_asset_graph())
ASSETS = [
    asset for asset in WHOLE.assets or () if isinstance(asset, dg.AssetsDefinition) and asset.keys <= TRAINED
]
STEPS = Steps(NEVER)


class Bot(AlertsResource):
    """Slack's app, which counts a step when it has posted."""

    def channels(self, show: Callable[[str], None]) -> list[Channel]:
        bots = [one for one in super().channels(show) if isinstance(one, SlackBotChannel)]
        return [MortalBot(bot, STEPS) for bot in bots]


def location(root: str, slack: str, time: str) -> dg.Definitions:
    """What of the platform turns a verdict into a run, and tells it."""
    return dg.Definitions(
        assets=ASSETS,
        sensors=[drift_asks_for_training, decisions_are_told, outbox_is_delivered],
        resources={
            **(WHOLE.resources or {}),
            "market": MarketResource(name="sample", root=root, time=time),
            "alerts": Bot(slack_address=slack, slack_channel=CHANNEL),
        },
    )


def cause(root: Path) -> str:
    return f"retrain:cryptoai-forecaster-sample:{root.name}"


def conclude(root: Path) -> None:
    """Let the newest verdict ask for a training; all platforms post into one channel."""
    folder = MarketResource(name="sample", root=str(root)).home.monitoring
    folder.mkdir(parents=True)
    record = {
        "action": "retrain",
        "reason": f"planted in {root.name}",
        "cause": cause(root),
        "window_end": AT.isoformat(),
        "drifted": ["return_1"],
    }
    (folder / VERDICT_NAME).write_text(json.dumps(record))


def forked(root: Path, slack: str, last: int, at: datetime) -> tuple[int, int]:
    """Status of a process in which the daemon does it all or dies at a step, and how many steps it began."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        STEPS.last, STEPS.begun = last, 0
        sys.addaudithook(STEPS.watch)
        daemon_goes_round(root, slack, at)
        os.write(writing, str(STEPS.begun).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(said or 0)


def daemon_goes_round(root: Path, slack: str, at: datetime) -> None:
    """Let the sensors be evaluated until what was asked for is told."""
    place = LOCATION.format(root=str(root), slack=slack, time=at.isoformat())
    folder, pause, deadline = root / "dagster", threading.Event(), time.monotonic() + PATIENCE_SECONDS
    folder.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder), overrides=QUEUED) as instance:
        evaluate(root, instance, place)
        while not told(root, at):
            assert time.monotonic() < deadline, "nothing was told"
            pause.wait(0.2)
            evaluate(root, instance, place)


def told(root: Path, at: datetime) -> bool:
    home = MarketResource(name="sample", root=str(root), time=at.isoformat()).home
    return home.alerts_database.is_file() and any(
        one.delivered_at for one in Outbox(home.alerts_database).deliveries()
    )


def outlived(folder: Path, slack: str, step: int) -> dict[str, Any]:
    """What is there in the end, when one daemon was to die at a step and another one went on.

    How many steps there are differs from run to run with how long things take: one may be through before.
    """
    root = folder / f"platform-{step}"
    conclude(root)
    status, _ = forked(root, slack, step, AT)
    assert status in {0, -signal.SIGKILL}, status
    died = status == -signal.SIGKILL
    # After the wait of what a killed try has claimed.
    status, _ = forked(root, slack, NEVER, AT + timedelta(minutes=2))
    assert status == 0, status
    home = MarketResource(name="sample", root=str(root)).home
    with dg.DagsterInstance.local_temp(str(root / "dagster"), overrides=QUEUED) as instance:
        runs = [run.tags[CAUSE_TAG] for run in instance.get_runs()]
    return {
        "died": died,
        "lines": [entry.kind for entry in home.ledger.entries()],
        "runs": runs == [cause(root)],
    }


def main(folder: Path, slack: str, steps: Sequence[int]) -> None:
    logging.disable(logging.CRITICAL)
    if not steps:
        root = folder / "platform-calm"
        conclude(root)
        status, begun = forked(root, slack, NEVER, AT)
        assert status == 0, status
        sys.stdout.write(json.dumps({"steps": begun}) + "\n")
        return
    found = {step: outlived(folder, slack, step) for step in steps}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    # The location imports this module by its name: there is one of it, which counts.
    sys.modules["fakes.mortal_sensors"] = sys.modules["__main__"]
    main(Path(sys.argv[1]), sys.argv[2], [int(step) for step in sys.argv[3:]])
