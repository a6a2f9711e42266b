"""Sources in a row: who is asked, who is heard, and how what is not the first one's is marked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from fakes.binance_server import LISTED, BinanceServer, Fault, binance_server, minute_candles
from polars.testing import assert_frame_equal

from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.exchange import ExchangeSource
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK, FallbackSource
from cryptoai_assets.lib.sources.patience import Patience
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts, validated_facts

MINUTE = timedelta(minutes=1)
NOW = LISTED + timedelta(days=1)
END = LISTED + 5 * MINUTE
CANDLES = minute_candles(LISTED, 5)
QUIET = pl.DataFrame([("BTCUSDT", LISTED, NOW, "second", NO_TRADE, 1.0)], schema=FACT_SCHEMA, orient="row")


@dataclass(slots=True)
class Source:
    """Answers with candles, or raises what it is given, and holds how often it was asked."""

    name: str
    answer: Fetched | Exception = field(default_factory=lambda: Fetched(CANDLES, empty_facts()))
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        self.asked.append((symbol, start, end))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def fallback(*sources: Source) -> FallbackSource:
    return FallbackSource(sources, lambda: NOW)


def test_first_source_that_answers_is_heard_alone_and_unmarked() -> None:
    first, second = Source("first"), Source("second")
    fetched = fallback(first, second).fetch("BTCUSDT", LISTED, END)
    assert_frame_equal(fetched.candles, CANDLES)
    assert fetched.facts.is_empty()
    assert (first.asked, second.asked) == ([("BTCUSDT", LISTED, END)], [])


def test_first_source_without_a_bar_has_answered() -> None:
    second = Source("second")
    fetched = fallback(Source("first", Fetched(CANDLES.clear(), empty_facts())), second).fetch(
        "A", LISTED, END
    )
    assert fetched.candles.is_empty()
    assert second.asked == []


@pytest.mark.parametrize("failure", [SourceError("down"), SourceRefusedError("barred")])
def test_each_candle_of_another_source_is_marked_with_its_name_and_place(failure: SourceError) -> None:
    second = Source("second", Fetched(CANDLES, QUIET))
    fetched = fallback(Source("first", failure), second, Source("third")).fetch("BTCUSDT", LISTED, END)
    assert_frame_equal(fetched.candles, CANDLES)
    facts = validated_facts(fetched.facts)
    assert_frame_equal(facts.filter(pl.col("name") == NO_TRADE), QUIET)
    marks = facts.filter(pl.col("name") == FROM_FALLBACK)
    assert marks["event_time"].to_list() == CANDLES["open_time"].to_list()
    assert marks.select("symbol", "known_at", "source", "value").unique().rows() == [
        ("BTCUSDT", NOW, "second", 1.0)
    ]


def test_place_in_the_row_is_told() -> None:
    down = Source("down", SourceError("down"))
    facts = fallback(down, down, Source("third")).fetch("BTCUSDT", LISTED, END).facts
    assert facts["value"].unique().to_list() == [2.0]


def test_when_none_answers_each_is_quoted() -> None:
    down, barred = Source("a", SourceError("a is down")), Source("b", SourceRefusedError("b is barred"))
    with pytest.raises(SourceError, match="none of 2 sources gave BTCUSDT: a is down; b is barred") as told:
        fallback(down, barred).fetch("BTCUSDT", LISTED, END)
    assert not isinstance(told.value, SourceRefusedError)


def test_when_all_refuse_asking_again_is_of_no_use() -> None:
    barred = Source("b", SourceRefusedError("b is barred"))
    with pytest.raises(SourceRefusedError, match="b is barred; b is barred"):
        fallback(barred, barred).fetch("BTCUSDT", LISTED, END)


def test_error_of_the_program_is_not_taken_for_one_of_a_source() -> None:
    second = Source("second")
    with pytest.raises(ZeroDivisionError):
        fallback(Source("first", ZeroDivisionError()), second).fetch("BTCUSDT", LISTED, END)
    assert second.asked == []


def test_name_is_that_of_the_source_that_is_wanted() -> None:
    assert fallback(Source("Binance.US"), Source("CoinGecko")).name == "Binance.US"


@pytest.fixture
def venues() -> Iterator[tuple[BinanceServer, BinanceServer]]:
    with binance_server(now=NOW) as first, binance_server(now=NOW) as second:
        yield first, second


def test_venue_that_bars_us_is_replaced_by_the_next(venues: tuple[BinanceServer, BinanceServer]) -> None:
    venues[0].will("time", Fault(451, body=b""))
    patience = Patience(2, first_seconds=0, longest_seconds=1, sleep=lambda _: None, jitter=lambda: 0.0)
    sources = [
        ExchangeSource(
            venue,
            "1m",
            base_url=server.url,
            patience=patience,
            timeout_seconds=5,
            clock=lambda: datetime(2030, 1, 1, tzinfo=UTC),
            milliseconds_between_requests=0,
        )
        for venue, server in zip(("Binance.US", "Binance"), venues, strict=True)
    ]
    fetched = FallbackSource(tuple(sources), lambda: NOW).fetch("BTCUSDT", LISTED, END)
    assert_frame_equal(fetched.candles, CANDLES)
    assert fetched.facts["source"].unique().to_list() == ["Binance"]
    for source in sources:
        source.close()
