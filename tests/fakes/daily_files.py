"""A day's candles as a device writes them."""

from io import BytesIO

import polars as pl


def csv(candles: pl.DataFrame) -> bytes:
    return candles.write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode()


def parquet(candles: pl.DataFrame) -> bytes:
    file = BytesIO()
    candles.write_parquet(file)
    return file.getvalue()
