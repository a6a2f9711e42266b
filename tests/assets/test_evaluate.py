"""The command line of the evaluation: which rooms are measured, and what one of them needs."""

from pathlib import Path

import pytest

from cryptoai_assets.evaluate.__main__ import ROOMS, minutes_archive, rooms_asked
from cryptoai_assets.evaluate.loop_market import ROOM, LoopError


def test_what_needs_a_file_of_ones_own_is_measured_by_name_only() -> None:
    assert set(ROOMS) - set(rooms_asked(None)) == {ROOM}
    assert rooms_asked(ROOM) == [ROOM]


def test_the_loop_without_its_minutes_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(LoopError, match=r"make evaluate ONLY=loop CRYPTOAI_ARCHIVE=/path/candles\.parquet"):
        minutes_archive(None)
    assert minutes_archive(str(tmp_path)) == tmp_path
