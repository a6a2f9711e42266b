"""Independent pieces: in order, really at the same time, and an error is not swallowed."""

import threading
from functools import partial

import pytest

from cryptoai_assets.lib.side_by_side import side_by_side

SECONDS = 30.0


def test_results_come_in_the_order_of_the_pieces() -> None:
    assert side_by_side([partial(pow, 2, k) for k in range(9)], threads=3) == [2**k for k in range(9)]


def test_as_many_pieces_run_at_once_as_there_are_threads() -> None:
    meeting = threading.Barrier(3)
    places = side_by_side([partial(meeting.wait, SECONDS) for _ in range(3)], threads=3)
    assert sorted(places) == [0, 1, 2]


def test_error_of_a_piece_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side([partial(divmod, 1, 1), partial(divmod, 1, 0)], threads=2)
