"""A device as it stands after installation: settings, a model, and a database with bars."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.news_shelf import NewsShelf
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.news.articles import ARTICLE_SCHEMA, Found, sifted
from edge_bundle.news.mood import WEIGHING, mood_facts
from edge_bundle.news.scored_news import with_scores
from edge_bundle.sentiment.keywords import KeywordSentiment

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MODEL = "cryptoai-forecaster-live"
START = datetime(2026, 3, 1, tzinfo=UTC)
BARS = 300
# When the newest of the bars closed.
CLOSED = START + BARS * timedelta(minutes=1)


def installed_device(
    folder: Path, *, venue_url: str = "http://127.0.0.1:9", fallback_url: str = "", **others: str
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
        **others,
    }
    lines = [f'{name} = "{value}"\n' for name, value in entries.items()]
    path.write_text("".join([*lines, "news_feeds = []\n"]))
    return DeviceSettings.read(path)


def with_news(database: DeviceDatabase) -> None:
    """Put two articles on bitcoin there, known half an hour before `CLOSED`, and the mood of that hour."""
    shelf, known = NewsShelf(database), CLOSED - timedelta(minutes=30)
    found = [
        Found(f"https://n.test/{title}", title, "T", "news", None, title, "", None, known)
        for title in ("Bitcoin adoption booms", "Bitcoin <b>falls</b>")
    ]
    shelf.add(sifted(found, now=known, history_until=None).articles)
    held = shelf.articles(START)
    scored = with_scores(held.select(list(ARTICLE_SCHEMA)), KeywordSentiment(), held.clear())
    shelf.score(scored)
    coins = dict(zip(SYMBOLS, ("BTC", "ETH"), strict=True))
    shelf.add_moods(mood_facts(scored, coins, [CLOSED], weighing=WEIGHING))


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
