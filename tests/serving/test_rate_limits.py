"""Rate limits: what is taken comes back with time, and callers take from themselves alone."""

from dataclasses import dataclass

from cryptoai_serving.rate_limits import MOST_CALLERS, Allowance, RateLimits


@dataclass
class Seconds:
    """A clock that moves when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_all_requests_of_a_minute_may_come_at_once_and_no_more() -> None:
    limits = RateLimits(monotonic=Seconds())
    taken = [limits.take("a", a_minute=3) for _ in range(4)]
    assert [one.remaining for one in taken] == [2, 1, 0, 0]
    assert [one.retry_seconds for one in taken] == [0, 0, 0, 20]
    assert taken[0] == Allowance(limit=3, remaining=2, reset_seconds=20, retry_seconds=0)
    assert taken[3].reset_seconds == 60


def test_waiting_as_long_as_was_said_is_enough() -> None:
    clock = Seconds()
    limits = RateLimits(monotonic=clock)
    for _ in range(3):
        limits.take("a", a_minute=3)
    clock.now += limits.take("a", a_minute=3).retry_seconds
    assert limits.take("a", a_minute=3).retry_seconds == 0
    assert limits.take("a", a_minute=3).retry_seconds == 20


def test_quiet_time_saves_up_no_more_than_a_minute() -> None:
    clock = Seconds()
    limits = RateLimits(monotonic=clock)
    limits.take("a", a_minute=3)
    clock.now += 10_000
    assert limits.take("a", a_minute=3).remaining == 2


def test_callers_do_not_take_from_each_other() -> None:
    limits = RateLimits(monotonic=Seconds())
    assert limits.take("a", a_minute=1).retry_seconds == 0
    assert limits.take("a", a_minute=1).retry_seconds == 60
    assert limits.take("b", a_minute=1).retry_seconds == 0


def test_memory_is_bounded_and_who_asks_on_is_remembered() -> None:
    limits = RateLimits(monotonic=Seconds())
    limits.take("a", a_minute=1)
    for number in range(MOST_CALLERS + 10):
        limits.take(f"stranger {number}", a_minute=1)
        assert limits.take("a", a_minute=1).retry_seconds > 0
    assert limits.take("stranger 0", a_minute=1).retry_seconds == 0
