"""The service in this process: its real application in a folder, and candles as its requests hold them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from fakes.asgi_client import client_of

from cryptoai_serving.app import ForecastApplication, create_app, utc_now
from cryptoai_serving.settings import ServingSettings

Json = dict[str, Any]


def columns(candles: pl.DataFrame) -> Json:
    """Candles as a request's columns, times in milliseconds."""
    return {
        name: (values.dt.epoch("ms") if name == "open_time" else values).to_list()
        for name, values in candles.to_dict().items()
    }


def rows(candles: pl.DataFrame) -> list[Json]:
    """Candles as a request's rows, times in ISO 8601."""
    return [row | {"open_time": row["open_time"].isoformat()} for row in candles.iter_rows(named=True)]


@contextmanager
def service_in(
    folder: Path, *, market: str = "sample", now: datetime | None = None, **settings: Any
) -> Iterator[tuple[httpx.Client, ForecastApplication]]:
    """Client and application, with any of its settings changed; `now` stops the clock."""
    clock = (lambda: now) if now else utc_now
    app = create_app(replace(ServingSettings.inside(folder, market=market), **settings), clock=clock)
    assert isinstance(app, ForecastApplication)
    with client_of(app) as client:
        yield client, app
