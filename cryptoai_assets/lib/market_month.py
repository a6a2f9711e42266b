"""One month of one symbol on its way into the store: what its market's settings say of every step."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

import polars as pl

from cryptoai_assets.lib.gaps import GapTable, find_gaps
from cryptoai_assets.lib.market import Market, month_after, month_start, month_window, months_of
from cryptoai_assets.lib.market_data import (
    MarketStores,
    TakenIn,
    answered_until,
    appended,
    cleaned,
    ingested,
)
from cryptoai_assets.lib.quality import Screened
from cryptoai_assets.lib.repair import Repaired, RepairPolicy, repair
from cryptoai_assets.lib.sources.candle_source import CandleSource, Fetched
from cryptoai_assets.lib.store import remove_drafts


@dataclass(frozen=True, slots=True)
class MarketMonth:
    """Steps of one symbol and month (``YYYY-MM``), in the order in which they are gone."""

    market: Market
    stores: MarketStores
    gaps: GapTable
    symbol: str
    month: str

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Start and end of what is due by now, see `month_window`."""
        return month_window(self.market, self.month, now)

    def take(self, source: CandleSource, *, overlap_bars: int, now: datetime) -> Fetched | TakenIn:
        """Add what came since the last stored bar; read the month whole where the market ends with its data.

        What killed runs left half written goes first: not every later run writes the same files.

        Parameters
        ----------
        overlap_bars
            Of the stored part, fetched again in search of late and revised bars.
        """
        self._remove_drafts()
        start, end = self.window(now)
        if not self.market.grows:
            return ingested(source, self.stores, symbol=self.symbol, month=self.month, start=start, end=end)
        return appended(
            source,
            self.stores,
            symbol=self.symbol,
            month=self.month,
            start=start,
            end=end,
            interval=self.market.interval,
            overlap=overlap_bars * self.market.bar,
            now=now,
            plausibility=self.market.plausibility,
        )

    def _remove_drafts(self) -> None:
        own = [*self.stores.of_month(self.symbol, self.month), self.gaps.path(self.symbol, self.month)]
        for path in own:
            remove_drafts(path)

    def repair(
        self,
        source: CandleSource,
        second_source: CandleSource | None,
        policy: RepairPolicy,
        *,
        now: datetime,
    ) -> Repaired:
        """Work off its open gaps; it is to be cleaned again afterwards."""
        return repair(
            self.gaps,
            self.stores,
            symbols=[self.symbol],
            month=self.month,
            interval=self.market.interval,
            source=source,
            second_source=second_source,
            policy=policy,
            plausibility=self.market.plausibility,
            now=now,
        )

    def clean(self) -> Screened:
        """Screen it."""
        return cleaned(
            self.stores,
            symbol=self.symbol,
            month=self.month,
            interval=self.market.interval,
            plausibility=self.market.plausibility,
        )

    def find_gaps(self, *, now: datetime) -> pl.DataFrame:
        """Record the bars that the venue did not give, without an explanation, and return them."""
        start, end = self.window(now)
        return find_gaps(
            self.gaps,
            self.stores,
            symbol=self.symbol,
            month=self.month,
            interval=self.market.interval,
            venue=self.market.venue,
            start=start,
            end=end,
            now=now,
        )


def months_to_take(market: Market, stores: MarketStores, symbol: str, now: datetime) -> list[str]:
    """Months of a symbol that its source is asked for now, in order, the running one last.

    Before it those whose end nobody has looked at, back to one whose end somebody has; what was not delivered
    then is for the gaps. One that ended within a day is asked for anyway: its last bars may be revised.
    """
    if now.date() < market.history_start:
        return []
    asked_anyway = {f"{moment:%Y-%m}" for moment in (now, now - timedelta(days=1))}
    first = min([*stores.raw_candles.months(symbol), *asked_anyway])
    months = [month for month in months_of(market, now.date()) if first <= month <= f"{now:%Y-%m}"]

    def is_open(month: str) -> bool:
        return month in asked_anyway or not _end_is_known(market, stores, symbol, month)

    return sorted(takewhile(is_open, reversed(months)))


def _end_is_known(market: Market, stores: MarketStores, symbol: str, month: str) -> bool:
    _, end = month_window(market, month, month_start(month_after(month)))
    raw, facts = (store.month_or_empty(symbol, month) for store in (stores.raw_candles, stores.raw_facts))
    told = answered_until(raw, facts, interval=market.interval)
    return told is not None and end - told < market.bar
