"""Decides, and tells it to Slack, in processes that end by SIGKILL at each of their steps in turn.

Run as ``python tests/fakes/mortal_teller.py FOLDER SLACK``. A step begins where a database is opened, which
is seen through Python's audit events, or where Slack has taken a message. After each death the same is begun
anew, and goes on to its end. The last line is JSON: the deaths, and each home's lines of the ledger.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fakes.slack_api import CHANNEL, TOKEN

from cryptoai_assets.lib.decisions import decision_alert, note_retraining
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import market_preset
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.channels import SlackBotChannel

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
NEVER = 0


@dataclass
class Steps:
    """Counts the steps, and ends the process before one of them."""

    last: int
    begun: int = 0

    def begin(self) -> None:
        self.begun += 1
        if self.begun == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, event: str, _: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect":
            self.begin()


@dataclass(frozen=True)
class MortalBot:
    bot: SlackBotChannel
    steps: Steps
    name: str = "slack-bot"

    def send(self, alert: Alert) -> str | None:
        left_out = self.bot.send(alert)
        self.steps.begin()
        return left_out

    def took(self, cause: str) -> bool:
        return self.bot.took(cause)


def decide_and_tell(home: Home, slack: str, steps: Steps, now: datetime) -> None:
    """What the sensors do: note a decision, tell every line of the ledger, deliver."""
    cause = home.root.name
    note_retraining(home, cause=cause, reason="a planted drift", at=NOW)
    for entry in home.ledger.entries():
        alert = decision_alert(entry, links={}, now=now)
        # All homes post into one channel.
        assert alert is not None
        Outbox(home.alerts_database).add(replace(alert, cause=f"{cause}:{alert.cause}"))
    channel = MortalBot(SlackBotChannel(TOKEN, CHANNEL, address=slack), steps)
    Outbox(home.alerts_database).deliver([channel], now)


def forked(home: Home, slack: str, last: int, now: datetime) -> int:
    """Status of a process that does it all, or dies at a step."""
    child = os.fork()
    if child == 0:
        steps = Steps(last)
        sys.addaudithook(steps.watch)
        decide_and_tell(home, slack, steps, now)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, slack: str) -> None:
    lines, step, status = {}, 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        step += 1
        home = Home(folder / f"home-{step}", market_preset("sample"))
        status = forked(home, slack, step, NOW)
        # After the wait of what a killed try has claimed.
        again = forked(home, slack, NEVER, NOW + timedelta(minutes=1))
        assert again == 0, again
        lines[home.root.name] = [entry.kind for entry in home.ledger.entries()]
    sys.stdout.write(json.dumps({"deaths": step - 1, "status": status, "lines": lines}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
