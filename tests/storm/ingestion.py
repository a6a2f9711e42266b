"""One run of ingestion: what came since the last one, screened, with its gaps; to be killed at any moment."""

import os
import signal
import sys
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from cryptoai_assets.lib.gaps import GapTable, find_gaps
from cryptoai_assets.lib.market import PRESETS, Market, month_window, months_of
from cryptoai_assets.lib.market_data import MarketStores, appended, cleaned
from cryptoai_assets.lib.repair import RepairPolicy, repair
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.exchange import ExchangeSource
from cryptoai_assets.lib.sources.patience import Patience

# Six days across the end of a month; on 2018-10-04 the real venue was down for an hour and more.
MARKET = replace(PRESETS["sandbox"], history_start=date(2018, 9, 30), history_end=date(2018, 10, 6))
POLICY = RepairPolicy(own_tries=2, max_tries=3, bars_a_request=1000)
TIMEOUT_SECONDS = 1.0
OVERLAP_BARS = 30
SOURCE_FAILED = 3


def stores_in(root: Path) -> tuple[MarketStores, GapTable]:
    """Tables of a run."""
    return MarketStores(root), GapTable(root / "gaps")


@dataclass(frozen=True)
class Death:
    """SIGKILL at the `number`-th event that the interpreter audits: any, or one of a name."""

    number: int
    name: str | None


def run(root: Path, address: str, now: datetime, overlap: timedelta, death: Death | None) -> None:
    """Ingest everything once; the process ends with `SOURCE_FAILED` when the venue does not answer.

    Parameters
    ----------
    death
        None is never.
    """
    if death is not None:
        await_death(death)
    try:
        ingest(root, address, now, overlap)
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(SOURCE_FAILED)


def await_death(death: Death) -> None:
    """Be killed when so many files were opened or renamed, sockets used, and the like."""
    events = 0

    def count(event: str, _arguments: object) -> None:
        nonlocal events
        if death.name in (None, event):
            events += 1
            if events == death.number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def ingest(root: Path, address: str, now: datetime, overlap: timedelta) -> None:
    """Append, screen, find gaps and work them off, for every month that has begun."""
    source = ExchangeSource(
        MARKET.venue,
        MARKET.interval,
        base_url=address,
        patience=Patience(6, 0.0, float("inf"), sleep=lambda _: None, jitter=lambda: 0.5),
        timeout_seconds=TIMEOUT_SECONDS,
        clock=lambda: now,
        simulated=True,
        milliseconds_between_requests=0.0,
    )
    end = source.now()
    for month in months_of(MARKET, end.date()):
        for symbol in MARKET.symbols:
            if month_window(MARKET, month, end)[1] > month_window(MARKET, month, end)[0]:
                ingest_month(root, source, MARKET, symbol, month, end, overlap)


def ingest_month(
    root: Path,
    source: ExchangeSource,
    market: Market,
    symbol: str,
    month: str,
    now: datetime,
    overlap: timedelta,
) -> None:
    """What the assets of one symbol and month do, one after the other."""
    stores, gaps = stores_in(root)
    start, end = month_window(market, month, now)
    appended(
        source,
        stores,
        symbol=symbol,
        month=month,
        start=start,
        end=end,
        interval=market.interval,
        overlap=overlap,
        now=now,
        plausibility=market.plausibility,
    )
    repair(
        gaps,
        stores,
        symbols=[symbol],
        month=month,
        interval=market.interval,
        source=source,
        second_source=None,
        policy=POLICY,
        plausibility=market.plausibility,
        now=now,
    )
    cleaned(stores, symbol=symbol, month=month, interval=market.interval, plausibility=market.plausibility)
    find_gaps(
        gaps,
        stores,
        symbol=symbol,
        month=month,
        interval=market.interval,
        venue=market.venue,
        start=start,
        end=end,
        now=now,
    )
