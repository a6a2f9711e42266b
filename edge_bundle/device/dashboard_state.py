"""What the dashboard shows: bars, forecasts, how right they were, and how the device is."""

import math
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from edge_bundle.candles import interval_duration
from edge_bundle.device.database import MILLISECOND, DatabaseRefusedError, DeviceDatabase, milliseconds
from edge_bundle.device.health import reading
from edge_bundle.device.models import installed_model
from edge_bundle.device.news_shelf import WHOLE_MARKET, NewsShelf
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.errors import EdgeBundleError
from edge_bundle.manifest import Manifest
from edge_bundle.news.articles import MOST_TITLE
from edge_bundle.news.mood import MARKET

BARS = 120
TROUBLES_SINCE, TROUBLES_SHOWN = timedelta(days=1), 10
SANDBOX = "sandbox"
NEWS_SINCE, HEADLINES = timedelta(days=2), 8
# Of `edge_bundle.news.mood`, which is shown of a symbol and of the whole market.
MOODS = ("sentiment_1h", "sentiment_24h", "news_count_24h")


def dashboard_state(settings: DeviceSettings, *, now: datetime) -> dict[str, Any]:
    """Everything on the page, ready for JSON; times are milliseconds since 1970.

    What cannot be said, such as the model while there is none, or what a damaged database holds, is told in
    words and the rest is there.
    """
    database = DeviceDatabase(settings.database)
    state: dict[str, Any] = {
        "model": "no model yet",
        "told": f"{now:%Y-%m-%d %H:%M:%S} UTC",
        "step_ms": 60_000,
        "symbols": [],
        "news": {"headlines": []},
        "device": _device(settings),
        "troubles": _troubles(database, now),
    }
    try:
        model = installed_model(settings)
        state["model"] = f"version {model.released.version} of {settings.model}"
        return state | _kept(database, model.forecaster.manifest, state["device"], now)
    except EdgeBundleError as error:
        return state | {"notice": f"{error}"}


def _kept(
    database: DeviceDatabase, manifest: Manifest, device: dict[str, str], now: datetime
) -> dict[str, Any]:
    """What the model and the database tell together."""
    step = interval_duration(manifest.interval)
    simulated = manifest.market == SANDBOX
    return {
        "notice": "The model was trained on simulated minutes: nothing here is worth anything."
        if simulated
        else "",
        "step_ms": step // MILLISECOND,
        "symbols": [_symbol(database, symbol, manifest, step, now) for symbol in manifest.symbols],
        "news": _news(database, now),
        "device": device
        | {"trained until": manifest.trained_until, "missing bars": _gaps(database, manifest)},
    }


def _symbol(
    database: DeviceDatabase, symbol: str, manifest: Manifest, step: timedelta, now: datetime
) -> dict[str, Any]:
    bars = database.candles((symbol,), bars=BARS)
    forecasts = database.forecasts(symbol, newest=BARS * len(manifest.horizons))
    closes = dict(bars.select("open_time", "close").iter_rows())
    newest = forecasts.filter(open_time=forecasts["open_time"].max()) if forecasts.height else forecasts
    shortest = min(manifest.horizons)
    past = [
        {
            "t": milliseconds(row["open_time"] + shortest * step),
            "expected": _moved(closes[row["open_time"]], row),
        }
        for row in forecasts.filter(horizon=shortest).iter_rows(named=True)
        if row["expected_return_bps"] is not None and row["open_time"] in closes
    ]
    close = bars["close"][-1] if bars.height else None
    age = now - bars["open_time"][-1] - step if bars.height else None
    detail = newest["detail"].drop_nulls()
    return {
        "name": symbol,
        "age": "" if age is None else f"{max(age, timedelta()).total_seconds():.0f} s ago",
        "bars": [
            {"t": milliseconds(time), "o": o, "h": high, "l": low, "c": c}
            for time, o, high, low, c in bars.select("open_time", "open", "high", "low", "close").iter_rows()
        ],
        "forecast": [_ahead(row, close) for row in newest.iter_rows(named=True)],
        "abstention": detail[0] if detail.len() else "",
        "past": past,
        "record": [asdict(record) for record in database.records(symbol)],
        "mood": NewsShelf(database).moods(symbol, MOODS, since=now - NEWS_SINCE),
    }


def _news(database: DeviceDatabase, now: datetime) -> dict[str, Any]:
    """What the newest articles say, the newest first, and the mood of the whole market."""
    shelf = NewsShelf(database)
    newest = shelf.articles(now - NEWS_SINCE).tail(HEADLINES).reverse()
    market = shelf.moods(WHOLE_MARKET, [MARKET + name for name in MOODS], since=now - NEWS_SINCE)
    return {
        "mood": {name.removeprefix(MARKET): values for name, values in market.items()},
        "headlines": [
            {
                "t": milliseconds(row["known_at"]),
                "source": row["source"],
                "title": row["title"] or row["text"][:MOST_TITLE],
                "score": row["score"],
                "method": row["method"],
            }
            for row in newest.iter_rows(named=True)
        ],
    }


def _ahead(row: dict[str, Any], close: float | None) -> dict[str, Any]:
    answered = row["expected_return_bps"] is not None and close is not None
    prices = {
        name: close * math.exp(row[column] / 1e4) if answered and close else None
        for name, column in (
            ("expected", "expected_return_bps"),
            ("lower", "lower_bps"),
            ("upper", "upper_bps"),
        )
    }
    return {
        "bars": row["horizon"],
        "up": row["probability_up"],
        "return_bps": row["expected_return_bps"],
        **prices,
    }


def _moved(close: float, row: dict[str, Any]) -> float:
    return float(close * math.exp(row["expected_return_bps"] / 1e4))


def _device(settings: DeviceSettings) -> dict[str, str]:
    found = reading(settings.home)
    heat = "not told" if found.temperature_celsius is None else f"{found.temperature_celsius:.1f} °C"
    return {
        "temperature": heat,
        "load per core": f"{found.load:.2f}",
        "disk": f"{found.free_bytes / 2**30:.1f} GiB free",
    }


def _gaps(database: DeviceDatabase, manifest: Manifest) -> str:
    return "; ".join(
        f"{gap.symbol} {gap.open} open, {gap.refilled} refilled, {gap.not_to_be_had} not to be had"
        for gap in database.gaps(manifest.symbols)
    )


def _troubles(database: DeviceDatabase, now: datetime) -> list[str]:
    try:
        found = database.troubles(since=now - TROUBLES_SINCE)[:TROUBLES_SHOWN]
    except DatabaseRefusedError as error:
        return [f"{error}"]
    return [f"{trouble.at:%H:%M} {trouble.program}: {trouble.what}" for trouble in found]
