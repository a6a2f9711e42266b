"""Candles that devices have sent, a file a device and day, read through the interface of a venue."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.sources.archive import quiet_slots
from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError
from edge_bundle.candles import CANDLE_SCHEMA


@dataclass(frozen=True, slots=True)
class DeviceFilesSource:
    """Candles at ``<folder>/<device>/<day>.parquet``, which `cryptoai_serving.daily_candles` has checked.

    Where devices differ about a bar, the first of them in alphabetical order is heard.
    """

    folder: Path
    interval: str
    name: str = "device files"

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Bars with ``start <= open_time < end``, in order.

        A slot for which a device sent a bar of another symbol is one at which the venue answered, as in
        `cryptoai_assets.lib.sources.archive.ArchiveSource`.

        Raises
        ------
        SourceError
            When no device has sent a bar of that time.
        """
        files = [pl.read_parquet(path) for path in self._files(start, end)]
        market = pl.concat([pl.DataFrame(schema=CANDLE_SCHEMA), *files])
        market = market.filter(pl.col("open_time").is_between(start, end, closed="left"))
        if market.is_empty():
            raise SourceError(
                f"no device has sent candles from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
            )
        market = market.unique(["symbol", "open_time"], keep="first").sort("open_time")
        own = market.filter(symbol=symbol)
        return Fetched(own, quiet_slots(market, own, symbol=symbol, interval=self.interval, source=self.name))

    def _files(self, start: datetime, end: datetime) -> Iterator[Path]:
        days = {str(day) for day in _days(start.date(), end.date())}
        return (path for path in sorted(self.folder.glob("*/*.parquet")) if path.stem in days)


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=days) for days in range((last - first).days + 1))
