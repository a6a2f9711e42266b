"""A release desk in a process that ends by SIGKILL right before one of its steps.

Run as ``python tests/fakes/mortal_desk.py ROOT ACTION STEP`` with the action ``promote`` or ``recover``.
Files are watched through Python's audit events, so that nothing of the desk is replaced.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cryptoai_assets.lib.ledger import EntryKind, Ledger
from cryptoai_assets.lib.releases import ReleaseDesk
from cryptoai_assets.lib.tracking import Tracking
from edge_bundle.manifest import GRAPH_NAME

# What MLflow says of itself, for `pytestmark`: of its own classes and of its use of SQLAlchemy.
MLFLOW_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]
MODEL = "cryptoai-forecaster-sample"
AT = datetime(2019, 10, 1, 12, tzinfo=UTC)
# In their order; all before `writing the intent` leave the old version, all after it lead to the new one.
STEPS = (
    "copying the bundle",
    "placing the bundle",
    "writing the intent",
    "moving the alias",
    "drafting the channel",
    "replacing the channel",
    "writing the promotion",
    "ending",
)


def tracking_at(root: Path) -> Tracking:
    return Tracking(f"sqlite:///{root / 'mlflow.db'}", root / "mlruns", "cryptoai")


def desk_at(root: Path) -> ReleaseDesk:
    return ReleaseDesk(root / "releases", tracking_at(root), Ledger(root / "data" / "ledger.db"))


class Death:
    """Ends the process before one step."""

    def __init__(self, step: str) -> None:
        assert step in (*STEPS, "never"), step
        self.step = step

    def before(self, step: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook: which file is about to be touched."""
        if event == "shutil.copyfile" and self.draft_of(arguments[1]) and GRAPH_NAME in str(arguments[1]):
            self.before("copying the bundle")
        elif event == "os.rename" and self.draft_of(Path(arguments[0]) / "any"):
            self.before("placing the bundle")
        elif event == "open" and Path(str(arguments[0])).match(".channel.json.*.tmp"):
            self.before("drafting the channel")
        elif event == "os.rename" and str(arguments[1]).endswith("channel.json"):
            self.before("replacing the channel")

    @staticmethod
    def draft_of(path: object) -> bool:
        folder = Path(str(path)).parent
        return folder.parent.name == "versions" and folder.suffix == ".tmp"


def mortal(root: Path, death: Death) -> ReleaseDesk:
    class MortalLedger(Ledger):
        def append(self, kind: EntryKind, **line: Any) -> int:
            death.before(f"writing the {kind}")
            return super().append(kind, **line)

    class MortalTracking(Tracking):
        def set_alias(self, model: str, alias: str, version: int) -> None:
            death.before("moving the alias")
            super().set_alias(model, alias, version)

    desk = desk_at(root)
    tracking = MortalTracking(desk.tracking.uri, desk.tracking.artifact_root, desk.tracking.experiment)
    return ReleaseDesk(desk.root, tracking, MortalLedger(desk.ledger.path))


if __name__ == "__main__":
    place, action, step = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    death = Death(step)
    desk = mortal(place, death)
    sys.addaudithook(death.watch)
    if action == "promote":
        desk.promote(MODEL, 2, actor="gate", reason="better", numbers={"promote": True}, at=AT)
    else:
        desk.finish_open_intents(AT)
    death.before("ending")
