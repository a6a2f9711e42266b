"""Settings of every test run: no telemetry, one thread, a printed seed, real data that may be absent."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "of the loopback server",
    "BENTOML_DO_NOT_TRACK": "True",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}
NEEDS_APT = "needs the apt package"

# A failing example is printed with what reproduces it; two shared cores make no fair deadline.
settings.register_profile("cryptoai", deadline=None, print_blob=True, derandomize=False)
# In CI a change is refused for what it did itself: the same examples every time.
settings.register_profile("ci", settings.get_profile("cryptoai"), derandomize=True)
CI = os.environ.get("CI") == "true"


def pytest_configure() -> None:
    """Set the environment before a test module imports a library that reads it."""
    os.environ.update(ENVIRONMENT)
    settings.load_profile("ci" if CI else "cryptoai")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> object:
    """In CI, where `.ci/packages` is installed, a test that misses an apt package fails."""
    report = yield
    if report.skipped and CI and NEEDS_APT in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"{report.longrepr[2]}; name it in .ci/packages"
    return report


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> Iterator[None]:
    """Let Dagster not ask an instance that is gone.

    An instance makes itself the current one, and in its end makes that current again which was so before. One
    that is collected as garbage ends late, and may bring back one that ended before it.
    """
    storage = sys.modules.get("dagster._core.storage.defs_state.base")
    with storage.set_defs_state_storage(None) if storage else nullcontext():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a real data file that is not part of the project; a test without it skips, naming it."""
    root = Path(os.environ.get("CRYPTOAI_SHARED_DATA", PROJECT.parent / "shared" / "data"))

    def path(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"real data {name} is absent; CRYPTOAI_SHARED_DATA names its folder")
        return root / name

    return path
