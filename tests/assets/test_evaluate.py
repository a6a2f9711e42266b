"""The command line of the evaluation: which rooms are measured, and what one of them needs."""

from pathlib import Path

import pytest

from cryptoai_assets.evaluate.__main__ import ROOMS, minutes_archive, rooms_asked
from cryptoai_assets.evaluate.loop_market import PLANS, ROOM, LoopError


def test_what_needs_a_file_of_ones_own_is_measured_by_name_only() -> None:
    assert set(ROOMS) - set(rooms_asked(None)) == {ROOM}
    assert rooms_asked(ROOM) == [ROOM]


def test_the_loop_without_its_minutes_says_how_to_name_them(tmp_path: Path) -> None:
    assert list(PLANS) == ["BTCUSD", "ETHUSD"]
    for symbol, plan in PLANS.items():
        command = rf"minutes of {symbol}.*ONLY=loop SYMBOL={symbol} CRYPTOAI_ARCHIVE=/path/candles\.parquet"
        with pytest.raises(LoopError, match=command):
            minutes_archive(None, plan)
        assert minutes_archive(str(tmp_path), plan) == tmp_path
