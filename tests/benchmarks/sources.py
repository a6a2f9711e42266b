"""What it costs to fill a store: a backfill, five years of minutes, the newest bars, and a recorded book.

The newest bars are added to a history, and to one that is ten times as long.
"""

import json
import multiprocessing
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import polars as pl
from benchmarks.rows import BenchRow, alternated_seconds

from cryptoai_assets.lib.market import month_after, month_start
from cryptoai_assets.lib.market_data import MarketStores, appended, cleaned
from cryptoai_assets.lib.orderbook.book import BINANCE_SPOT
from cryptoai_assets.lib.orderbook.microstructure import BarSettings
from cryptoai_assets.lib.orderbook.recordings import Recordings, recorded_bars
from cryptoai_assets.lib.quality import Plausibility
from cryptoai_assets.lib.sources.candle_source import CandleSource, Fetched
from cryptoai_assets.lib.sources.exchange import ExchangeSource
from cryptoai_assets.lib.sources.patience import Patience
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import empty_facts

SYMBOL, INTERVAL, BAR = "BTCUSDT", "1m", timedelta(minutes=1)
RUNNING_MONTH, SHORT_MONTHS, TIMES = "2024-12", 3, 10
# Ten days of the running month are there; each round adds the bars of five minutes.
DAYS_THERE, NEW_BARS, ROUNDS = 10, 5, 60
RATIO_GOAL = 1.2
BACKFILLED = ("2019-03", "2019-04", "2019-05", "2019-06")
BARS_A_MINUTE_GOAL = 1e6
YEARS, MEGABYTES_GOAL = 5, 500.0
# A busy symbol sends some hundred messages a second: bars are made many times faster than they come.
BOOK_DAY, BOOK_MESSAGES, BOOK_GOAL = date(2024, 3, 2), 100_000, 5_000.0
PLAUSIBILITY = Plausibility(
    bars=20, typical_moves=200.0, least_move=0.001, volume_factor=150.0, second_venue_move=0.05
)


@dataclass(frozen=True)
class Venue:
    """Answers from memory, so that only our own work is measured."""

    bars: pl.DataFrame
    name: str = "venue"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Bars of the one symbol that there is."""
        first, last = (self.bars["open_time"].search_sorted(moment, "left") for moment in (start, end))
        return Fetched(
            self.bars.slice(first, last - first).with_columns(symbol=pl.lit(symbol)), empty_facts()
        )


def month_of_bars(month: str) -> pl.DataFrame:
    """Seeded minutes of a whole month."""
    times = pl.datetime_range(
        month_start(month), month_start(month_after(month)), BAR, closed="left", time_unit="us", eager=True
    )
    random = np.random.default_rng(int(month.replace("-", "")))
    close = 50_000 * np.exp(np.cumsum(random.normal(0, 5e-4, len(times))))
    open_ = np.concatenate([[50_000.0], close[:-1]])
    columns = {
        "open_time": times,
        "symbol": pl.repeat(SYMBOL, len(times), eager=True),
        "open": open_,
        "high": np.maximum(open_, close) * 1.0002,
        "low": np.minimum(open_, close) * 0.9998,
        "close": close,
        "volume": random.lognormal(0, 1, len(times)),
    }
    return pl.DataFrame(columns).select(*CANDLE_SCHEMA)


def store_with(folder: Path, months: int, venue: Venue) -> MarketStores:
    """Raw and clean candles of that many whole months and the begun one."""
    stores = MarketStores(folder)
    for back in range(months, 0, -1):
        month = month_after(RUNNING_MONTH, -back)
        bars = month_of_bars(month)
        stores.raw_candles.write(SYMBOL, month, bars)
        stores.clean_candles.write(SYMBOL, month, bars)
    Append(stores, venue)(DAYS_THERE * 1440)
    return stores


@dataclass
class Append:
    """Adds bars to the running month, five more at each call."""

    stores: MarketStores
    venue: Venue
    bars: int = DAYS_THERE * 1440

    def __call__(self, bars: int | None = None) -> None:
        """Append up to that many bars, or five more than last time."""
        self.bars = bars or self.bars + NEW_BARS
        start = month_start(RUNNING_MONTH)
        end = start + self.bars * BAR
        taken = appended(
            self.venue,
            self.stores,
            symbol=SYMBOL,
            month=RUNNING_MONTH,
            start=start,
            end=end,
            interval=INTERVAL,
            overlap=NEW_BARS * BAR,
            now=end,
        )
        if taken.candles["open_time"].max() != end - BAR or taken.facts.height:
            raise AssertionError(f"the newest bar is not {end - BAR}: {taken}")


def clean(stores: MarketStores) -> None:
    """Screen the running month, as an append makes it necessary."""
    told = cleaned(stores, symbol=SYMBOL, month=RUNNING_MONTH, interval=INTERVAL, plausibility=PLAUSIBILITY)
    if told.rejected.height:
        raise AssertionError(f"good bars were rejected: {told.counts}")


def measure() -> list[BenchRow]:
    """Rows of the room."""
    return [_backfill(), _memory(), *_appends()]


@contextmanager
def sandbox() -> Iterator[str]:
    """Address of simulated venues in a process of their own, which do not limit."""
    command = [sys.executable, "-m", "cryptoai_assets.sandbox", "--port", "0", "--start", "2019-09-30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = "".join(iter(server.stdout.readline, "Ctrl-C ends it.\n"))
            yield re.findall(r"Binance +(\S+)", told)[0]
        finally:
            server.terminate()


def filled(source: CandleSource, folder: Path, months: list[str]) -> int:
    """Append and clean whole months; the number of bars that are clean."""
    stores, bars = MarketStores(folder), 0
    for month in months:
        start, end = month_start(month), month_start(month_after(month))
        appended(
            source,
            stores,
            symbol=SYMBOL,
            month=month,
            start=start,
            end=end,
            interval=INTERVAL,
            overlap=NEW_BARS * BAR,
            now=end,
            plausibility=PLAUSIBILITY,
        )
        told = cleaned(stores, symbol=SYMBOL, month=month, interval=INTERVAL, plausibility=PLAUSIBILITY)
        bars += told.accepted.height
    return bars


def _backfill() -> BenchRow:
    with sandbox() as address, TemporaryDirectory() as folder:
        source = ExchangeSource(
            "Binance.US",
            INTERVAL,
            base_url=address,
            patience=Patience(3, 0.1, 1.0, sleep=lambda _: None, jitter=lambda: 0.5),
            timeout_seconds=10.0,
            clock=lambda: datetime.now(UTC),
            simulated=True,
            milliseconds_between_requests=0.0,
        )
        source.fetch(SYMBOL, month_start("2019-01"), month_start("2019-01") + 1000 * BAR)
        begun = perf_counter()
        bars = filled(source, Path(folder), list(BACKFILLED))
        a_minute = bars / (perf_counter() - begun) * 60
    return BenchRow(
        "sources/backfill",
        a_minute,
        "bars/min",
        BARS_A_MINUTE_GOAL,
        a_minute >= BARS_A_MINUTE_GOAL,
        f"{len(BACKFILLED)} months from the sandbox, clean in the store",
    )


@dataclass(frozen=True)
class EveryMonth:
    """Answers any month from memory, one at a time."""

    name: str = "venue"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Minutes of the month in which the span begins."""
        return Venue(month_of_bars(f"{start:%Y-%m}")).fetch(symbol, start, end)


def fill_years(folder: Path, told: Connection) -> None:
    """Fill five years, and tell the bars and the most memory that this process ever held, in bytes."""
    months = [month_after("2024-12", -back) for back in range(YEARS * 12 - 1, -1, -1)]
    bars = filled(EveryMonth(), folder, months)
    told.send((bars, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def _memory() -> BenchRow:
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        process = processes.Process(target=fill_years, args=(Path(folder), there))
        process.start()
        bars, most = here.recv()
        process.join()
    megabytes = most / 1e6
    return BenchRow(
        "sources/memory-of-five-years",
        megabytes,
        "MB",
        MEGABYTES_GOAL,
        megabytes < MEGABYTES_GOAL,
        f"{bars:,} minutes of one symbol appended and cleaned, libraries included",
    )


def _appends() -> list[BenchRow]:
    with TemporaryDirectory() as folder:
        venue = Venue(month_of_bars(RUNNING_MONTH))
        short, long = (
            store_with(Path(folder, str(months)), months, venue)
            for months in (SHORT_MONTHS, SHORT_MONTHS * TIMES)
        )
        return [
            _row("append-newest-bars", Append(short, venue), Append(long, venue)),
            _row("append-and-clean", _both(short, venue), _both(long, venue)),
            _book_row(),
        ]


def _book_row() -> BenchRow:
    """Messages of a book and its trades a second, from a recording to bars."""
    with TemporaryDirectory() as folder:
        recordings = Recordings(Path(folder))
        recordings.append(SYMBOL, list(book_messages()))
        started = perf_counter()
        bars, anomalies = recorded_bars(
            recordings,
            SYMBOL,
            BOOK_DAY,
            rules=BINANCE_SPOT,
            settings=BarSettings((BAR,), levels=10, depth_bps=10.0, greatest_silence=BAR),
            snapshot_limit=1_000,
            until=datetime(2024, 3, 3, tzinfo=UTC),
        )
        seconds = perf_counter() - started
    if anomalies or bars["top_imbalance"].null_count() or bars.height < BOOK_MESSAGES // 1_200 - 2:
        raise AssertionError(f"{bars.height} bars, {len(anomalies)} anomalies")
    rate = BOOK_MESSAGES / seconds
    told = f"from {BOOK_MESSAGES:,} recorded messages of one symbol to {bars.height} bars"
    return BenchRow("sources/book-messages-to-bars", rate, "messages/s", BOOK_GOAL, rate >= BOOK_GOAL, told)


def book_messages() -> Iterator[tuple[int, str]]:
    """A snapshot, then seeded changes of levels and trades in turn, twenty a second."""
    random = np.random.default_rng(5)
    start = int(datetime(2024, 3, 2, tzinfo=UTC).timestamp() * 1e9)
    prices = {"b": 49_999 - np.arange(200), "a": 50_001 + np.arange(200)}
    whole = {side: [[str(price), "1.5"] for price in prices[side]] for side in "ba"}
    yield start, json.dumps({"lastUpdateId": 1, "bids": whole["b"], "asks": whole["a"]})
    places, sizes = random.integers(1, 200, (BOOK_MESSAGES, 4)), random.uniform(0.1, 3, (BOOK_MESSAGES, 4))
    for number in range(2, BOOK_MESSAGES + 2):
        at_ns = start + number * 50_000_000
        stamps = {"E": at_ns // 10**6, "s": SYMBOL}
        if number % 2:
            price = 49_999 + 2 * (number % 4 // 2)
            trade = {"e": "trade", "t": number // 2, "T": stamps["E"], "p": str(price), "q": "0.01"}
            yield at_ns, json.dumps({**trade, **stamps, "m": price < 50_000, "M": True})
        else:
            row = number - 2
            changed = {
                side: [
                    [str(prices[side][places[row, k]]), f"{sizes[row, k]:.3f}"] for k in (first, first + 1)
                ]
                for side, first in (("b", 0), ("a", 2))
            }
            ids = {"U": number // 2 + 1, "u": number // 2 + 1}
            yield at_ns, json.dumps({"e": "depthUpdate", **stamps, **ids, **changed})


def _both(stores: MarketStores, venue: Venue) -> Callable[[], None]:
    append = Append(stores, venue, bars=DAYS_THERE * 1440 + ROUNDS * NEW_BARS)

    def both() -> None:
        append()
        clean(stores)

    return both


def _row(name: str, short: Callable[[], object], long: Callable[[], object]) -> BenchRow:
    once, tenfold = (median(own) * 1e3 for own in alternated_seconds(short, long, rounds=ROUNDS))
    return BenchRow(
        f"sources/{name}",
        tenfold,
        "ms",
        RATIO_GOAL * once,
        tenfold <= RATIO_GOAL * once,
        f"{SHORT_MONTHS} months of minutes before it, here {SHORT_MONTHS * TIMES}",
        once,
    )
