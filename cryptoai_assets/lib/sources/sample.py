"""The embedded sample: real half-hour candles of five coins; origin and licence lie beside the file."""

from importlib.resources import files
from pathlib import Path

import polars as pl

from cryptoai_assets.lib.sources.archive import ArchiveSource
from edge_bundle.candles import candle_frame

SAMPLE_FILE = "bitfinex_30m_2017-10_2019-10.parquet"
INTERVAL = "30m"


def sample_source() -> ArchiveSource:
    """Bitfinex, 2017-10 to 2019-10."""
    return ArchiveSource(sample_file(), INTERVAL, "sample")


def sample_candles() -> pl.DataFrame:
    """All candles of the sample, in `edge_bundle.candles.CANDLE_SCHEMA`."""
    return candle_frame(pl.read_parquet(sample_file()))


def sample_file() -> Path:
    """Where the embedded archive lies."""
    return Path(str(files("cryptoai_assets.sample") / SAMPLE_FILE))
