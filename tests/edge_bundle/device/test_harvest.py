"""Every closed bar comes once, and what is missing is fetched later or told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.binance_server import LISTED, BinanceServer, Fault, binance_server, minute_candles
from fakes.scripted_server import reply, scripted_server
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from edge_bundle.device.database import DeviceDatabase, GapSummary, milliseconds
from edge_bundle.device.harvest import TRIES, Harvest
from edge_bundle.device.venue import PAGE_BARS, ReferencePrices, Venue
from edge_bundle.device.web import Web

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
MINUTE, SYMBOL = timedelta(minutes=1), "BTCUSDT"


@pytest.fixture
def server() -> Iterator[BinanceServer]:
    with binance_server(NOW) as running:
        yield running


def harvest(
    server: BinanceServer, folder: Path, *, hours: int = 2, fallback: ReferencePrices | None = None
) -> Harvest:
    web = Web("binanceus", server.url, timeout_seconds=5)
    return Harvest(
        DeviceDatabase(folder / "device.db"), Venue(web, "1m"), fallback, (SYMBOL,), timedelta(hours=hours)
    )


def assert_whole(found: Harvest, since: datetime, until: datetime) -> None:
    """Each minute of a span is there once, as the venue has it."""
    kept = found.database.candles_between(SYMBOL, since, until)
    assert_frame_equal(kept, minute_candles(since, (until - since) // MINUTE))


def test_closed_bars_come_and_the_running_one_does_not(server: BinanceServer, tmp_path: Path) -> None:
    program = harvest(server, tmp_path)
    done = program.run(NOW)
    assert done.failures == ()
    assert done.newest == {SYMBOL: datetime(2026, 3, 1, 11, 59, tzinfo=UTC)}
    assert_whole(program, NOW.replace(second=0) - PAGE_BARS * MINUTE, NOW.replace(second=0))


def test_bar_that_is_running_is_no_bar_however_far_is_asked(server: BinanceServer) -> None:
    venue = Venue(Web("binanceus", server.url, timeout_seconds=5), "1m")
    since = NOW.replace(second=0) - 3 * MINUTE
    assert_frame_equal(venue.candles(SYMBOL, since, NOW + 5 * MINUTE, now=NOW), minute_candles(since, 3))


def test_second_run_in_a_minute_asks_for_nothing_and_adds_nothing(
    server: BinanceServer, tmp_path: Path
) -> None:
    program = harvest(server, tmp_path)
    program.run(NOW)
    asked = len(server.pages())
    assert program.run(NOW).added == 0
    assert len(server.pages()) == asked


def test_history_is_fetched_page_by_page_until_it_reaches_far_enough(
    server: BinanceServer, tmp_path: Path
) -> None:
    program = harvest(server, tmp_path, hours=24 * 7)
    runs = 0
    while program.run(NOW).added:
        runs += 1
    assert runs == 2
    assert_whole(program, NOW.replace(second=0) - timedelta(days=7), NOW.replace(second=0))


def test_history_ends_where_the_venue_has_none(server: BinanceServer, tmp_path: Path) -> None:
    server.now = LISTED + timedelta(hours=20, seconds=1)
    program = harvest(server, tmp_path, hours=24 * 7)
    for _ in range(4):
        program.run(server.now)
    asked = len(server.pages())
    program.run(server.now)
    assert len(server.pages()) == asked
    assert_whole(program, LISTED, LISTED + timedelta(hours=20))
    # What lies before the listing was never missed.
    assert program.database.gaps([SYMBOL]) == [GapSummary(SYMBOL, 0, 0, 0)]


@pytest.mark.parametrize("away", [timedelta(hours=5), timedelta(days=3)])
def test_what_closed_while_the_network_was_gone_comes_later_the_newest_first(
    away: timedelta, server: BinanceServer, tmp_path: Path
) -> None:
    program = harvest(server, tmp_path)
    program.run(NOW)
    server.now = NOW + away
    server.will("time", Fault(hangs_up=True))
    assert program.run(server.now).added == 0
    back = program.run(server.now)
    assert back.failures == ()
    assert back.newest == {SYMBOL: server.now.replace(second=0) - MINUTE}
    assert_whole(program, NOW.replace(second=0) - timedelta(hours=2), server.now.replace(second=0))
    assert program.database.open_gaps(SYMBOL) == []


def test_bar_that_the_venue_has_later_fills_its_gap(server: BinanceServer, tmp_path: Path) -> None:
    slot = NOW.replace(second=0) - 10 * MINUTE
    server.absent.add(milliseconds(slot))
    program = harvest(server, tmp_path)
    program.run(NOW)
    assert program.database.open_gaps(SYMBOL) == [slot]
    server.absent.clear()
    assert program.run(NOW + MINUTE).added == 1
    [told] = program.database.gaps([SYMBOL])
    assert (told.open, told.refilled, told.not_to_be_had) == (0, 1, 0)
    assert_whole(program, slot - MINUTE, slot + MINUTE)


def test_bar_that_the_venue_never_has_is_asked_for_a_few_times_and_told(
    server: BinanceServer, tmp_path: Path
) -> None:
    server.absent.add(milliseconds(NOW.replace(second=0) - 10 * MINUTE))
    program = harvest(server, tmp_path)
    for _ in range(TRIES):
        program.run(NOW)
    asked = len(server.pages())
    program.run(NOW)
    assert len(server.pages()) == asked
    [told] = program.database.gaps([SYMBOL])
    assert (told.open, told.refilled, told.not_to_be_had) == (0, 0, 1)


def test_missing_bar_is_asked_for_once_a_run(server: BinanceServer, tmp_path: Path) -> None:
    late = NOW.replace(second=0)
    program = harvest(server, tmp_path)
    program.run(NOW)
    server.absent.add(milliseconds(late))
    for minutes in range(2, 2 + TRIES):
        assert program.database.gaps([SYMBOL])[0].not_to_be_had == 0
        server.now = NOW + minutes * MINUTE
        asked = len(server.pages())
        program.run(server.now)
        asked_for = [page for page in server.pages()[asked:] if _holds(page, late)]
        assert len(asked_for) == 1
    assert program.database.gaps([SYMBOL])[0].not_to_be_had == 1


def _holds(page: dict[str, str], slot: datetime) -> bool:
    return int(page["startTime"]) <= milliseconds(slot) <= int(page["endTime"])


def test_newest_bar_that_is_late_is_no_gap(server: BinanceServer, tmp_path: Path) -> None:
    newest = NOW.replace(second=0) - MINUTE
    server.absent.add(milliseconds(newest))
    program = harvest(server, tmp_path)
    program.run(NOW)
    assert program.database.open_gaps(SYMBOL) == []
    server.absent.clear()
    assert program.run(NOW).added == 1


@pytest.mark.parametrize("wrong", [timedelta(days=-1), timedelta(days=1)])
def test_wrong_clock_makes_no_bar_and_is_told(
    wrong: timedelta, server: BinanceServer, tmp_path: Path
) -> None:
    program = harvest(server, tmp_path)
    done = program.run(NOW + wrong)
    [told] = done.failures
    assert "set it" in told
    assert done.newest == {SYMBOL: NOW.replace(second=0) - MINUTE}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=b'{"code": -1'),
        Fault(body=b"[[1]]"),
        Fault(body=b'[["a", "b", "c", "d", "e", "f", "g"]]'),
        Fault(body=b'{"msg": "maintenance"}'),
        Fault(status=500),
        Fault(status=451),
        Fault(lost=20),
        Fault(hangs_up=True),
        Fault(reshapes=lambda rows: [*rows[:5], [rows[5][0], "-1", *rows[5][2:]], *rows[6:]]),
        Fault(reshapes=lambda rows: [*rows[:5], rows[4], *rows[5:]]),
        Fault(reshapes=lambda rows: [[row[0] + 1, *row[1:]] for row in rows]),
        Fault(reshapes=lambda rows: [[row[0], row[1], "NaN", *row[3:]] for row in rows]),
    ],
)
def test_answer_that_is_not_all_bars_adds_none_and_the_next_run_has_them(
    fault: Fault, server: BinanceServer, tmp_path: Path
) -> None:
    program = harvest(server, tmp_path)
    server.will("klines", fault)
    done = program.run(NOW)
    assert (done.added, len(done.failures)) == (0, 1)
    assert program.run(NOW).failures == ()
    assert_whole(program, NOW.replace(second=0) - timedelta(hours=2), NOW.replace(second=0))


def test_reference_prices_stand_in_while_the_venue_is_away_and_are_no_bars(
    server: BinanceServer, tmp_path: Path
) -> None:
    prices = [[milliseconds(NOW - 5 * MINUTE), 101.5], [milliseconds(NOW + MINUTE), 1.0]]
    server.will("time", Fault(status=451))
    with scripted_server() as coingecko:
        coingecko.will_answer(reply(json.dumps({"prices": prices})))
        web = Web("coingecko", coingecko.url, timeout_seconds=5)
        program = harvest(server, tmp_path, fallback=ReferencePrices(web))
        done = program.run(NOW)
    assert len(done.failures) == 1
    assert done.newest == {SYMBOL: None}
    with program.database.connection() as connection:
        found = connection.execute("SELECT symbol, price, source FROM reference_prices").fetchall()
    assert found == [(SYMBOL, 101.5, "coingecko")]


@settings(max_examples=8)
@given(
    absent=st.sets(st.integers(1, 110), max_size=8),
    minutes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    failing=st.sets(st.integers(0, 5)),
)
def test_whatever_is_missing_in_between_the_end_is_the_venue_itself(
    absent: set[int], minutes: list[int], failing: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bars that come late and answers that do not come change nothing of what is there in the end."""
    first = NOW.replace(second=0) - 120 * MINUTE
    with binance_server(NOW) as server:
        program = harvest(server, tmp_path_factory.mktemp("device"))
        server.absent.update(milliseconds(first + minute * MINUTE) for minute in absent)
        for place, later in enumerate(minutes):
            server.now += later * MINUTE
            if place in failing:
                server.will("klines", Fault(hangs_up=True))
            program.run(server.now)
        server.absent.clear()
        for _ in range(2):
            program.run(server.now)
        end = server.now.replace(second=0)
        kept = program.database.candles_between(SYMBOL, first, end)
        lost = {milliseconds(first + minute * MINUTE) for minute in absent}
        told = program.database.gaps([SYMBOL])[0].not_to_be_had
        assert set(minute_candles(first, (end - first) // MINUTE)["open_time"]) - set(kept["open_time"]) <= {
            first + minute * MINUTE for minute in absent
        }
        assert kept["open_time"].is_unique().all()
        assert len(lost) >= told == (end - first) // MINUTE - kept.height
