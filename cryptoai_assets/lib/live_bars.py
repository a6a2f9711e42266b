"""Closed bars of a stream on their way to the service, and the record by which its freshness is judged.

What is served is fresh because of it; what is trained on comes over REST, through screening and quarantine.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

import polars as pl

from cryptoai_assets.lib.freshness import FreshnessWatch, Verdict
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.quality import screened
from cryptoai_assets.lib.sources.bar_sequence import StreamedBars
from cryptoai_serving.bar_shelf import KEPT_BARS
from cryptoai_serving.bars import BarStore
from cryptoai_serving.errors import StoreUnavailableError
from edge_bundle.whole_file import replace_file

# Of a bar: how long after its close it may come over the stream.
TOLERANCE = 0.5


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What a stream has brought, told by the one who reads it to the one who judges it.

    Parameters
    ----------
    since
        When the stream was asked for, in the market's time.
    newest
        Open time of the newest bar that came over the stream itself, by symbol; none before the first.
    last_failure
        What ended the last connection that was lost, or keeps bars from the service now.
    """

    since: datetime
    newest: Mapping[str, datetime]
    last_failure: str | None

    def write(self, path: Path) -> None:
        """Replace the record at a path, whole."""
        newest = {symbol: time.isoformat() for symbol, time in self.newest.items()}
        told = {"since": self.since.isoformat(), "newest": newest, "last_failure": self.last_failure}
        replace_file(path, json.dumps(told))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read what `write` wrote; None when no stream was ever asked for."""
        if not path.is_file():
            return None
        told = json.loads(path.read_bytes())
        newest = {symbol: datetime.fromisoformat(time) for symbol, time in told["newest"].items()}
        return cls(datetime.fromisoformat(told["since"]), newest, told["last_failure"])

    def progress(self, market: Market) -> dict[str, str]:
        """How far each symbol is, as text, to be compared at the next look."""
        return {symbol: str(self.newest.get(symbol, self.since)) for symbol in market.symbols}

    def silent(self, market: Market, now: datetime, *, before: Mapping[str, str]) -> tuple[Verdict, ...]:
        """Symbols whose bars are late, and that were no further at the look before.

        A market that runs faster than it is looked at is not silent because its newest bar is a moment old.

        Parameters
        ----------
        before
            `progress` at the look before.
        """
        progress = self.progress(market)
        late = self._watch(market).late(now)
        return tuple(one for one in late if before.get(one.symbol) == progress[one.symbol])

    def _watch(self, market: Market) -> FreshnessWatch:
        watch = FreshnessWatch(market.symbols, market.bar, self.since, TOLERANCE * market.bar)
        for symbol, time in self.newest.items():
            watch.received(symbol, [time])
        return watch


def cursors(store: BarStore, market: Market, now: datetime) -> dict[str, datetime]:
    """Open time of the first bar that the online store lacks, by symbol, as far back as it keeps bars."""
    newest = dict(store.latest(market.symbols, 1).select("symbol", "open_time").iter_rows())
    oldest = now - KEPT_BARS * market.bar
    return {
        symbol: max(newest[symbol] + market.bar, oldest) if symbol in newest else now
        for symbol in market.symbols
    }


@dataclass(slots=True)
class StreamScreen:
    """Judges bars of a stream as cleaning will: by themselves, and by those before, believed or not.

    Where it begins, those before are the online store's.
    """

    store: BarStore
    market: Market
    _before: dict[str, pl.DataFrame] = field(default_factory=dict, init=False)

    def sound(self, symbol: str, candles: pl.DataFrame) -> pl.DataFrame:
        """Those of the next bars of a symbol that break no rule; the same ones may be asked about again.

        Raises
        ------
        StoreUnavailableError
            When the bars before the first ones cannot be read.
        """
        if candles.is_empty():
            return candles
        interval, rule = self.market.interval, self.market.plausibility
        if symbol not in self._before:
            self._before[symbol] = self.store.latest([symbol], rule.bars)
        before = self._before[symbol].filter(pl.col("open_time") < candles["open_time"].min())
        comparable = screened(candles, interval=interval).accepted
        self._before[symbol] = pl.concat([before, comparable]).tail(rule.bars)
        return screened(candles, interval=interval, plausibility=rule, before=before).accepted


async def keep_online(
    stream: AsyncIterator[StreamedBars],
    store: BarStore,
    record: Path,
    *,
    market: Market,
    since: datetime,
    last_failure: Callable[[], str | None],
) -> None:
    """Put sound bars where the service reads them, as they come, and keep the record; ends with the stream.

    A bar that breaks a rule is left out: it comes again over REST, where it is judged and kept. What
    cannot be put there waits for the next bar.
    """
    newest: dict[str, datetime] = {}
    screen = StreamScreen(store, market)
    waiting: deque[StreamedBars] = deque(maxlen=KEPT_BARS)
    StreamRecord(since, newest, last_failure()).write(record)
    async for bars in stream:
        waiting.append(bars)
        failure = None
        try:
            while waiting:
                _put(waiting[0], screen, newest)
                waiting.popleft()
        except StoreUnavailableError as error:
            failure = error.problem
        StreamRecord(since, newest, failure or last_failure()).write(record)


def _put(bars: StreamedBars, screen: StreamScreen, newest: dict[str, datetime]) -> None:
    screen.store.write_bars(screen.sound(bars.symbol, bars.fetched.candles))
    screen.store.write_no_trade(bars.fetched.facts)
    times = bars.fetched.candles["open_time"]
    if not bars.over_rest and times.len():
        newest[bars.symbol] = max(times[-1], newest.get(bars.symbol, times[-1]))


def missed(one: Verdict) -> str:
    """What is told of a late symbol."""
    newest = f"the newest opened {one.newest:%Y-%m-%d %H:%M}" if one.newest else "none came yet"
    return f"{one.bars_due} bars are due since {one.due_since:%Y-%m-%d %H:%M} UTC; {newest}"
