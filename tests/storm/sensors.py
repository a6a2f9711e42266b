"""From a verdict to a training and to Slack, the daemon killed at many of its steps."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from fakes.project_root import PROJECT
from fakes.slack_api import TOKEN, slack_api

DRIVER = PROJECT / "tests" / "fakes" / "mortal_sensors.py"
# Of about 230 steps; in the tests a tenth of them.
DEATHS = 40


def outlived(folder: Path, *, seed: int, deaths: int) -> int:
    """Let daemons die at steps drawn by seed, and hold what is there in the end against what should be.

    Returns
    -------
    int
        Steps that there are.
    """
    with slack_api() as slack:
        steps: int = _ran(folder, slack.url)["steps"]
        told = len(slack.posted)
        chance = random.Random(seed)
        died_at = sorted(chance.sample(range(1, steps), k=min(deaths, steps - 1)))
        found = _ran(folder, slack.url, *map(str, died_at))
        died = [one.pop("died") for one in found.values()]
        assert 4 * sum(died) >= len(died_at), "hardly a daemon died: they were through before"
        assert found == {str(step): {"lines": ["retraining"], "runs": True} for step in died_at}
        texts = [message["text"] for message in slack.posted[told:]]
        asked = "cryptoai-forecaster-sample: a training was asked for: planted in platform-"
        assert sorted(texts) == sorted(f"{asked}{step}" for step in died_at)
    return steps


def _ran(folder: Path, slack: str, *steps: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(DRIVER), str(folder), slack, *steps],
        env={
            **os.environ,
            "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}",
            "CRYPTOAI_MARKET": "sample",
            "CRYPTOAI_LOOK_SECONDS": "1",
            "CRYPTOAI_SLACK_TOKEN": TOKEN,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
