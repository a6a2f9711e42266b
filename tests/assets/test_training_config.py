"""The configuration of a training: its size, and what is set beside it."""

from dataclasses import replace

from cryptoai_assets.defs.training.config import TrainingConfig
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.training import FULL, SMALL


def test_search_is_lengthened_or_limited_beside_its_size() -> None:
    market = market_preset("sample")
    assert TrainingConfig().training(market) == SMALL
    assert TrainingConfig(size="full", trials=100).training(market) == replace(FULL, trials=100)
    # Without minutes each kind has its first trial all the same.
    assert TrainingConfig(search_minutes=0.0).training(market) == replace(SMALL, search_minutes=0.0)
