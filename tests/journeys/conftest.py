"""One project root in which everything was made once, shared by all journeys and by all workers."""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.project_root import Made, ProjectRoot

FINISHED = "made.json"


@dataclass(frozen=True, slots=True)
class Trained:
    """A root and what its first `make demo` made; never to be changed."""

    root: ProjectRoot
    made: Made


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Trained:
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "trained"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made_once(place)


def _made_once(place: Path) -> Trained:
    finished = place / FINISHED
    if not finished.is_file():
        finished.write_text(json.dumps(ProjectRoot.begin(place / "root").make()))
    return Trained(ProjectRoot(place / "root"), json.loads(finished.read_bytes()))
