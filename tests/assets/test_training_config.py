"""The configuration of a training: its size, and what is set beside it."""

from dataclasses import replace

from cryptoai_assets.defs.training.config import TrainingConfig
from cryptoai_assets.lib.training import FULL, SMALL


def test_search_is_lengthened_or_limited_beside_its_size() -> None:
    assert TrainingConfig().settings == SMALL
    assert TrainingConfig(size="full", trials=100).settings == replace(FULL, trials=100)
    # Without minutes each kind has its first trial all the same.
    assert TrainingConfig(search_minutes=0.0).settings == replace(SMALL, search_minutes=0.0)
