"""CoinGecko: bars without volume, prices where it has no bars, what runs still, and answers that are none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.outside_world import JSON, CannedWeb, broken, quick_web
from fakes.scripted_server import reply, scripted_server
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.coingecko import AGGREGATE_BAR, REFERENCE_PRICE, CoinGeckoSource
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.coingecko import coingecko_app
from cryptoai_assets.sandbox.market import SandboxMarket
from edge_bundle.candles import CANDLE_SCHEMA, candle_frame, validated_candles
from edge_bundle.facts import FACT_SCHEMA, validated_facts

NOW = datetime(2018, 4, 15, 3, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HALF_HOUR = HOUR / 2
SAMPLE = candle_frame(
    pl.read_parquet(sample_file()).filter(
        pl.col("open_time").is_between(NOW - 40 * DAY, NOW + 2 * DAY),
        pl.col("symbol").is_in(["BTCUSD", "ETHUSD"]),
    )
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    market = SandboxMarket(SAMPLE, seed=3, start=NOW, speed=1, clock=lambda: NOW)
    with serving(coingecko_app(market)) as loopback:
        yield f"{loopback.http}/api/v3"


def coingecko(url: str, interval: str, now: datetime = NOW) -> CoinGeckoSource:
    return CoinGeckoSource(quick_web("simulated CoinGecko", url), interval, lambda: now)


def canned(answer: object, interval: str = "30m", now: datetime = NOW) -> CoinGeckoSource:
    return CoinGeckoSource(CannedWeb([answer]), interval, lambda: now)


def closing(hours: float) -> int:
    """Milliseconds of a time so many hours before the last half-hour."""
    return int((NOW.replace(minute=0, second=0) - hours * HOUR).timestamp() * 1000)


def test_bars_of_the_last_day_are_the_market_s_without_volume(url: str) -> None:
    fetched = coingecko(url, "30m").fetch("BTCUSDT", NOW - DAY / 2, NOW)
    held = SAMPLE.filter(
        pl.col("symbol") == "BTCUSD", pl.col("open_time").is_between(NOW - DAY / 2, NOW - HALF_HOUR)
    )
    expected = held.with_columns(symbol=pl.lit("BTCUSDT"), volume=pl.lit(0.0))
    assert expected.height == 23
    assert_frame_equal(validated_candles(fetched.candles, interval="30m"), expected)


def test_every_bar_is_marked_as_one_over_all_venues_known_now(url: str) -> None:
    fetched = coingecko(url, "30m").fetch("ETHUSDT", NOW - DAY / 2, NOW)
    facts = validated_facts(fetched.facts)
    assert facts["event_time"].to_list() == fetched.candles["open_time"].to_list() != []
    assert facts.select("symbol", "known_at", "source", "name", "value").unique().rows() == [
        ("ETHUSDT", NOW, "simulated CoinGecko", AGGREGATE_BAR, 1.0)
    ]


@pytest.mark.parametrize("days", [3, 12, 29])
def test_bars_of_four_hours_reach_back_as_far_as_asked(days: int, url: str) -> None:
    bars = coingecko(url, "4h").fetch("BTCUSDT", NOW - days * DAY, NOW).candles
    validated_candles(bars, interval="4h")
    assert bars["open_time"][0] - (NOW - days * DAY) < 4 * HOUR
    assert bars["open_time"][-1] == datetime(2018, 4, 14, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("interval", "back", "days"),
    [("30m", HOUR, 1), ("30m", 9 * DAY, 1), ("4h", HOUR, 7), ("4h", 8 * DAY, 14), ("4h", 99 * DAY, 30)],
)
def test_shortest_answer_that_reaches_back_is_asked_for(interval: str, back: timedelta, days: int) -> None:
    source = canned([], interval)
    source.fetch("BTCUSDT", NOW - back, NOW)
    assert source.web.asked == [("/coins/bitcoin/ohlc", {"vs_currency": "usd", "days": days})]


@pytest.mark.parametrize(
    ("closes", "kept"),
    [
        (closing(0), True),
        (closing(0) + 12 * 60_000, False),  # ends off the grid: it is running
        (closing(-0.5), False),  # ends in the future
        (closing(20), False),  # before the span
    ],
)
def test_bar_that_is_running_or_outside_is_left_out(closes: int, kept: bool) -> None:
    fetched = canned([[closes, 4.0, 5.0, 3.0, 4.5]]).fetch("BTCUSDT", NOW - 10 * HOUR, NOW + HOUR)
    opened = datetime.fromtimestamp(closes / 1000, UTC) - HALF_HOUR
    assert fetched.candles.rows() == ([(opened, "BTCUSDT", 4.0, 5.0, 3.0, 4.5, 0.0)] if kept else [])
    assert fetched.facts.height == kept


def test_bars_end_before_the_end_of_the_span() -> None:
    rows = [[closing(hours), 4.0, 5.0, 3.0, 4.5] for hours in (1, 0.5, 0)]
    end = datetime.fromtimestamp(closing(0.5) / 1000, UTC)
    bars = canned(rows).fetch("BTCUSDT", NOW - DAY, end).candles
    assert [time + HALF_HOUR for time in bars["open_time"]] == [end - HALF_HOUR, end]


@pytest.mark.parametrize(
    ("back", "step"), [(5 * HOUR, HOUR / 12), (9 * DAY, HOUR), (35 * DAY, HOUR), (39 * DAY, HOUR)]
)
def test_interval_that_it_does_not_have_becomes_prices_and_never_bars(
    back: timedelta, step: timedelta, url: str
) -> None:
    fetched = coingecko(url, "1m").fetch("BTCUSDT", NOW - back, NOW)
    assert_frame_equal(fetched.candles, pl.DataFrame(schema=CANDLE_SCHEMA))
    prices = validated_facts(fetched.facts)
    assert prices["event_time"].diff().min() == step
    assert prices["event_time"].is_between(NOW - back, NOW, closed="left").all()
    assert prices.select("symbol", "known_at", "source", "name").unique().rows() == [
        ("BTCUSDT", NOW, "simulated CoinGecko", REFERENCE_PRICE)
    ]


def test_price_is_that_of_the_market_at_its_time(url: str) -> None:
    prices = coingecko(url, "1m").fetch("BTCUSDT", NOW - 5 * HOUR, NOW).facts
    closes = SAMPLE.filter(pl.col("symbol") == "BTCUSD").select(
        pl.col("open_time") + HALF_HOUR, value="close"
    )
    both = prices.join(closes, left_on="event_time", right_on="open_time", suffix="_of_market")
    assert both.height == 10
    assert both["value"].to_list() == both["value_of_market"].to_list()


def test_price_of_null_is_no_fact_and_a_later_one_is_not_told() -> None:
    prices = [[closing(2), 7.5], [closing(1), None], [closing(-1), 8.0]]
    fetched = canned({"prices": prices}, "1m").fetch("BTCUSDT", NOW - DAY, NOW + DAY)
    assert fetched.facts["value"].to_list() == [7.5]
    assert dict(fetched.facts.schema) == FACT_SCHEMA


def test_span_that_has_not_begun_is_not_asked_for() -> None:
    source = canned({}, "1m")
    assert source.fetch("BTCUSDT", NOW + HOUR, NOW + DAY).facts.is_empty()
    assert source.web.asked == []


def test_symbol_is_read_as_coin_and_currency() -> None:
    for symbol, coin, currency in (
        ("BTCUSDT", "bitcoin", "usd"),
        ("ETHUSD", "ethereum", "usd"),
        ("XRPEUR", "ripple", "eur"),
    ):
        source = canned([])
        source.fetch(symbol, NOW - HOUR, NOW)
        assert source.web.asked == [(f"/coins/{coin}/ohlc", {"vs_currency": currency, "days": 1})]


@pytest.mark.parametrize("symbol", ["DOGEUSDT", "BTCJPY", "USDT", "BTC", ""])
def test_symbol_that_it_is_not_asked_for_is_refused_with_the_cure(symbol: str) -> None:
    source = canned([])
    with pytest.raises(SourceRefusedError, match=r"one of BTC, ETH.*setting coins"):
        source.fetch(symbol, NOW - HOUR, NOW)
    assert source.web.asked == []


def test_history_that_is_for_payers_is_refused(url: str) -> None:
    with pytest.raises(SourceRefusedError, match="10012"):
        coingecko(url, "1m").fetch("BTCUSDT", NOW - 400 * DAY, NOW)


def test_source_that_is_down_is_given_up() -> None:
    with scripted_server() as server:
        server.will_answer(*[reply(status=503)] * 2)
        with pytest.raises(SourceError, match="status 503"):
            coingecko(server.url, "30m").fetch("BTCUSDT", NOW - HOUR, NOW)
    assert len(server.asked) == 2


BARS = [[closing(1), 4.0, 5.0, 3.0, 4.5], [closing(0.5), 4.5, 5.0, 4.0, 4.0]]
PRICES = {"prices": [[closing(1), 4.0], [closing(0.5), 4.5]], "market_caps": [], "total_volumes": []}


@settings(max_examples=200)
@given(answer=JSON | broken(BARS))
def test_any_answer_is_bars_or_an_error_of_ours(answer: object) -> None:
    try:
        fetched = canned(answer).fetch("BTCUSDT", NOW - DAY, NOW)
    except SourceError:
        return
    assert dict(fetched.candles.schema) == CANDLE_SCHEMA
    assert fetched.candles.null_count().sum_horizontal().item() == 0
    assert validated_facts(fetched.facts).height == fetched.candles.height


@settings(max_examples=200)
@given(answer=JSON | broken(PRICES) | st.just(PRICES))
def test_any_answer_is_prices_or_an_error_of_ours(answer: object) -> None:
    try:
        fetched = canned(answer, "1m").fetch("BTCUSDT", NOW - DAY, NOW)
    except SourceError:
        return
    assert validated_facts(fetched.facts)["value"].is_finite().all()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ping", 200),
        ("/coins/bitcoin/ohlc?vs_currency=usd&days=90", 200),
        ("/coins/dogecoin/ohlc?vs_currency=usd&days=1", 404),
        ("/coins/litecoin/ohlc?vs_currency=usd&days=1", 404),  # not in this market
        ("/coins/bitcoin/ohlc?vs_currency=usdt&days=1", 422),
        ("/coins/bitcoin/ohlc?vs_currency=usd&days=2", 422),
        ("/coins/bitcoin/ohlc?vs_currency=usd&days=²", 422),
        ("/coins/bitcoin/ohlc?vs_currency=usd", 422),
        ("/coins/bitcoin/market_chart/range?vs_currency=usd&from=x&to=1", 422),
        ("/coins/bitcoin/market_chart/range?vs_currency=usd&from=1400000000&to=9999999999", 401),
    ],
)
def test_simulation_answers_as_the_real_one_and_says_that_it_is_none(
    path: str, status: int, url: str
) -> None:
    answer = httpx.get(url + path)
    assert answer.status_code == status
    assert answer.headers["x-cryptoai-simulated"] == "1"


def test_simulation_shows_the_running_bar_last_and_nothing_later(url: str) -> None:
    rows = httpx.get(f"{url}/coins/bitcoin/ohlc?vs_currency=usd&days=1").json()
    assert rows[-1][0] == NOW.timestamp() * 1000
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
