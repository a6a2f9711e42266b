"""The embedded sample: real half-hour candles of five coins, read through the interface of an exchange."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError
from edge_bundle.candles import candle_frame
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE

SAMPLE_FILE = "bitfinex_30m_2017-10_2019-10.parquet"
INTERVAL = "30m"
_STEP = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class SampleSource:
    """Bitfinex candles, 2017-10 to 2019-10; origin and licence lie beside the file.

    Parameters
    ----------
    archive
        Another Parquet file of half-hour candles; None is the embedded one.
    """

    name: str = "sample"
    archive: Path | None = None

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Bars with ``start <= open_time < end``.

        A slot for which the archive holds a bar of another coin is one at which the venue answered: the coin
        was not traded, and the slot becomes a ``no_trade`` fact, known at its close. A slot that is absent
        for all coins stays unknown.

        Raises
        ------
        SourceError
            When the archive does not hold the symbol.
        """
        archive = pl.scan_parquet(self.archive or sample_file())
        span = pl.col("open_time").is_between(start, end, closed="left")
        market = candle_frame(archive.filter(span).collect())
        own = market.filter(pl.col("symbol") == symbol)
        if own.is_empty():
            held = archive.select(pl.col("symbol").unique().sort()).collect()["symbol"].to_list()
            if symbol not in held:
                raise SourceError(f"the sample does not hold {symbol}; it holds {', '.join(held)}")
        seen = market.select(pl.col("open_time").unique())
        quiet = seen.join(own, on="open_time", how="anti").sort("open_time")
        facts = quiet.select(
            symbol=pl.lit(symbol),
            event_time=pl.col("open_time"),
            known_at=pl.col("open_time") + _STEP,
            source=pl.lit(self.name),
            name=pl.lit(NO_TRADE),
            value=pl.lit(1.0),
        )
        return Fetched(own, facts.cast(pl.Schema(FACT_SCHEMA)))


def sample_file() -> Path:
    """Where the embedded archive lies."""
    return Path(str(files("cryptoai_assets.sample") / SAMPLE_FILE))
