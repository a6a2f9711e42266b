"""Features of one symbol and month, computed from that month and just enough bars before it."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market, month_after, month_start
from cryptoai_assets.lib.market_data import knowledge, known_candles
from cryptoai_assets.lib.microstructure_days import microstructure_facts
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import largest_warmup, later_features
from edge_bundle.features.microstructure import PREFIX
from edge_bundle.features.sources import facts_read, reads_market
from edge_bundle.windows import INPUT_KEYS, MarketWindow, sourced_grid, window_grid


def months_before(market: Market, names: Sequence[str]) -> int:
    """Months before its own that a month's features read."""
    bars_in_shortest_month = 28 * market.bars_a_day
    return -(-(largest_warmup(names) + market.max_missing_bars) // bars_in_shortest_month)


def months_read(market: Market, month: str, names: Sequence[str]) -> list[str]:
    """Months that a month's features read, its own last."""
    return [month_after(month, -back) for back in range(months_before(market, names), -1, -1)]


def month_features(home: Home, symbol: str, month: str, names: Sequence[str]) -> pl.DataFrame:
    """Features of every grid bar of one month, each from what was known when it closed.

    Empty when the month holds no candle. The memory of every feature is finite, so the values equal those
    from the whole history.
    """
    market = home.market
    start, end = month_start(month), month_start(month_after(month))
    window = month_window(home, symbol, month, names)
    if reads_market(names):
        # What lies behind the slowest symbol's newest bar is left until the others are there.
        newest = window.candles.group_by("symbol").agg(pl.col("open_time").max())
        end = min([end, *(time + market.bar for time in newest["open_time"])])
    # Twice the memory: a series that is quiet at its beginning has fewer bars in it.
    reach = (2 * largest_warmup(names) + market.max_missing_bars + 1) * market.bar
    # The bar behind a hole decides whether it is bridged; no feature reads it before its time.
    bridged = (market.max_missing_bars + 1) * market.bar
    parts = []
    for known in knowledge(window.candles, window.facts, interval=market.interval, until=end, reach=reach):
        # Bars of the month that close from `since` on, and before `until`.
        opened = max(start, (known.since or start) - market.bar)
        until = end + market.bar if known.until is None else known.until
        if known.until is not None and until <= start:
            continue
        closed = pl.col("open_time") + market.bar
        grid = sourced_grid(
            MarketWindow(known.candles.filter(closed < until + bridged), known.facts),
            names,
            interval=market.interval,
            max_missing_bars=market.max_missing_bars,
            greatest_age=market.greatest_age,
        )
        frame = later_features(grid.filter(symbol=symbol), names, since=opened)
        own = (closed < until) & (pl.col("open_time") < end)
        parts.append(frame.filter(own).select(*INPUT_KEYS, *names))
    return pl.concat(parts)


def month_window(home: Home, symbol: str, month: str, names: Sequence[str]) -> MarketWindow:
    """What a month's features of a symbol are made from: bars of its own symbol or of all, and facts."""
    symbols = symbols_read(home.market, symbol, names)
    first = month_start(months_read(home.market, month, names)[0])
    end = month_start(month_after(month))
    candles = home.stores.clean_candles.read(symbols, first, end)
    quiet = home.stores.clean_facts.read(symbols, first, end)
    return MarketWindow(candles, _with_facts(home, quiet, names, symbols, first, end))


def known_window(
    home: Home,
    names: Sequence[str],
    *,
    symbols: Sequence[str],
    since: datetime,
    until: datetime,
    at: datetime,
) -> MarketWindow:
    """Bars that opened from `since` to `until` as they were known at a time, and the facts known then."""
    market, end = home.market, until + home.market.bar
    said = home.stores.clean_facts.read(symbols, since, end)
    candles = known_candles(
        home.stores.clean_candles.read(symbols, since, end), said, interval=market.interval, known_by=at
    )
    facts = _with_facts(home, said, names, symbols, since, end)
    return MarketWindow(candles, facts.filter(pl.col("known_at") <= at))


def symbols_read(market: Market, symbol: str, names: Sequence[str]) -> tuple[str, ...]:
    """Symbols whose bars a symbol's features read."""
    return market.symbols if reads_market(names) else (symbol,)


def stored_window(home: Home, names: Sequence[str]) -> MarketWindow:
    """Everything that the store knows of the market now, late bars and revisions included.

    With the facts that the named features read.
    """
    symbols, stores = home.market.symbols, home.stores
    quiet = stores.clean_facts.read(symbols)
    candles = known_candles(
        stores.clean_candles.read(symbols), quiet, interval=home.market.interval, known_by=None
    )
    return MarketWindow(candles, _with_facts(home, quiet, names, symbols, None, None))


def stored_grid(home: Home) -> pl.DataFrame:
    """Grid bars of everything that the store knows."""
    market = home.market
    return window_grid(
        stored_window(home, ()), interval=market.interval, max_missing_bars=market.max_missing_bars
    )


def _with_facts(
    home: Home,
    quiet: pl.DataFrame,
    names: Sequence[str],
    symbols: Sequence[str],
    start: datetime | None,
    end: datetime | None,
) -> pl.DataFrame:
    """No-trade facts, and the facts that the named features read, of events before `end`.

    Bars of the order book are needed from `start` on; of other facts a feature reads events before.
    """
    read = facts_read(names)
    book = {name for name in read if name.startswith(PREFIX)}
    parts = [quiet]
    if book:
        parts.append(microstructure_facts(home, symbols, start, end).filter(pl.col("name").is_in(book)))
    if outside := read - book:
        parts.append(home.facts.read(outside, end=end))
    return pl.concat(parts)


def joined_dataset(home: Home) -> pl.DataFrame:
    """Features of every stored month beside the targets of their bars, sorted by symbol and open time.

    Features are as known at each bar, targets on the latest knowledge.

    .. warning:: The target columns read later bars; only the feature columns may reach a model's input.
    """
    targets = target_frame(stored_grid(home), horizons=home.market.horizons)
    features = home.features.read(home.market.symbols)
    return features.join(targets, on=["open_time", "symbol"], how="left", maintain_order="left")


def newest_dataset(home: Home, stored: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Stored dataset with the bars that came since it was made, their outcomes known where they are by now.

    Parameters
    ----------
    stored
        From `joined_dataset`.
    names
        Features of the newer bars; other features of theirs are null.
    """
    market = home.market
    last = stored["open_time"].max()
    if not isinstance(last, datetime):
        return stored
    newest = home.stores.clean_candles.read(market.symbols, last)["open_time"].max()
    if not isinstance(newest, datetime) or newest <= last:
        return stored
    first, end = f"{last:%Y-%m}", f"{newest:%Y-%m}"
    months = [first]
    while months[-1] < end:
        months.append(month_after(months[-1]))
    later = [
        month_features(home, symbol, month, names).filter(pl.col("open_time") > last)
        for symbol in market.symbols
        for month in months
    ]
    targets = target_frame(stored_grid(home), horizons=market.horizons)
    features = stored.drop(name for name in targets.columns if name not in ("open_time", "symbol"))
    known = pl.concat([features, *later], how="diagonal_relaxed").sort("symbol", "open_time")
    return known.join(targets, on=["open_time", "symbol"], how="left", maintain_order="left")
