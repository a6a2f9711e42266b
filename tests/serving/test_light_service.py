"""What the service carries: it loads none of the training stack, whatever is installed beside it."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
HEAVY = ("mlflow", "dagster", "torch", "xgboost", "evidently", "pandas", "sklearn")
OWN = ("cryptoai_assets", "cryptoai_monitoring")


def test_service_loads_nothing_of_the_training_stack() -> None:
    code = (
        "import sys, cryptoai_serving.service\n"
        f"print(sorted({{name.partition('.')[0] for name in sys.modules}} & set({HEAVY + OWN!r})))"
    )
    found = subprocess.run(
        (sys.executable, "-c", code), cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]", found.stdout


def test_service_creates_nothing_when_it_is_imported(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import cryptoai_serving.service"
    subprocess.run((sys.executable, "-c", code), cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
