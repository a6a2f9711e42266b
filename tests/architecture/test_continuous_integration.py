"""What is particular to the checks' run on a server."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_skip_that_lacks_an_apt_package_fails_in_ci_and_only_there(tmp_path: Path) -> None:
    (tmp_path / "test_lacking.py").write_text(
        "import pytest\n\ndef test_browser():\n    pytest.skip('needs the apt package chromium')\n"
        "\ndef test_data():\n    pytest.skip('real data is absent')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", str(tmp_path)]
    closing = {}
    for ci in ("true", "false"):
        environment = {"CI": ci, "PYTHONPATH": str(PROJECT / "tests"), "NO_COLOR": "1"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        closing[ci] = done.stdout.splitlines()[-1]
    assert "1 failed, 1 skipped" in closing["true"]
    assert "2 skipped" in closing["false"]
    assert "failed" not in closing["false"]
