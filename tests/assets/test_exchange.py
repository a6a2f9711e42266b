"""Candles over REST: what is asked, what is asked again, what is refused, and what never leaves a fetch."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import polars as pl
import pytest
from fakes.binance_server import (
    HANGS_UP,
    INVALID_SYMBOL,
    LISTED,
    MINUTE_MS,
    PAGE_BARS,
    BinanceServer,
    Fault,
    Row,
    binance_server,
    kline,
    minute_candles,
)
from fakes.scripted_server import ScriptedServer, reply, scripted_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.exchange import VENUES, ExchangeSource
from cryptoai_assets.lib.sources.patience import Patience
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import FACT_SCHEMA, validated_facts

MINUTE = timedelta(minutes=1)
START = LISTED + timedelta(days=3)
OUR_TIME = START + timedelta(days=30, seconds=12)
TRIES = 3


@pytest.fixture
def server() -> Iterator[BinanceServer]:
    with binance_server(now=OUR_TIME) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def source(server: BinanceServer, waits: list[float]) -> Iterator[ExchangeSource]:
    asked = exchange_source(server.url, waits)
    yield asked
    asked.close()


def exchange_source(
    url: str, waits: list[float], venue: str = "Binance.US", **chosen: object
) -> ExchangeSource:
    """A source that writes its waits down in place of waiting."""
    patience = Patience(TRIES, first_seconds=1, longest_seconds=60, sleep=waits.append, jitter=lambda: 0.0)
    given_settings = {
        "base_url": url,
        "patience": patience,
        "timeout_seconds": 5.0,
        "clock": lambda: OUR_TIME,
        "milliseconds_between_requests": 0.0,
        **chosen,
    }
    return ExchangeSource(venue, "1m", **given_settings)


def slot(minute: int) -> datetime:
    return START + minute * MINUTE


def milliseconds(minute: int) -> int:
    return int(slot(minute).timestamp() * 1000)


# What is asked, and what comes.


def test_span_of_many_pages_comes_whole_and_in_order(server: BinanceServer, source: ExchangeSource) -> None:
    fetched = source.fetch("BTCUSDT", START, slot(2500))
    assert_frame_equal(fetched.candles, minute_candles(START, 2500))
    assert dict(fetched.candles.schema) == CANDLE_SCHEMA
    assert fetched.facts.is_empty()
    assert [int(page["startTime"]) for page in server.pages()] == [milliseconds(n) for n in (0, 1000, 2000)]
    assert [int(page["limit"]) for page in server.pages()] == [1000, 1000, 500]


def test_pages_come_one_by_one_and_only_as_they_are_wanted(
    server: BinanceServer, source: ExchangeSource
) -> None:
    pages = source.fetch_pages("BTCUSDT", START, slot(2500))
    assert_frame_equal(next(pages).candles, minute_candles(START, PAGE_BARS))
    assert len(server.pages()) == 1
    assert [page.candles.height for page in pages] == [1000, 500]


def test_fetch_taken_up_where_another_ended_gives_the_same_rows(source: ExchangeSource) -> None:
    whole = source.fetch("BTCUSDT", START, slot(90)).candles
    parts = [source.fetch("BTCUSDT", slot(a), slot(b)).candles for a, b in ((0, 37), (37, 38), (38, 90))]
    assert_frame_equal(pl.concat(parts), whole)


@pytest.mark.parametrize(
    ("start", "end", "first", "bars"),
    [
        (slot(0), slot(0), 0, 0),
        (slot(5), slot(3), 0, 0),
        (slot(0) + timedelta(seconds=1), slot(3), 1, 2),
        (slot(0), slot(3) + timedelta(seconds=1), 0, 4),
        (slot(0), slot(3) - timedelta(microseconds=1), 0, 3),
        (slot(7).astimezone(tz=None), slot(9), 7, 2),
    ],
)
def test_span_is_half_open_to_the_microsecond(
    start: datetime, end: datetime, first: int, bars: int, source: ExchangeSource
) -> None:
    assert_frame_equal(source.fetch("BTCUSDT", start, end).candles, minute_candles(slot(first), bars))


def test_span_before_the_listing_is_passed_over(source: ExchangeSource) -> None:
    fetched = source.fetch("BTCUSDT", LISTED - timedelta(days=400), LISTED + 3 * MINUTE)
    assert_frame_equal(fetched.candles, minute_candles(LISTED, 3))
    assert fetched.facts.is_empty()


def test_span_that_lies_before_every_bar_is_given_up_without_asking_it_page_by_page(
    server: BinanceServer, source: ExchangeSource
) -> None:
    assert source.fetch("BTCUSDT", LISTED - timedelta(days=400), LISTED).candles.is_empty()
    assert len(server.pages()) == 2


@pytest.mark.parametrize(("chosen", "seconds"), [({"milliseconds_between_requests": 30.0}, 0.06), ({}, 0.12)])
def test_rate_that_is_set_or_that_the_venue_allows_is_kept(
    chosen: dict[str, float], seconds: float, server: BinanceServer, waits: list[float]
) -> None:
    source = exchange_source(server.url, waits, **{"milliseconds_between_requests": None, **chosen})
    begun = time.monotonic()
    source.fetch("BTCUSDT", START, slot(1))
    assert time.monotonic() - begun >= seconds - 0.003  # two pauses between three questions; ccxt rounds
    assert len(server.asked) == 3
    source.close()


def test_server_that_gives_less_than_asked_is_asked_on(server: BinanceServer, source: ExchangeSource) -> None:
    server.will("klines", *[Fault(reshapes=lambda rows: rows[:7])] * 5)
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(50)).candles, minute_candles(START, 50))


def test_markets_are_asked_for_once_and_of_the_given_server(
    server: BinanceServer, source: ExchangeSource
) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "BTCUSDT"):
        source.fetch(symbol, START, slot(1))
    assert [path for path in server.asked if "exchangeInfo" in path] == ["/api/v3/exchangeInfo"]


def test_given_server_may_lie_under_a_path(server: BinanceServer, waits: list[float]) -> None:
    source = exchange_source(f"{server.url}/binance/", waits)
    assert source.fetch("BTCUSDT", START, slot(2)).candles.height == 2
    assert all(path.startswith("/binance/api/v3/") for path in server.asked)
    source.close()


@pytest.mark.parametrize("venue", [*VENUES, "okx", "bybit", "gemini"])
def test_no_address_of_the_venue_is_left_when_a_server_is_given(venue: str) -> None:
    source = exchange_source("http://127.0.0.1:9", [], venue)
    addresses = json.dumps(source._client.urls["api"])
    assert addresses.count("http") == addresses.count("http://127.0.0.1:9") > 0


def test_making_a_source_asks_nothing(server: BinanceServer, source: ExchangeSource) -> None:
    assert source.name == "Binance.US"
    assert server.asked == []


def test_symbols_offered_are_those_traded_now_against_the_quote(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.symbols = (*server.symbols, ("LTC", "USDT"))
    server.halted = ("LTCUSDT",)
    assert source.symbols_offered("USDT") == ["BTCUSDT", "ETHUSDT"]
    assert source.symbols_offered("USD") == ["BTCUSD"]
    assert source.symbols_offered("EUR") == []
    assert source.fetch("LTCUSDT", START, slot(2)).candles["symbol"].to_list() == ["LTCUSDT"] * 2


# What is closed.


@pytest.mark.parametrize(
    ("venue_ahead", "closed"),
    [
        (timedelta(), 10),
        (timedelta(minutes=7), 10),
        (timedelta(days=3), 10),
        (timedelta(minutes=-4), 6),
        (timedelta(seconds=-30), 9),
        (timedelta(days=-3), 0),
    ],
)
def test_skewed_clock_lets_no_unfinished_candle_out(
    venue_ahead: timedelta, closed: int, server: BinanceServer, waits: list[float]
) -> None:
    ours = slot(10) + timedelta(seconds=12)
    server.now = ours + venue_ahead
    source = exchange_source(server.url, waits, clock=lambda: ours)
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(100)).candles, minute_candles(START, closed))
    assert source.now() == min(ours, server.now)
    source.close()


@pytest.mark.parametrize(("after", "closed"), [(timedelta(milliseconds=-1), 9), (timedelta(), 10)])
def test_bar_is_closed_at_its_end_and_not_before(
    after: timedelta, closed: int, server: BinanceServer, source: ExchangeSource
) -> None:
    server.now = slot(10) + after
    assert source.fetch("BTCUSDT", START, slot(100)).candles.height == closed


def test_bar_that_closes_during_the_fetch_waits_for_the_next(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.now = slot(PAGE_BARS + 5)
    pages = source.fetch_pages("BTCUSDT", START, slot(9999))
    next(pages)
    server.now = slot(PAGE_BARS + 8)
    assert next(pages).candles.height == 5
    assert list(pages) == []


# Faults that pass.

PASSING_FAULTS = {
    "429": Fault(429, body=b'{"code":-1003,"msg":"Too many requests."}'),
    "500": Fault(500, body=b""),
    "502 in HTML": Fault(502, body=b"<html>Bad gateway</html>"),
    "503": Fault(503, body=b'{"code":-1001,"msg":"Internal error."}'),
    "dropped connection": HANGS_UP,
    "truncated answer": Fault(lost=5),
    "truncated JSON": Fault(body=b'[[1767225600000,"1.0","1.0"'),
    "no JSON": Fault(body=b"<html>maintenance</html>"),
    "empty body": Fault(body=b""),
    "a number": Fault(body=b"7"),
    "a row too short": Fault(body=b'[[1767225600000,"1.0"]]'),
    "a row without numbers": Fault(body=b'[[1767225600000,"a","b","c","d","e"]]'),
    "a row of nothing": Fault(body=b"[null]"),
    "rows by name": Fault(body=b'{"rows":[]}'),
    "a time in seconds": Fault(body=b'[[1767225600,"1","1","1","1","1"]]'),
    "a time beyond all numbers": Fault(body=b'[[1e400,"1","1","1","1","1"]]'),
    "an integer beyond all numbers": Fault(body=b'[[%d,"1","1","1","1","1"]]' % 10**30),
    "nested beyond reason": Fault(body=b"[" * 100_000),
    "an unknown error": Fault(body=b'{"code":-1000,"msg":"An unknown error occured."}'),
}


@pytest.mark.parametrize("path", ["klines", "time", "exchangeInfo"])
@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_passing_fault_is_asked_again_and_loses_nothing(
    fault: str, path: str, server: BinanceServer, source: ExchangeSource, waits: list[float]
) -> None:
    server.will(path, PASSING_FAULTS[fault])
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(20)).candles, minute_candles(START, 20))
    assert waits == [0.5]


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_fault_that_stays_is_given_up_by_name_after_the_last_try(
    fault: str, server: BinanceServer, source: ExchangeSource, waits: list[float]
) -> None:
    server.will("klines", *[PASSING_FAULTS[fault]] * (TRIES + 1))
    with pytest.raises(
        SourceError, match=r"^Binance\.US gave no answer: .*at most 3 tries: try again"
    ) as given_up:
        source.fetch("BTCUSDT", START, slot(20))
    assert not isinstance(given_up.value, SourceRefusedError)
    assert len(server.pages()) == TRIES
    assert waits == [0.5, 1.0]


def test_pages_before_a_fault_that_stays_have_been_handed_out(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.will("klines", Fault(), *[HANGS_UP] * TRIES)
    pages = source.fetch_pages("BTCUSDT", START, slot(2500))
    assert next(pages).candles.height == PAGE_BARS
    with pytest.raises(SourceError):
        next(pages)


def test_server_that_is_not_there_is_given_up(waits: list[float]) -> None:
    with scripted_server() as gone:
        url = gone.url
    with pytest.raises(SourceError, match="NetworkError"):
        exchange_source(url, waits).fetch("BTCUSDT", START, slot(1))
    assert len(waits) == TRIES - 1


def test_server_that_falls_silent_ends_by_the_time_out(waits: list[float]) -> None:
    with scripted_server() as server:
        server.will_answer(*[reply("{}", lost=1, holds=True)] * TRIES)
        source = exchange_source(server.url, waits, timeout_seconds=0.1)
        with pytest.raises(SourceError, match="at most 3 tries"):
            source.symbols_offered("USDT")
    assert len(server.asked) == TRIES


@pytest.mark.parametrize("status", [429, 418, 403, 503])
@pytest.mark.parametrize(
    ("asked", "waited"),
    [("7", 7.0), (f"{OUR_TIME + 9 * timedelta(seconds=1):%a, %d %b %Y %H:%M:%S} GMT", 9.0)],
)
def test_wait_that_the_venue_asks_for_is_kept(
    asked: str, waited: float, status: int, server: BinanceServer, source: ExchangeSource, waits: list[float]
) -> None:
    server.will("klines", Fault(status, {"Retry-After": asked}, b""))
    assert source.fetch("BTCUSDT", START, slot(3)).candles.height == 3
    assert waits == [waited]


def test_wait_of_one_refusal_is_not_kept_for_the_next_fault(
    server: BinanceServer, source: ExchangeSource, waits: list[float]
) -> None:
    server.will("klines", Fault(429, {"Retry-After": "7"}, b""), HANGS_UP)
    source.fetch("BTCUSDT", START, slot(3))
    assert waits == [7.0, 1.0]


def test_ban_of_days_is_not_sat_out(
    server: BinanceServer, source: ExchangeSource, waits: list[float]
) -> None:
    server.will("klines", Fault(418, {"Retry-After": "259200"}, b""))
    with pytest.raises(SourceError, match="DDoSProtection"):
        source.fetch("BTCUSDT", START, slot(3))
    assert (len(server.pages()), waits) == (1, [])


REFUSALS = {
    "418": (Fault(418, body=b""), "status 418 bars this address"),
    "403": (Fault(403, body=b"<html>"), "status 403 bars this address"),
    "451": (Fault(451, body=b'{"code":0,"msg":"restricted location"}'), "status 451 bars this address"),
    "401": (Fault(401, body=b""), "status 401 bars this address"),
    "key": (
        Fault(400, body=b'{"code":-2014,"msg":"API-key format invalid."}'),
        "check symbol, interval and key",
    ),
    "symbol": (Fault(400, body=INVALID_SYMBOL), "BadSymbol .*check symbol"),
    "symbol with status 200": (Fault(body=INVALID_SYMBOL), "BadSymbol .*check symbol"),
    "parameter": (Fault(400, body=b'{"code":-1100,"msg":"Illegal characters"}'), "BadRequest"),
    "path": (Fault(404, body=b"<html>"), "it is not offered so"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal_is_told_at_once_with_its_cure(
    refusal: str, server: BinanceServer, source: ExchangeSource, waits: list[float]
) -> None:
    fault, cure = REFUSALS[refusal]
    server.will("klines", fault)
    with pytest.raises(SourceRefusedError, match=cure):
        source.fetch("BTCUSDT", START, slot(3))
    assert (len(server.pages()), waits) == (1, [])


def test_unknown_symbol_is_refused_with_its_neighbours(server: BinanceServer, source: ExchangeSource) -> None:
    with pytest.raises(SourceRefusedError, match=r"0 spot markets BTCEUR.*BTCUSD, BTCUSDT"):
        source.fetch("BTCEUR", START, slot(1))
    assert server.pages() == []


def test_symbol_that_may_mean_two_markets_is_refused(server: BinanceServer, source: ExchangeSource) -> None:
    server.symbols = (("AB", "CDE"), ("ABC", "DE"))
    with pytest.raises(SourceRefusedError, match="2 spot markets ABCDE, 1 needed"):
        source.fetch("ABCDE", START, slot(1))


def test_unknown_venue_and_interval_are_refused_with_the_choice() -> None:
    with pytest.raises(SourceRefusedError, match=r"'Mt\. Gox' is not known: choose one of Binance.US,"):
        exchange_source("http://127.0.0.1:9", [], "Mt. Gox")
    with pytest.raises(SourceRefusedError, match=r"Coinbase has no bars of 3m; it offers 1m, 5m"):
        ExchangeSource(
            "Coinbase",
            "3m",
            base_url=None,
            patience=Patience(1, first_seconds=1, longest_seconds=1, sleep=[].append, jitter=lambda: 0.0),
            timeout_seconds=1,
            clock=lambda: OUR_TIME,
        )


def test_simulation_comes_under_its_own_name_or_not_at_all(server: BinanceServer, waits: list[float]) -> None:
    server.headers["x-cryptoai-simulated"] = "1"
    unaware = exchange_source(server.url, waits)
    with pytest.raises(SourceRefusedError, match="is a simulation"):
        unaware.fetch("BTCUSDT", START, slot(1))
    aware = exchange_source(server.url, waits, simulated=True)
    assert aware.name == "simulated Binance.US"
    assert aware.fetch("BTCUSDT", START, slot(1)).candles.height == 1
    unaware.close()
    aware.close()


# Rows that are not as they should be.


def test_rows_out_of_order_are_put_in_order(server: BinanceServer, source: ExchangeSource) -> None:
    server.will("klines", Fault(reshapes=lambda rows: [*reversed(rows[:500]), *rows[500:]]))
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(1500)).candles, minute_candles(START, 1500))


def test_row_doubled_inside_an_answer_is_left_to_the_quality_rules(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.will("klines", Fault(reshapes=lambda rows: [rows[0], *rows]))
    candles = source.fetch("BTCUSDT", START, slot(5)).candles
    assert_frame_equal(candles, pl.concat([minute_candles(START, 1), minute_candles(START, 5)]))


def overlapping(change: Callable[[Row], Row]) -> Fault:
    """A page that begins with the three bars before it, of which the first may be another."""

    def reshaped(rows: list[Row]) -> list[Row]:
        before = [kline(rows[0][0] - back * MINUTE_MS) for back in (3, 2, 1)]
        return [change(before[0]), *before[1:], *rows]

    return Fault(reshapes=reshaped)


def test_overlap_of_two_pages_counts_once(server: BinanceServer, source: ExchangeSource) -> None:
    server.will("klines", overlapping(list), overlapping(list))
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(1500)).candles, minute_candles(START, 1500))


def test_revision_at_the_border_of_two_pages_is_kept_beside_the_first_version(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.will("klines", Fault(), overlapping(lambda row: [*row[:5], "99.0", *row[6:]]))
    candles = source.fetch("BTCUSDT", START, slot(1500)).candles
    assert candles.height == 1501
    assert candles["open_time"].is_sorted()
    revised = candles.filter(pl.col("open_time") == slot(997))
    assert revised["volume"].to_list() == [minute_candles(slot(997), 1)["volume"][0], 99.0]


def test_answer_of_the_same_old_rows_comes_to_an_end(server: BinanceServer, source: ExchangeSource) -> None:
    volumes = itertools.count(1)
    old = kline(milliseconds(0))
    stuck = Fault(reshapes=lambda _: [[*old[:5], str(next(volumes)), *old[6:]]])
    server.will("klines", *[stuck] * 100)
    assert source.fetch("BTCUSDT", START, slot(2000)).candles["open_time"].unique().to_list() == [START]
    assert len(server.pages()) < 12


def test_row_far_ahead_of_its_time_is_not_handed_out_and_hides_nothing(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.will("klines", Fault(reshapes=lambda rows: [*rows, kline(milliseconds(10**7))]))
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(1500)).candles, minute_candles(START, 1500))


def test_bar_without_a_trade_stays_the_venue_s_row(source: ExchangeSource) -> None:
    candles = source.fetch("BTCUSDT", START, slot(14)).candles
    quiet = candles.filter(pl.col("volume") == 0)
    assert quiet.height == 2
    assert quiet.select((pl.col("open") == pl.col("close")).all()).item()


# Slots that an answer leaves out.


def test_bars_that_one_answer_loses_come_with_the_second_look(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.will("klines", Fault(reshapes=lambda rows: [rows[0], *rows[4:]]), Fault(), Fault(body=b"[]"))
    assert_frame_equal(source.fetch("BTCUSDT", START, slot(1500)).candles, minute_candles(START, 1500))
    assert len(server.pages()) == 4


def test_absent_bar_of_a_venue_that_sends_quiet_bars_stays_unknown(
    server: BinanceServer, source: ExchangeSource
) -> None:
    server.absent = {milliseconds(n) for n in (4, 5, 999, 1000)}
    fetched = source.fetch("BTCUSDT", START, slot(1500))
    assert fetched.candles.height == 1496
    assert fetched.facts.is_empty()


def bitstamp(server: ScriptedServer, *pages: list[int]) -> ExchangeSource:
    """Bitstamp, which leaves quiet minutes out: its market list, then the given minutes page by page."""
    listing = {
        "market_symbol": "btcusd",
        "name": "BTC/USD",
        "base_currency": "BTC",
        "counter_currency": "USD",
        "base_decimals": 8,
        "counter_decimals": 0,
        "instant_order_counter_decimals": 2,
        "minimum_order_value": "10",
        "trading": "Enabled",
        "market_type": "SPOT",
    }
    perpetual = {
        **listing,
        "market_symbol": "btcusd-perp",
        "name": "BTC/USD-PERP",
        "market_type": "PERPETUAL",
    }
    server.will_answer(reply(json.dumps([listing, perpetual])))
    prices = dict.fromkeys(("open", "high", "low", "close"), "100.5")
    for minutes in pages:
        bars = [
            {"timestamp": str(milliseconds(minute) // 1000), **prices, "volume": "1.5"} for minute in minutes
        ]
        server.will_answer(reply(json.dumps({"data": {"pair": "BTC/USD", "ohlc": bars}})))
    return exchange_source(server.url, [], "Bitstamp")


def quiet_minutes(server: ScriptedServer, minutes: int, *pages: list[int]) -> list[int]:
    """Minutes of which the fetch says that nobody traded; every page must have been asked for."""
    source = bitstamp(server, *pages)
    facts = source.fetch("BTCUSD", START, slot(minutes)).facts
    source.close()
    assert len(server.asked) == 1 + len(pages)
    assert dict(validated_facts(facts).schema) == FACT_SCHEMA
    assert set(facts["known_at"]) <= {OUR_TIME}
    assert set(facts["source"]) <= {"Bitstamp"}
    assert set(facts["name"]) <= {"no_trade"}
    return [(moment - START) // MINUTE for moment in facts["event_time"]]


@pytest.fixture
def quiet_venue() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


def test_slot_that_two_looks_leave_out_is_no_trade_known_now(quiet_venue: ScriptedServer) -> None:
    assert quiet_minutes(quiet_venue, 6, [0, 1, 4, 5], [0, 1, 4, 5]) == [2, 3]


def test_slot_that_the_second_look_fills_is_a_bar(quiet_venue: ScriptedServer) -> None:
    assert quiet_minutes(quiet_venue, 6, [0, 1, 4, 5], [0, 1, 2, 4, 5]) == [3]


def test_first_slots_of_a_span_are_no_trade_when_its_page_goes_on(quiet_venue: ScriptedServer) -> None:
    assert quiet_minutes(quiet_venue, 4, [2, 3], [2, 3]) == [0, 1]


def test_nothing_is_said_about_slots_after_the_last_bar(quiet_venue: ScriptedServer) -> None:
    assert quiet_minutes(quiet_venue, 6, [0, 1], [], []) == []


def test_quiet_slots_over_the_border_of_pages_are_found_when_a_bar_ends_them(
    quiet_venue: ScriptedServer,
) -> None:
    pages = ([*range(998)], [], [], [2000], [2000])
    assert quiet_minutes(quiet_venue, 2001, *pages) == [*range(998, 2000)]


def test_venue_that_answers_with_newer_bars_only_has_not_spoken_about_the_older(
    quiet_venue: ScriptedServer,
) -> None:
    newest = [*range(3000, 3005)]
    assert quiet_minutes(quiet_venue, 3005, newest, newest) == []


def test_pages_without_a_bar_before_the_first_are_not_no_trade(quiet_venue: ScriptedServer) -> None:
    assert quiet_minutes(quiet_venue, 1003, [], [], [1001, 1002], [1001, 1002]) == [1000]


# Venues that speak otherwise.

SECONDS = milliseconds(0) // 1000
VENUE_ANSWERS = {
    "Kraken": [
        {
            "result": {
                "XXBTZUSD": {
                    "altname": "XBTUSD",
                    "wsname": "XBT/USD",
                    "base": "XXBT",
                    "quote": "ZUSD",
                    "pair_decimals": 1,
                    "lot_decimals": 8,
                    "leverage_buy": [],
                    "leverage_sell": [],
                    "fees": [[0, 0.26]],
                    "fees_maker": [[0, 0.16]],
                    "status": "online",
                }
            }
        },
        {"result": {"unixtime": SECONDS + 200}},
        {
            "result": {
                "XXBTZUSD": [[SECONDS + 60 * n, "4", "5", "3", "4.5", "4.2", "7", 9] for n in range(-1, 4)]
            }
        },
    ],
    "Coinbase": [
        {
            "products": [
                {
                    "product_id": "BTC-USD",
                    "base_increment": "0.00000001",
                    "price_increment": "0.01",
                    "product_type": "SPOT",
                    "base_currency_id": "BTC",
                    "quote_currency_id": "USD",
                }
            ]
        },
        {"products": []},
        {"products": []},
        {"data": {"epoch": SECONDS + 200}},
        {
            "candles": [
                {
                    "start": f"{SECONDS + 60 * n}",
                    "low": "3",
                    "high": "5",
                    "open": "4",
                    "close": "4.5",
                    "volume": "7",
                }
                for n in (3, 2, 1, 0)
            ]
        },
    ],
}


@pytest.mark.parametrize("venue", VENUE_ANSWERS)
def test_venue_is_read_as_it_speaks(venue: str, quiet_venue: ScriptedServer) -> None:
    quiet_venue.will_answer(*[reply(json.dumps(answer)) for answer in VENUE_ANSWERS[venue]])
    source = exchange_source(quiet_venue.url, [], venue)
    fetched = source.fetch("BTCUSD", START, slot(9))
    source.close()
    assert len(quiet_venue.asked) == len(VENUE_ANSWERS[venue])
    assert fetched.candles.rows() == [(slot(n), "BTCUSD", 4.0, 5.0, 3.0, 4.5, 7.0) for n in range(3)]
    assert fetched.facts.is_empty()


# Whatever else an answer may be.

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([milliseconds(0), milliseconds(1), "100.5", "-1", "NaN", "1e999", 0]),
)
JSON = st.recursive(
    SCALARS,
    lambda parts: st.one_of(
        st.lists(parts, max_size=8),
        st.dictionaries(st.sampled_from(["symbols", "serverTime", "code", "msg", "x"]), parts, max_size=3),
    ),
    max_leaves=30,
)
ROWS = st.lists(st.lists(SCALARS, min_size=5, max_size=12), max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["klines", "klines", "time", "exchangeInfo"]),
    body=st.one_of(
        st.binary(max_size=40), JSON.map(json.dumps).map(str.encode), ROWS.map(json.dumps).map(str.encode)
    ),
    status=st.sampled_from([200, 200, 200, 400, 429, 500]),
)
def test_any_answer_is_candles_of_the_span_or_an_error_of_ours(
    path: str, body: bytes, status: int, server: BinanceServer
) -> None:
    source = exchange_source(server.url, [])
    server.will(path, *[Fault(status, body=body)] * (2 * TRIES))
    try:
        candles = source.fetch("BTCUSDT", START, slot(3)).candles
    except SourceError:
        pass
    else:
        assert dict(candles.schema) == CANDLE_SCHEMA
        assert candles.null_count().sum_horizontal().item() == 0
        assert candles["open_time"].is_between(START, slot(3), closed="left").all()
    finally:
        server.faults.clear()
        source.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), minutes=st.integers(1, 3000), page=st.integers(1, 1000))
def test_no_storm_of_faults_loses_doubles_or_reorders_a_bar(
    data: st.DataObject, minutes: int, page: int, server: BinanceServer
) -> None:
    page = max(page, minutes // 20)
    faults = [*PASSING_FAULTS.values(), overlapping(list), Fault(reshapes=lambda rows: rows[::-1])]
    storm = data.draw(st.lists(st.sampled_from(faults), max_size=10))
    short = Fault(reshapes=lambda rows: rows[:page])
    for fault in storm:
        server.will("klines", fault, short)
    source = exchange_source(server.url, [])
    candles = source.fetch("BTCUSDT", START, slot(minutes)).candles
    server.faults.clear()
    source.close()
    assert_frame_equal(candles, minute_candles(START, minutes))
