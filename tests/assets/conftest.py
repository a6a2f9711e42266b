"""A real MLflow with three registered bundles, made once and copied for each test."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

VERSIONS = 3


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root with versions 1 to 3 in MLflow, of which version 1 is released; never to be changed."""
    from fakes.mortal_desk import AT, MODEL, desk_at, tracking_at  # MLflow is imported by those who need it
    from fakes.tiny_bundle import write_tiny_bundle

    root = tmp_path_factory.mktemp("registry")
    tracking = tracking_at(root)
    for version in range(1, VERSIONS + 1):
        bundle = write_tiny_bundle(root / "bundles" / str(version), seed=version)
        with tracking.run(f"training {version}", tags={"market": "sample"}) as run_id:
            tracking.register(run_id, bundle, model=MODEL, tags={"kind": "tiny_linear"})
    desk_at(root).promote(MODEL, 1, actor="gate", reason="first version", numbers={}, at=AT)
    return root


@pytest.fixture
def copied_registry(registry: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a root of one's own: the database, the releases and the ledger; artifacts are shared."""

    def copy() -> Path:
        root = tmp_path / "root"
        shutil.copytree(registry / "releases", root / "releases")
        shutil.copytree(registry / "data", root / "data")
        shutil.copy(registry / "mlflow.db", root / "mlflow.db")
        return root

    return copy
