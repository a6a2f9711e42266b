"""A device whose power is cut, whose venue bans and lies, whose clock is wrong, loses and invents nothing."""

import secrets
from pathlib import Path

import pytest
from storm.device import WEEK_LIVES, outlived


@pytest.mark.timeout(600)
def test_device_outlives_a_storm(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"make storm SEED={seed}")
    done = outlived(tmp_path, seed=seed, kills=WEEK_LIVES // 10)
    assert done.bars > 0
    assert done.forecasts > 0
