"""A device as it stands after installation: settings, a model, and a database with bars."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.settings import DeviceSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MODEL = "cryptoai-forecaster-live"
START = datetime(2026, 3, 1, tzinfo=UTC)
BARS = 300
# When the newest of the bars closed.
CLOSED = START + BARS * timedelta(minutes=1)


def installed_device(
    folder: Path, *, venue_url: str = "http://127.0.0.1:9", fallback_url: str = ""
) -> DeviceSettings:
    """Write settings and a model; the database is empty."""
    release_tiny_bundle(
        folder / "home" / "releases",
        version=1,
        seed=1,
        market="live",
        live=True,
        interval="1m",
        symbols=SYMBOLS,
    )
    path = settings_file(folder)
    entries = {
        "home": f"{folder / 'home'}",
        "model": MODEL,
        "venue_url": venue_url,
        "fallback_url": fallback_url,
    }
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in entries.items()))
    return DeviceSettings.read(path)


def settings_file(folder: Path) -> Path:
    """Where the settings of an installed device are."""
    return folder / "settings.toml"


def walked_bars(bars: int = BARS) -> pl.DataFrame:
    """Minutes of both symbols from `START` on."""
    return walk_candles(SYMBOLS, bars=bars, interval="1m", seed=3, start=START)


def with_bars(settings: DeviceSettings, bars: pl.DataFrame) -> DeviceDatabase:
    """Put bars into the device's database."""
    database = DeviceDatabase(settings.database)
    database.add_candles(bars, source="test", now=CLOSED)
    return database
