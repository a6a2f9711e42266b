"""What features read besides the candles of their own symbol, added to a grid as columns."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

import polars as pl

from edge_bundle.facts import as_of_join
from edge_bundle.features import chart_patterns, context, microstructure, outside
from edge_bundle.features.catalog import chosen_features, computed_features, runs
from edge_bundle.features.steps import columns_read

# With events that were overtaken by a newer one before they were known.
_EVENTS_KEPT = 2 * (outside.EVENTS + max(outside.CHANGES))


def facts_read(names: Sequence[str]) -> frozenset[str]:
    """Names of the facts that the named features are made from; empty when candles are enough."""
    columns = _columns(names)
    return frozenset(outside.fact_read(name) for name in columns if name.startswith(outside.PREFIX)) | {
        name for name in columns if name.startswith(microstructure.PREFIX)
    }


def reads_candles_only(names: Sequence[str]) -> bool:
    """Whether the named features need nothing but the candles of their own symbol, as on a device."""
    return not facts_read(names) and not reads_market(names)


def reads_market(names: Sequence[str]) -> bool:
    """Whether the named features need the candles of every symbol of the market at once."""
    return bool(_columns(names) & context.COLUMNS)


def facts_since(facts: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """Facts that features of bars from `since` on may read: the later ones, and the newest events before.

    Of each series, in all versions: a feature reads `outside.EVENTS` events before the one that counts.
    """
    before = pl.col("event_time").filter(pl.col("event_time") < since).unique()
    series = facts.group_by("name", "symbol").agg(_from=before.sort(descending=True).head(_EVENTS_KEPT).min())
    marked = facts.join(series, on=["name", "symbol"], how="left", nulls_equal=True, maintain_order="left")
    kept = (pl.col("event_time") >= since) | (pl.col("event_time") >= pl.col("_from"))
    return marked.filter(kept).drop("_from")


def symbols_compared(names: Sequence[str], symbols: Sequence[str]) -> tuple[str, ...]:
    """Those of a market's symbols whose bars the named features read whatever their own symbol is."""
    read = _columns(names) & context.COLUMNS
    if read == {context.LEADER_RETURN}:
        return tuple(symbol for symbol in symbols if symbol.startswith(context.LEADER))[:1]
    return tuple(symbols) if read else ()


def _columns(names: Sequence[str]) -> frozenset[str]:
    return _columns_of(tuple(names))


@cache
def _columns_of(names: tuple[str, ...]) -> frozenset[str]:
    return columns_read(frozenset().union(*(feature.columns for feature in chosen_features(names))))


def with_sources(
    grid: pl.DataFrame,
    names: Sequence[str],
    *,
    facts: pl.DataFrame,
    greatest_age: Mapping[str, timedelta],
    bar: timedelta,
) -> pl.DataFrame:
    """Add to a grid the columns that the named features read besides its own; none for candle features.

    Parameters
    ----------
    grid
        Of all symbols of the market, sorted by symbol and open time: taken apart by symbol afterwards only.
    greatest_age
        By fact: the age of an event at which it no longer counts.
    """
    columns = _columns(names)
    if columns & context.COLUMNS:
        grid = _with_market(grid)
    if chart_patterns.CONFIRMED in columns:
        found = [chart_patterns.confirmed_patterns(bars) for bars in runs(grid, "symbol", "segment")]
        grid = grid.with_columns(pl.concat(found))
    for column in sorted(columns):
        if column.startswith(outside.PREFIX):
            fact = outside.fact_read(column)
            known = outside.changes(facts, fact)
        elif column.startswith(microstructure.PREFIX):
            fact, known = column, facts
        else:
            continue
        grid = as_of_join(grid, known, name=column, interval=bar, greatest_age=greatest_age[fact])
    return grid


_RETURN, _VOLUME = f"log_return_{context.RANK_SPAN}", f"volume_ratio_{context.RANK_SPAN}"


def _with_market(grid: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of `edge_bundle.features.context`."""
    if grid.is_empty():
        return grid.with_columns(pl.lit(None, pl.Float64).alias(column) for column in sorted(context.COLUMNS))
    own = computed_features(grid, chosen_features(["log_return_1", _RETURN, _VOLUME]))
    times = own["open_time"].unique().sort()
    parts = {bars["symbol"][0]: bars for bars in runs(own, "symbol")}
    places = {symbol: times.search_sorted(bars["open_time"]) for symbol, bars in parts.items()}

    def side_by_side(name: str) -> pl.DataFrame:
        """One column a symbol, one row a time of any symbol."""
        empty = pl.repeat(None, len(times), dtype=pl.Float64, eager=True)
        return pl.DataFrame(
            [empty.scatter(places[symbol], bars[name]).alias(symbol) for symbol, bars in parts.items()]
        )

    symbols = list(parts)
    returns, volumes = side_by_side(_RETURN), side_by_side(_VOLUME)
    leader = next((symbol for symbol in symbols if symbol.startswith(context.LEADER)), None)
    leading = side_by_side("log_return_1")[leader] if leader else pl.lit(None, pl.Float64)
    market = returns.select(leading.alias(context.LEADER_RETURN), _breadth(symbols).alias(context.BREADTH))

    def ranked(symbol: str) -> pl.DataFrame:
        return market.with_columns(
            returns.select(_rank(symbol, symbols)).to_series().alias(context.RETURN_RANK),
            volumes.select(_rank(symbol, symbols)).to_series().alias(context.VOLUME_RANK),
        )

    return pl.concat(
        bars.hstack(ranked(symbol)[places[symbol]])
        for symbol, bars in zip(symbols, runs(grid, "symbol"), strict=True)
    )


def _present(symbols: Sequence[str]) -> pl.Expr:
    """How many symbols have a value, where at least two have; null elsewhere."""
    count = pl.sum_horizontal(pl.col(symbol).is_not_null() for symbol in symbols)
    return pl.when(count > 1).then(count)


def _breadth(symbols: Sequence[str]) -> pl.Expr:
    return pl.sum_horizontal(pl.col(symbol) > 0 for symbol in symbols) / _present(symbols)


def _rank(symbol: str, symbols: Sequence[str]) -> pl.Expr:
    """0 for the lowest, 1 for the highest; equals share their place."""
    own, others = pl.col(symbol), [pl.col(other) for other in symbols if other != symbol]
    if not others:
        return pl.repeat(None, pl.len(), dtype=pl.Float64)
    below = pl.sum_horizontal(other < own for other in others)
    level = pl.sum_horizontal(other == own for other in others)
    place = (below + 0.5 * level) / (_present(symbols) - 1)
    return pl.when(own.is_not_null()).then(place)
