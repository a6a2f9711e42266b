"""The sources of facts of a market, by the name of their asset, and what features may read of them."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cryptoai_assets.defs.resources import TIMEOUT_SECONDS, MarketResource
from cryptoai_assets.lib.sources import (
    coin_metrics,
    daily_csv,
    fear_greed,
    fred,
    google_trends,
    mempool_space,
)
from cryptoai_assets.lib.sources.fact_source import FactSource, FileSource, Witness
from cryptoai_assets.lib.sources.web import WebClient
from edge_bundle.news.mood import OF_A_COIN, OF_THE_MARKET

TRENDS_FILE = "google_trends.csv"
SESSIONS: Mapping[str, daily_csv.Session] = {
    "vix": daily_csv.VOLATILITY,
    "sp500": daily_csv.STOCKS,
    "dollar_index": daily_csv.CURRENCIES,
}
# Name of each source, for its facts, and its place in the sandbox.
_TITLES: Mapping[str, tuple[str, str]] = {
    "coin_metrics": ("Coin Metrics", "/coin-metrics/v4"),
    "mempool_space": ("mempool.space", "/mempool/api"),
    "fear_greed": ("Fear & Greed", "/fear-greed"),
    "fred": ("FRED", "/fred/fred"),
}
_HOMES: Mapping[str, tuple[str, float]] = {
    "coin_metrics": (coin_metrics.BASE_URL, coin_metrics.REQUESTS_PER_SECOND),
    "mempool_space": (mempool_space.BASE_URL, mempool_space.REQUESTS_PER_SECOND),
    "fear_greed": (fear_greed.BASE_URL, fear_greed.REQUESTS_PER_SECOND),
    "fred": (fred.BASE_URL, fred.REQUESTS_PER_SECOND),
}
SOURCES = (*_TITLES, "google_trends", *SESSIONS)
# Any key opens the simulated FRED.
_SIMULATED_KEY = "0" * 32
_SIMULATED_RATE = 1e3


def fact_source(market: MarketResource, name: str) -> FactSource:
    """Source of one of `SOURCES`, at home, where it is set to be, or simulated for a simulated market."""
    folder = Path(market.files) if market.files else None
    witness = Witness(market.now, market.home.facts.live_since(_title(market, name)))
    match name:
        case "coin_metrics":
            symbols = {market.settings.base(s).lower(): s for s in market.settings.symbols}
            return coin_metrics.CoinMetricsSource(witness, _web(market, name), symbols)
        case "mempool_space":
            # Bitcoin's network is told of for the whole market.
            return mempool_space.MempoolSpaceSource(witness, _web(market, name), symbol=None)
        case "fear_greed":
            return fear_greed.FearGreedSource(witness, _web(market, name))
        case "fred":
            return fred.FredSource(witness, _web(market, name), fred.SERIES)
        case "google_trends":
            return google_trends.GoogleTrendsSource(witness, folder / TRENDS_FILE if folder else None)
        case _:
            file = folder / f"{name}.csv" if folder else None
            return daily_csv.DailyCsvSource(witness, file, name, SESSIONS[name], _title(market, name))


def facts_given(market: MarketResource, name: str) -> tuple[str, ...]:
    """Facts of a source that features may read: those that have a greatest age in the market's settings."""
    given: Mapping[str, tuple[str, ...]] = {
        "coin_metrics": coin_metrics.METRICS,
        "mempool_space": (mempool_space.BLOCK_FEES, mempool_space.HASH_RATE, mempool_space.DIFFICULTY),
        "fear_greed": (fear_greed.FEAR_AND_GREED,),
        "fred": tuple(fred.SERIES),
    }
    ages = market.settings.greatest_age
    if name == "google_trends":
        return tuple(fact for fact in ages if fact.startswith(google_trends.PREFIX))
    return tuple(fact for fact in given.get(name, (name,)) if fact in ages)


def facts_offered(market: MarketResource) -> tuple[str, ...]:
    """Facts that features may read, of every source that is configured, and the mood of the news."""
    outside = (
        fact for name in SOURCES if missing(market, name) is None for fact in facts_given(market, name)
    )
    ages = market.settings.greatest_age
    mood = (fact for fact in (*OF_A_COIN, *OF_THE_MARKET) if market.settings.grows and fact in ages)
    return (*outside, *mood)


def missing(market: MarketResource, name: str) -> str | None:
    """What must be set before a source can be asked, as a sentence; None when nothing is missing."""
    if not market.settings.greatest_ages:
        return f"the market {market.name} reads no facts"
    return fact_source(market, name).missing


def source_files(market: MarketResource, name: str) -> dict[str, Path]:
    """Files that a source reads, by name."""
    source = fact_source(market, name)
    return {name: source.file} if isinstance(source, FileSource) and source.file else {}


def _title(market: MarketResource, name: str) -> str:
    if name not in _TITLES:
        return {"google_trends": "Google Trends"}.get(name, f"daily file {name}")
    title = _TITLES[name][0]
    return f"simulated {title}" if market.settings.source == "sandbox" else title


def _web(market: MarketResource, name: str) -> WebClient:
    simulated = market.settings.source == "sandbox"
    address, rate = _HOMES[name]
    if simulated:
        address, rate = market.sandbox + _TITLES[name][1], _SIMULATED_RATE
    key = _SIMULATED_KEY if simulated else market.fred_key
    return WebClient(
        _title(market, name),
        market.addresses.get(name, address),
        requests_per_second=rate,
        timeout_seconds=TIMEOUT_SECONDS,
        patience=market.patience,
        clock=lambda: datetime.now().astimezone(),
        secrets={fred.KEY: key} if name == "fred" and key else {},
    )
