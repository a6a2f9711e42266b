"""One run of ingestion: what came since the last one, screened, with its gaps; to be killed at any moment."""

import os
import resource
import signal
import sys
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from cryptoai_assets.lib.gaps import GapTable
from cryptoai_assets.lib.market import PRESETS, month_window, months_of
from cryptoai_assets.lib.market_data import MarketStores
from cryptoai_assets.lib.market_month import MarketMonth
from cryptoai_assets.lib.repair import RepairPolicy
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


@dataclass(frozen=True)
class CutWrite:
    """Death inside a write: from the opening of the so-manieth file on, none can grow beyond so many bytes.

    The system ends the process at the first byte too many, and what it wrote before stays.
    """

    files: int
    most_bytes: int


def run(root: Path, address: str, now: datetime, overlap_bars: int, death: Death | CutWrite | None) -> None:
    """Ingest everything once; the process ends with `SOURCE_FAILED` when the venue does not answer.

    Parameters
    ----------
    death
        None is never.
    """
    match death:
        case Death():
            await_death(death)
        case CutWrite():
            await_cut(death)
    try:
        ingest(root, address, now, overlap_bars)
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


def await_cut(cut: CutWrite) -> None:
    """Be ended inside a write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it otherwise
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True  # the tables alone are to be cut
    written = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal written
        if event == "open" and str(arguments[0]).endswith((".parquet", ".tmp")):
            written += 1
            if written == cut.files:
                limit()

    def limit() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (cut.most_bytes, most))

    if cut.files:
        sys.addaudithook(count)
    else:
        limit()


def ingest(root: Path, address: str, now: datetime, overlap_bars: int) -> None:
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
                ingest_month(MarketMonth(MARKET, *stores_in(root), symbol, month), source, end, overlap_bars)


def ingest_month(place: MarketMonth, source: ExchangeSource, now: datetime, overlap_bars: int) -> None:
    """What the assets of one symbol and month do, one after the other."""
    place.take(source, overlap_bars=overlap_bars, now=now)
    place.repair(source, None, POLICY, now=now)
    place.clean()
    place.find_gaps(now=now)
