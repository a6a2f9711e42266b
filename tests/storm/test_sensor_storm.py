"""A verdict is one training, one line and one message, at whatever step the daemon is killed."""

import secrets
from pathlib import Path

import pytest
from storm.sensors import DEATHS, outlived


@pytest.mark.timeout(1200)
def test_verdict_is_one_training_one_line_and_one_message_wherever_the_daemon_dies(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"make storm SEED={seed}")
    assert outlived(tmp_path, seed=seed, deaths=DEATHS // 10) > DEATHS
