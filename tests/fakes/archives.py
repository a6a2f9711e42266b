"""Archives of candles for the source to read: the embedded one, or parts of it with faults put in."""

from pathlib import Path

import polars as pl

from cryptoai_assets.lib.sources.sample import sample_file
from edge_bundle.candles import candle_frame


def embedded_candles() -> pl.DataFrame:
    return candle_frame(pl.read_parquet(sample_file()))


def archive(folder: Path, candles: pl.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "archive.parquet"
    candles.write_parquet(path)
    return path
