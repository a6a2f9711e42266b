"""Delivers an outbox in a process that ends by SIGKILL: ``python mortal_sender.py OUTBOX WEBHOOK MOMENT``.

The moment is ``before`` or ``after`` Slack takes the message, or ``never``.
"""

import os
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_bundle.alerts import Alert, Outbox
from edge_bundle.channels import SlackChannel

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class MortalChannel:
    slack: SlackChannel
    moment: str
    name: str = "slack"

    def send(self, alert: Alert) -> None:
        if self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        self.slack.send(alert)
        if self.moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    outbox, webhook, moment = sys.argv[1:]
    Outbox(Path(outbox)).deliver([MortalChannel(SlackChannel(webhook), moment)], NOW)
