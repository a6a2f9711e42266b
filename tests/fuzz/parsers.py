"""Every parser of what strangers send or files hold: where the fuzzer begins, and what must hold of the rows.

A parser gives rows that keep their contract or raises an error of ours; anything else that it raises is a
finding. What is asked over HTTP gets one line of the input an answer, through the client's own decoding.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import requests
from fakes.outside_world import assert_honest, historian
from fakes.sound_events import is_sound
from fuzz import seeds
from fuzz.seeds import END, NOW, START, SYMBOL

from cryptoai_assets.lib.news.article_texts import article_text
from cryptoai_assets.lib.news.feeds import FeedSource
from cryptoai_assets.lib.news.news_source import NewsSource
from cryptoai_assets.lib.news.social import NewsApiSource, RedditKey, RedditSource, XSource
from cryptoai_assets.lib.news.visits import Mark, Page, robot_rules
from cryptoai_assets.lib.orderbook.book import BINANCE_SPOT
from cryptoai_assets.lib.orderbook.captures import (
    CaptureError,
    binance_capture,
    binance_event,
    bitstamp_event,
    bitstamp_http_capture,
    recorded_capture,
    stream_capture,
)
from cryptoai_assets.lib.orderbook.events import OrderBookError
from cryptoai_assets.lib.orderbook.microstructure import BAR_SCHEMA, MINUTE, BarSettings
from cryptoai_assets.lib.orderbook.recordings import Recordings, recorded_bars
from cryptoai_assets.lib.quality import QUOTE_VOLUME, row_faults, screened
from cryptoai_assets.lib.sources.archive import ArchiveSource
from cryptoai_assets.lib.sources.binance_recorder import heard
from cryptoai_assets.lib.sources.candle_source import CandleSource, SourceError
from cryptoai_assets.lib.sources.coin_metrics import CoinMetricsSource
from cryptoai_assets.lib.sources.coingecko import CoinGeckoSource
from cryptoai_assets.lib.sources.daily_csv import STOCKS, DailyCsvSource
from cryptoai_assets.lib.sources.exchange import ExchangeSource
from cryptoai_assets.lib.sources.exchange_stream import StreamedTrades, streamed_book, trade_frame
from cryptoai_assets.lib.sources.fact_source import FactSource
from cryptoai_assets.lib.sources.fear_greed import FearGreedSource
from cryptoai_assets.lib.sources.fred import KEY, FredSource
from cryptoai_assets.lib.sources.google_trends import GoogleTrendsSource
from cryptoai_assets.lib.sources.mempool_space import MempoolSpaceSource
from cryptoai_assets.lib.sources.patience import Patience, SourceUnavailableError, asked_wait
from cryptoai_assets.lib.sources.stream_recorder import TradeNumbers, book_line, is_readable, trade_lines
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.candles import CANDLE_SCHEMA, read_candles_csv, validated_candles
from edge_bundle.errors import CandlesRefusedError, OutlookRefusedError
from edge_bundle.facts import validated_facts
from edge_bundle.news.articles import (
    ARTICLE_SCHEMA,
    CLOCK_TOLERANCE,
    EARLIEST,
    QUARANTINE_SCHEMA,
    sifted,
)
from edge_bundle.news.news_api import KEY_NAME
from edge_bundle.sentiment.outlook import Outlooks

PATIENCE = Patience(1, first_seconds=0, longest_seconds=1, sleep=lambda _: None, jitter=lambda: 0.0)


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser in the form that the fuzzer knows.

    Parameters
    ----------
    read
        Takes bytes, and raises when they break the parser or a rule of its rows; how many rows it gave.
    seeds
        Valid bytes.
    """

    read: Callable[[bytes], int]
    seeds: tuple[bytes, ...]


@dataclass(slots=True)
class FedWeb(WebClient):
    """A client that is given the bodies of its answers, and none after the last one."""

    bodies: list[bytes] = field(default_factory=list)

    def _body(self, *_: object) -> bytes:
        if not self.bodies:
            raise SourceUnavailableError("there is no further answer")
        return self.bodies.pop(0)


def fed_web(data: bytes) -> FedWeb:
    """A client of which each line of the input is an answer."""
    return FedWeb(
        "fed",
        "http://fed.test",
        requests_per_second=1e9,
        timeout_seconds=1,
        patience=PATIENCE,
        clock=lambda: NOW,
        secrets={KEY_NAME: "k", KEY: "k"},
        secret_headers={"Authorization": "Bearer t"},
        bodies=data.split(b"\n"),
    )


def held_facts(facts: pl.DataFrame, start: datetime) -> int:
    """How many facts there are; they are honest, and of the span that was asked for."""
    assert_honest(facts)
    assert facts["event_time"].is_between(start, END, closed="left").all()
    return facts.height


def facts_over_http(source: Callable[[WebClient], FactSource]) -> Callable[[bytes], int]:
    """Read facts from answers."""

    def read(data: bytes) -> int:
        try:
            facts = source(fed_web(data)).fetch(START, END)
        except SourceError:
            return 0
        return held_facts(facts, START)

    return read


def facts_of_file(source: Callable[[Path], FactSource], start: datetime) -> Callable[[bytes], int]:
    """Read facts from a file."""

    def read(data: bytes) -> int:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "file.csv"
            file.write_bytes(data)
            try:
                facts = source(file).fetch(start, END)
            except SourceError:
                return 0
        return held_facts(facts, start)

    return read


def read_source(
    source: CandleSource, symbol: str, interval: str, *, end: datetime = END, more: Sequence[str] = ()
) -> int:
    """Candles are typed and of the span that was asked for; what is screened of them keeps every rule."""
    try:
        fetched = source.fetch(symbol, START, end)
    except SourceError:
        return 0
    candles = fetched.candles
    schema = {**CANDLE_SCHEMA, **{name: pl.Float64() for name in more if name in candles.columns}}
    assert dict(candles.schema) == schema
    assert candles.select(*CANDLE_SCHEMA).null_count().sum_horizontal().item() == 0
    assert candles["open_time"].is_between(START, end, closed="left").all()
    assert candles["symbol"].eq(symbol).all()
    validated_facts(fetched.facts)
    assert fetched.facts["value"].is_finite().all()
    hold_screened(candles, interval)
    return candles.height + fetched.facts.height


def hold_screened(candles: pl.DataFrame, interval: str) -> None:
    """What is accepted keeps every rule, and nothing is lost."""
    told = screened(candles, interval=interval)
    validated_candles(told.accepted, interval=interval)
    assert told.accepted.select(~pl.any_horizontal(*row_faults(interval).values())).to_series().all()
    assert told.accepted.height + told.rejected.height + told.repeated == candles.height


def read_coingecko(data: bytes, *, interval: str) -> int:
    """Bars or prices."""
    source = CoinGeckoSource(fed_web(data), interval, lambda: START + timedelta(days=1))
    return read_source(source, SYMBOL, interval)


def read_archive(data: bytes) -> int:
    """Candles of a Parquet file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "candles.parquet"
        file.write_bytes(data)
        return read_source(ArchiveSource(file, "30m", "archive"), "BTCUSD", "30m", more=[QUOTE_VOLUME])


def read_csv(data: bytes) -> int:
    """Candles of a CSV file."""
    try:
        candles = read_candles_csv(io.BytesIO(data))
    except CandlesRefusedError:
        return 0
    assert dict(candles.schema) == CANDLE_SCHEMA
    assert candles.null_count().sum_horizontal().item() == 0
    hold_screened(candles, "30m")
    return candles.height


@dataclass(slots=True)
class FedVenue(requests.adapters.BaseAdapter):
    """A venue that is given the bodies of its answers; the last one comes again and again."""

    bodies: list[bytes]

    def __post_init__(self) -> None:
        requests.adapters.BaseAdapter.__init__(self)

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.reason, answer.encoding = 200, "OK", "utf-8"
        answer.url, answer.request = str(request.url), request
        answer.raw = io.BytesIO(self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0])
        return answer

    def close(self) -> None:
        """Nothing is open."""


def venue_source(venue: str, bodies: list[bytes]) -> tuple[ExchangeSource, FedVenue]:
    """A source that has asked nothing yet, and the venue."""
    source = ExchangeSource(
        venue,
        "1m",
        base_url="http://fed.test",
        patience=PATIENCE,
        timeout_seconds=1.0,
        clock=lambda: NOW,
        milliseconds_between_requests=0.0,
    )
    fed = FedVenue(bodies)
    source._client.session.mount("http://", fed)
    return source, fed


@cache
def known_venue(venue: str) -> tuple[ExchangeSource, FedVenue]:
    """A source that knows the markets of its venue."""
    source, fed = venue_source(venue, seeds.VENUE_MARKETS[venue].split(b"\n"))
    assert source.symbols_offered("USDT") == [SYMBOL]
    return source, fed


def read_candles(data: bytes, *, venue: str) -> int:
    """Candles of a venue, from its clock and its pages."""
    source, fed = known_venue(venue)
    fed.bodies = data.split(b"\n")
    return read_source(source, SYMBOL, "1m", end=START + timedelta(minutes=6))


def read_markets(data: bytes) -> int:
    """Candles of a venue, from the list of its markets on."""
    source, _ = venue_source("Binance.US", data.split(b"\n"))
    return read_source(source, SYMBOL, "1m", end=START + timedelta(minutes=6))


def read_capture(data: bytes, *, events: Callable[[io.BytesIO], Any]) -> int:
    """Events of a capture, up to the line that cannot be read."""
    number = refused_line = 0
    try:
        for event in events(io.BytesIO(data)):
            number += 1
            assert is_sound(event)
    except CaptureError as error:
        refused_line = error.line
    assert refused_line <= data.count(b"\n") + 1
    return number


def read_recording(data: bytes) -> int:
    """Bars of a day's recording."""
    with TemporaryDirectory() as folder:
        recordings = Recordings(Path(folder))
        file = recordings.path(SYMBOL, START.date())
        file.parent.mkdir()
        file.write_bytes(data)
        # The next day's first line is what a killed writer left.
        recordings.path(SYMBOL, END.date()).write_bytes(data[: len(data) // 2])
        try:
            bars, anomalies = recorded_bars(
                recordings,
                SYMBOL,
                START.date(),
                rules=BINANCE_SPOT,
                settings=BarSettings(
                    (MINUTE,), levels=1, depth_bps=10.0, greatest_silence=timedelta(minutes=2)
                ),
                snapshot_limit=1000,
                until=NOW,
            )
        except OrderBookError:
            return 0
    hold_bars(bars)
    assert all(str(anomaly) for anomaly in anomalies)
    return bars.height


def hold_bars(bars: pl.DataFrame) -> None:
    """Bars of the day are in order, and no value is endless."""
    assert dict(bars.schema) == BAR_SCHEMA
    assert bars["open_time"].is_between(START, START + timedelta(days=1), closed="left").all()
    assert bars["open_time"].is_sorted()
    assert not bars["open_time"].is_duplicated().any()
    values = bars.drop("open_time", "symbol")
    assert all(column.drop_nulls().is_finite().all() for column in values)


def read_heard(data: bytes) -> int:
    """A message of Binance's stream, and the line that it becomes."""
    try:
        told = heard(data.decode(errors="replace"), lambda _: seeds.SECOND * 10**9)
    except SourceUnavailableError:
        return 0
    assert isinstance(told.symbol, str)
    return int(told.symbol == SYMBOL)


def read_streamed(data: bytes, *, told: Callable[[Any], Any], lines: Callable[[Any], Sequence[str]]) -> int:
    """Lines of what ccxt.pro tells, all of which are read back."""
    try:
        heard = told(json.loads(data))
    except Exception:  # noqa: BLE001 — the stream takes any error at this place for a lost connection
        return 0
    kept = "".join(f"{seeds.SECOND}000000000 {line}\n" for line in lines(heard) if is_readable(SYMBOL, line))
    events = list(recorded_capture(io.BytesIO(kept.encode()), symbol=SYMBOL, snapshot_limit=9))
    assert all(map(is_sound, events))
    return len(events)


def recorded_trades(trades: pl.DataFrame) -> list[str]:
    """Lines of the first trades of a connection."""
    return trade_lines(StreamedTrades(SYMBOL, trades, after_gap=True), TradeNumbers(0))


@dataclass(frozen=True, slots=True)
class FedVisitor:
    """Gives one page."""

    body: bytes

    def page(self, address: str, mark: Mark) -> Page:
        return Page(self.body, address, False, "", mark)


@dataclass(frozen=True, slots=True)
class KnownReddit(RedditSource):
    """Reddit, after it gave its token."""

    def _token(self) -> str:
        return "t"


def read_news(data: bytes, *, source: Callable[[bytes], NewsSource]) -> int:
    """Rows of articles, and those that are put aside."""
    try:
        brought = source(data).fetch(START, {})
    except SourceError:
        return 0
    told = sifted(brought.found, now=NOW, history_until=NOW)
    hold_articles(told.articles)
    assert dict(told.quarantine.schema) == QUARANTINE_SCHEMA
    assert told.quarantine["reason"].null_count() == 0
    return told.articles.height


def hold_articles(articles: pl.DataFrame) -> None:
    """Articles have an address and say something; they are known once there were coins, and by now."""
    assert dict(articles.schema) == ARTICLE_SCHEMA
    needed = articles.drop("author", "language", "published_at")
    assert needed.null_count().sum_horizontal().item() == 0
    assert articles["known_at"].is_between(EARLIEST, NOW).all()
    assert articles["published_at"].drop_nulls().is_between(EARLIEST, NOW + CLOCK_TOLERANCE).all()
    assert (articles["address"].str.len_chars() > 0).all()
    assert ((articles["title"] + articles["text"]).str.len_chars() > 0).all()
    assert not articles["title"].str.contains(r"[\x00-\x1f]").any()


def read_article(data: bytes) -> int:
    """Text of a page; 1 where there is one."""
    return int(bool(article_text(data)))


def read_outlooks(data: bytes) -> int:
    """Symbols of a file of outlooks, which can be told again."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sentiment.json"
        path.write_bytes(data)
        try:
            told = Outlooks.read(path)
        except OutlookRefusedError:
            return 0
        assert told is not None
        told.write(path)
        assert Outlooks.read(path) == told
    assert told.moment
    return len(told.symbols)


def read_robots(data: bytes) -> int:
    """What a site allows."""
    try:
        rules = robot_rules("https://n.test", data)
    except SourceError:
        return 0
    return int(not rules.can_fetch("CryptoAI", "https://n.test/private/1?a=b"))


def read_wait(data: bytes) -> int:
    """Wait that a server asks for."""
    wait = asked_wait(data.decode("latin-1"), NOW)
    assert wait is None or wait >= 0
    return int(wait is not None)


def _reddit(data: bytes) -> RedditSource:
    return KnownReddit(fed_web(data), "http://fed.test", RedditKey("i", "s"), ("Bitcoin",), "test")


OVER_HTTP: dict[str, tuple[Callable[[WebClient], FactSource], bytes]] = {
    "fear-greed": (partial(FearGreedSource, historian(NOW)), seeds.FEAR_GREED),
    "fred": (lambda web: FredSource(historian(NOW), web, {"X": "day"}), seeds.FRED),
    "fred-months": (lambda web: FredSource(historian(NOW), web, {"X": "month"}), seeds.FRED),
    "coin-metrics": (lambda web: CoinMetricsSource(historian(NOW), web, {"btc": SYMBOL}), seeds.COIN_METRICS),
    "mempool-space": (lambda web: MempoolSpaceSource(historian(NOW), web, SYMBOL), seeds.MEMPOOL_SPACE),
}
YEAR_BEFORE = START - timedelta(days=365)
NEWS: dict[str, tuple[Callable[[bytes], NewsSource], tuple[bytes, ...]]] = {
    "feeds": (lambda data: FeedSource("N", "https://n.test/feed", FedVisitor(data)), seeds.FEEDS),
    "news-api": (lambda data: NewsApiSource(fed_web(data), "bitcoin"), (seeds.NEWS_API,)),
    "reddit": (_reddit, (seeds.REDDIT,)),
    "x": (lambda data: XSource(fed_web(data), "bitcoin"), (seeds.X,)),
}
CAPTURES: dict[str, tuple[Callable[[io.BytesIO], Any], bytes]] = {
    "binance-capture": (partial(binance_capture, symbol=SYMBOL, snapshot_limit=9), seeds.BINANCE_CAPTURE),
    "binance-stream": (partial(stream_capture, parse=binance_event), seeds.BINANCE_STREAM),
    "bitstamp-stream": (partial(stream_capture, parse=bitstamp_event), seeds.BITSTAMP_STREAM),
    "bitstamp-http": (bitstamp_http_capture, seeds.BITSTAMP_HTTP),
}
PARSERS: dict[str, Parser] = {
    **{name: Parser(facts_over_http(source), (seed,)) for name, (source, seed) in OVER_HTTP.items()},
    "google-trends": Parser(
        facts_of_file(partial(GoogleTrendsSource, historian(NOW)), YEAR_BEFORE), seeds.GOOGLE_TRENDS
    ),
    "daily-csv": Parser(
        facts_of_file(lambda file: DailyCsvSource(historian(NOW), file, "x", STOCKS), YEAR_BEFORE),
        (seeds.DAILY_CSV,),
    ),
    "coingecko-bars": Parser(partial(read_coingecko, interval="30m"), (seeds.COINGECKO_BARS,)),
    "coingecko-prices": Parser(partial(read_coingecko, interval="1m"), (seeds.COINGECKO_PRICES,)),
    "archive": Parser(read_archive, (seeds.archive("open_time"), seeds.archive("open_time_ms"))),
    "candles-csv": Parser(read_csv, seeds.CANDLES_CSV),
    **{
        f"{venue.lower().replace('.', '-')}-candles": Parser(partial(read_candles, venue=venue), (seed,))
        for venue, seed in seeds.VENUE_CANDLES.items()
    },
    "binance-us-markets": Parser(
        read_markets, (seeds.VENUE_MARKETS["Binance.US"] + b"\n" + seeds.VENUE_CANDLES["Binance.US"],)
    ),
    **{
        name: Parser(partial(read_capture, events=events), (seed,))
        for name, (events, seed) in CAPTURES.items()
    },
    "binance-messages": Parser(read_heard, (seeds.BINANCE_MESSAGE,)),
    "streamed-trades": Parser(
        partial(read_streamed, told=partial(trade_frame, SYMBOL), lines=recorded_trades),
        (seeds.STREAMED_TRADES,),
    ),
    "streamed-book": Parser(
        partial(
            read_streamed,
            told=partial(streamed_book, SYMBOL, levels=100),
            lines=lambda book: [book_line(book)],
        ),
        (seeds.STREAMED_BOOK,),
    ),
    "recordings": Parser(read_recording, seeds.RECORDED),
    **{name: Parser(partial(read_news, source=source), texts) for name, (source, texts) in NEWS.items()},
    "robots": Parser(read_robots, (seeds.ROBOTS,)),
    "articles": Parser(read_article, (seeds.ARTICLE,)),
    "outlooks": Parser(read_outlooks, (seeds.OUTLOOKS,)),
    "retry-after": Parser(read_wait, seeds.RETRY_AFTER),
}
