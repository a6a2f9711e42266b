"""Patience: how often is asked again, how the waits grow, and what any wait that a server asks for means."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.patience import Patience, SourceUnavailableError, asked_wait

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONGEST = 30.0


def waits_of(error: Exception, *, tries: int = 4, jitter: float = 0.0) -> list[float]:
    """Waits until it is given up, where each try ends in the same error."""
    waits: list[float] = []
    patience = Patience(
        tries, first_seconds=1, longest_seconds=LONGEST, sleep=waits.append, jitter=lambda: jitter
    )

    def ask() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        patience.call(ask)
    assert raised.value is error
    return waits


@given(jitter=st.floats(0, 1, exclude_max=True), tries=st.integers(1, 12))
def test_waits_double_up_to_the_longest_and_never_vanish(jitter: float, tries: int) -> None:
    waits = waits_of(SourceUnavailableError("down"), tries=tries, jitter=jitter)
    limits = [min(2.0**place, LONGEST) for place in range(tries - 1)]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, limits, strict=True))


def test_wait_that_is_asked_for_is_kept_unless_it_is_too_long() -> None:
    assert waits_of(SourceUnavailableError("busy", wait_seconds=7)) == [7, 7, 7]
    assert waits_of(SourceUnavailableError("busy", wait_seconds=LONGEST + 1)) == []


def test_what_is_no_outage_is_raised_at_once() -> None:
    assert waits_of(ValueError("a mistake of ours")) == []


def test_answer_ends_the_tries() -> None:
    answers = iter([SourceUnavailableError("down"), 42])

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, SourceUnavailableError):
            raise answer
        return answer

    patience = Patience(3, first_seconds=1, longest_seconds=9, sleep=lambda _: None, jitter=lambda: 0.0)
    assert patience.call(ask) == 42


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("120", 120.0),
        ("-5", 0.0),
        ("Sun, 01 Mar 2026 12:00:42 GMT", 42.0),
        ("Sun, 01 Mar 2026 12:00:42 -0000", 42.0),
        ("Sun, 01 Mar 2026 14:00:42 +0200", 42.0),
        ("Sun, 01 Mar 2020 12:00:00 GMT", 0.0),
        ("Sun, 99999999999999999999 Mar 2026 12:00:00 GMT", None),
        ("soon", None),
        ("nan", None),
        ("", None),
        (None, None),
    ],
)
def test_wait_is_read_from_seconds_and_from_dates(asked: str | None, seconds: float | None) -> None:
    assert asked_wait(asked, NOW) == seconds


@given(asked=st.text(max_size=40) | st.floats().map(str) | st.dates().map("Sun, {:%d %b %Y} 12:00:00".format))
def test_any_header_is_a_wait_or_none(asked: str) -> None:
    wait = asked_wait(asked, NOW)
    assert wait is None or wait >= 0
    if wait is not None and not wait <= timedelta(days=1).total_seconds():
        assert waits_of(SourceUnavailableError("busy", wait_seconds=wait)) == []
