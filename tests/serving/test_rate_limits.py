"""Rate limits: what is taken comes back with time, callers take from themselves alone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryptoai_serving.rate_limits import PLACES, SETS, TABLE_BYTES, Allowance, RateLimits


@dataclass
class Seconds:
    """A clock that moves when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def limits(tmp_path: Path, clock: Seconds) -> Iterator[RateLimits]:
    with closing(RateLimits(tmp_path / "limits.bin", monotonic=clock)) as opened:
        yield opened


def test_all_requests_of_a_minute_may_come_at_once_and_no_more(limits: RateLimits) -> None:
    taken = [limits.take("a", a_minute=3) for _ in range(4)]
    assert [one.remaining for one in taken] == [2, 1, 0, 0]
    assert [one.retry_seconds for one in taken] == [0, 0, 0, 20]
    assert taken[0] == Allowance(limit=3, remaining=2, reset_seconds=20, retry_seconds=0)
    assert taken[3].reset_seconds == 60


@pytest.mark.parametrize("a_minute", [1, 3, 7, 60, 12_000])
@pytest.mark.parametrize("started", [0.0, 1000.0, 3e7 + 0.1])
def test_minute_holds_what_was_promised_however_it_is_rounded(
    limits: RateLimits, clock: Seconds, a_minute: int, started: float
) -> None:
    clock.now = started
    taken = [limits.take("a", a_minute=a_minute) for _ in range(a_minute + 1)]
    assert [one.retry_seconds > 0 for one in taken] == [False] * a_minute + [True]
    assert [one.remaining for one in taken] == [*range(a_minute - 1, -1, -1), 0]


def test_waiting_as_long_as_was_said_is_enough(limits: RateLimits, clock: Seconds) -> None:
    for _ in range(3):
        limits.take("a", a_minute=3)
    clock.now += limits.take("a", a_minute=3).retry_seconds
    assert limits.take("a", a_minute=3).retry_seconds == 0
    assert limits.take("a", a_minute=3).retry_seconds == 20


def test_quiet_time_saves_up_no_more_than_a_minute(limits: RateLimits, clock: Seconds) -> None:
    limits.take("a", a_minute=3)
    clock.now += 10_000
    assert limits.take("a", a_minute=3).remaining == 2


def test_callers_do_not_take_from_each_other(limits: RateLimits) -> None:
    assert limits.take("a", a_minute=1).retry_seconds == 0
    assert limits.take("a", a_minute=1).retry_seconds == 60
    assert limits.take("b", a_minute=1).retry_seconds == 0


def test_memory_is_bounded_and_who_has_least_left_is_remembered(limits: RateLimits, tmp_path: Path) -> None:
    limits.take("a", a_minute=1)
    for number in range(3 * SETS * PLACES):
        limits.take(f"stranger {number}", a_minute=60)
    assert limits.take("a", a_minute=1).retry_seconds > 0
    assert (tmp_path / "limits.bin").stat().st_size == TABLE_BYTES


def test_what_was_counted_before_the_machine_was_started_again_counts_no_more(
    limits: RateLimits, clock: Seconds
) -> None:
    limits.take("a", a_minute=1)
    clock.now = 5.0
    assert limits.take("a", a_minute=1).retry_seconds == 0
    assert limits.take("a", a_minute=1).retry_seconds == 60


def test_file_that_cannot_be_made_leaves_each_worker_to_count_by_itself(
    tmp_path: Path, clock: Seconds
) -> None:
    (tmp_path / "no folder").write_text("")
    with closing(RateLimits(tmp_path / "no folder" / "limits.bin", monotonic=clock)) as limits:
        assert limits.take("a", a_minute=1).retry_seconds == 0
        assert limits.take("a", a_minute=1).retry_seconds == 60
