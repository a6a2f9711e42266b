"""How fresh the bars of the online store are, by the clock where the market has one."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from cryptoai_serving.bars import BarStore
from edge_bundle.candles import interval_duration
from edge_bundle.facts import no_trade_slots
from edge_bundle.forecaster import STALE_INTERVALS
from edge_bundle.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of one symbol.

    Parameters
    ----------
    known_at
        Close of its newest bar; None when there is none.
    detail
        Why it is not fresh; empty when it is.
    """

    symbol: str
    known_at: datetime | None
    detail: str

    @property
    def fresh(self) -> bool:
        """Whether a forecast may be made from it."""
        return not self.detail


def freshness(bars: BarStore, manifest: Manifest, now: datetime) -> tuple[Freshness, ...]:
    """Freshness of every symbol that a bundle knows.

    Raises
    ------
    StoreUnavailableError
        When the store cannot be read.
    """
    window, step = bars.window(manifest.symbols, 1), interval_duration(manifest.interval)
    slots = pl.concat([window.candles.select("symbol", "open_time"), no_trade_slots(window.facts)])
    newest = dict(slots.group_by("symbol").agg(pl.col("open_time").max()).iter_rows())
    limit = STALE_INTERVALS * step
    found = []
    for symbol in manifest.symbols:
        known_at = newest[symbol] + step if symbol in newest else None
        detail = ""
        if known_at is None:
            detail = f"the online store holds no bar of {symbol}"
        elif manifest.live and now - known_at > limit:
            detail = f"the newest bar of {symbol} closed {now - known_at} ago, at most {limit} is allowed"
        found.append(Freshness(symbol, known_at, detail))
    return tuple(found)
