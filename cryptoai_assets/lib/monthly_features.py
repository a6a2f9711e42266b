"""Features of one symbol and month, computed from that month and just enough bars before it."""

from collections.abc import Sequence

import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market, month_after, month_start
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import largest_warmup
from edge_bundle.windows import INPUT_KEYS, MarketWindow, window_features, window_grid


def months_before(market: Market, names: Sequence[str]) -> int:
    """Months before its own that a month's features read."""
    bars_in_shortest_month = 28 * market.bars_a_day
    return -(-(largest_warmup(names) + market.max_missing_bars) // bars_in_shortest_month)


def months_read(market: Market, month: str, names: Sequence[str]) -> list[str]:
    """Months that a month's features read, its own last."""
    return [month_after(month, -back) for back in range(months_before(market, names), -1, -1)]


def month_features(home: Home, symbol: str, month: str, names: Sequence[str]) -> pl.DataFrame:
    """Features of every grid bar of one month; empty when the month holds no candle.

    The memory of every feature is finite, so the values equal those from the whole history.
    """
    market = home.market
    first = month_start(months_read(market, month, names)[0])
    end = month_start(month_after(month))
    candles = home.stores.clean_candles.read([symbol], first, end)
    facts = home.stores.clean_facts.read([symbol], first, end)
    window = MarketWindow(candles, facts)
    frame = window_features(window, names, interval=market.interval, max_missing_bars=market.max_missing_bars)
    own = pl.col("open_time").is_between(month_start(month), end, closed="left")
    return frame.filter(own).select(*INPUT_KEYS, *names)


def stored_window(home: Home) -> MarketWindow:
    """Everything that the store knows of the market."""
    symbols = home.market.symbols
    return MarketWindow(home.stores.clean_candles.read(symbols), home.stores.clean_facts.read(symbols))


def stored_grid(home: Home) -> pl.DataFrame:
    """Grid bars of everything that the store knows."""
    market = home.market
    return window_grid(
        stored_window(home), interval=market.interval, max_missing_bars=market.max_missing_bars
    )


def joined_dataset(home: Home) -> pl.DataFrame:
    """Features of every stored month beside the targets of their bars, sorted by symbol and open time.

    .. warning:: The target columns read later bars; only the feature columns may reach a model's input.
    """
    targets = target_frame(stored_grid(home), horizons=home.market.horizons)
    features = home.features.read(home.market.symbols)
    return features.join(targets, on=["open_time", "symbol"], how="left", maintain_order="left")
