"""A training and a release that are killed by SIGKILL at their worst moments, and started again."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS
from fakes.mortal_desk import MLFLOW_WARNINGS
from fakes.platform_places import places_disagreeing
from fakes.project_root import KEEPING_RECORD, NEVER, REPLACING_CHANNEL, WRITING_GRAPH, Made, ProjectRoot

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.candidate import RECORD_NAME
from cryptoai_assets.lib.tracking import CHAMPION

pytestmark = [*MLFLOW_WARNINGS, *EVIDENTLY_WARNINGS]


@pytest.fixture(scope="module")
def killed(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    """The candidate is gone, and nothing was ever registered or released; then three deaths, one finish."""
    root = trained.root.copied_to(tmp_path_factory.mktemp("killed") / "root")
    home = MarketResource(name="sample", root=str(root.path)).home
    shutil.rmtree(home.candidate)
    shutil.rmtree(home.releases)
    home.ledger.path.unlink()
    (root.path / "mlflow.db").unlink()
    die(root, WRITING_GRAPH)
    assert not (home.candidate / RECORD_NAME).exists()
    die(root, KEEPING_RECORD)
    assert not (home.candidate / RECORD_NAME).exists()
    assert [version.version for version in home.tracking.versions(home.market.model)] == [1]
    die(root, REPLACING_CHANNEL)
    assert len(home.ledger.open_intents()) == 1
    assert home.tracking.alias(home.market.model, CHAMPION) is not None
    return root.path, root.made_by(root.materialize(until=NEVER))


def die(root: ProjectRoot, step: str) -> None:
    run = root.materialize(until=step)
    assert run.returncode == -signal.SIGKILL, run.stdout[-3000:] + run.stderr[-3000:]


def test_last_start_makes_only_what_the_kill_interrupted(killed: Any) -> None:
    _, made = killed
    assert list(made) == ["released_bundle", "drift_report"]


def test_after_the_kills_one_version_is_champion_in_every_place(killed: Any) -> None:
    root, _ = killed
    assert places_disagreeing(root) == []


def test_release_is_told_once_in_the_ledger(killed: Any) -> None:
    root, _ = killed
    entries = MarketResource(name="sample", root=str(root)).home.ledger.entries()
    assert [e.kind for e in entries] == ["stretch_use", "intent", "promotion"]
