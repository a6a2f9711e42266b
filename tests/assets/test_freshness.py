"""Freshness is judged by bars received against bars due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.freshness import FreshnessWatch

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def watch(*symbols: str, since: datetime = NOON, tolerance: timedelta = 30 * SECOND) -> FreshnessWatch:
    return FreshnessWatch(symbols or ("BTCUSDT",), MINUTE, since, tolerance)


def test_stream_that_delivers_each_bar_is_never_late() -> None:
    fresh = watch()
    for minute in range(100):
        fresh.received("BTCUSDT", [NOON + minute * MINUTE])
        closed = NOON + (minute + 1) * MINUTE
        for seconds in (0, 5, 59, 60, 89):
            assert fresh.late(closed + seconds * SECOND) == ()


def test_stream_that_never_delivers_is_late_half_an_interval_after_its_first_bar_was_due() -> None:
    silent = watch(since=NOON + 20 * SECOND)
    due = NOON + 2 * MINUTE
    assert silent.late(due + 29 * SECOND) == ()
    (alarm,) = silent.late(due + 30 * SECOND)
    assert (alarm.symbol, alarm.bars_due, alarm.newest, alarm.due_since) == ("BTCUSDT", 1, None, due)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 300))
def test_silence_is_an_alarm_within_two_intervals_and_never_before_a_bar_is_due(
    bars: int, tolerance: int, silence: int
) -> None:
    stream = watch(tolerance=tolerance * SECOND)
    stream.received("BTCUSDT", [NOON + bar * MINUTE for bar in range(bars + 1)])
    closed = NOON + (bars + 1) * MINUTE
    alarms = stream.late(closed + silence * SECOND)
    if silence >= 120:
        assert alarms
    if silence < 60 + tolerance:
        assert not alarms


def test_bars_due_are_counted_from_the_newest_received() -> None:
    stream = watch()
    stream.received("BTCUSDT", [NOON, NOON + MINUTE])
    (told,) = stream.verdicts(NOON + 6 * MINUTE)
    assert (told.bars_due, told.newest, told.due_since) == (4, NOON + MINUTE, NOON + 3 * MINUTE)
    stream.received("BTCUSDT", [NOON + 5 * MINUTE])
    (told,) = stream.verdicts(NOON + 6 * MINUTE)
    assert (told.bars_due, told.due_since, told.late) == (0, None, False)


def test_one_silent_symbol_is_named_among_others() -> None:
    stream = watch("BTCUSDT", "ETHUSDT")
    stream.received("BTCUSDT", [NOON + 4 * MINUTE])
    assert [alarm.symbol for alarm in stream.late(NOON + 5 * MINUTE)] == ["ETHUSDT"]


def test_an_older_bar_that_comes_again_does_not_make_a_stream_look_older() -> None:
    stream = watch()
    stream.received("BTCUSDT", [NOON + 4 * MINUTE])
    stream.received("BTCUSDT", [NOON])
    stream.received("BTCUSDT", [])
    assert stream.verdicts(NOON + 5 * MINUTE)[0].newest == NOON + 4 * MINUTE


@pytest.mark.parametrize("seconds", [-1, 61])
def test_tolerance_with_which_an_alarm_would_come_too_late_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="tolerance is"):
        watch(tolerance=seconds * SECOND)
