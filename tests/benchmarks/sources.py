"""What it costs to add the newest bars to a store, with a history and with one that is ten times as long."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from benchmarks.rows import BenchRow, alternated_seconds

from cryptoai_assets.lib.market import month_after, month_start
from cryptoai_assets.lib.market_data import MarketStores, appended, cleaned
from cryptoai_assets.lib.quality import Plausibility
from cryptoai_assets.lib.sources.candle_source import Fetched
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import empty_facts

SYMBOL, INTERVAL, BAR = "BTCUSDT", "1m", timedelta(minutes=1)
RUNNING_MONTH, SHORT_MONTHS, TIMES = "2024-12", 3, 10
# Ten days of the running month are there; each round adds the bars of five minutes.
DAYS_THERE, NEW_BARS, ROUNDS = 10, 5, 60
RATIO_GOAL = 1.2
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
    with TemporaryDirectory() as folder:
        venue = Venue(month_of_bars(RUNNING_MONTH))
        short, long = (
            store_with(Path(folder, str(months)), months, venue)
            for months in (SHORT_MONTHS, SHORT_MONTHS * TIMES)
        )
        return [
            _row("append-newest-bars", Append(short, venue), Append(long, venue)),
            _row("append-and-clean", _both(short, venue), _both(long, venue)),
        ]


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
