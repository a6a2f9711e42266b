"""The catalog of all features, and the one function that computes them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from types import MappingProxyType

import polars as pl

from edge_bundle.errors import BundleRefusedError
from edge_bundle.features import (
    calendar,
    candlesticks,
    chart_patterns,
    context,
    identity,
    microstructure,
    momentum,
    outside,
    price,
    statistics,
    trend,
    volatility,
    volume,
)
from edge_bundle.features.feature import Feature
from edge_bundle.features.plan import Plan

# Their members read the candles of one symbol, and nothing else: what a device can always have.
FAMILIES = (price, trend, momentum, volatility, volume, statistics, candlesticks, calendar)
# Bars: a longer memory costs a small history its first rows, of the whole training set.
SHORT_MEMORY_BARS = 800
# Bars that are computed at once, six weeks of minutes: near a processor, and longer than any warm-up.
BLOCK_BARS = 65_536
KEY_COLUMNS = ("open_time", "symbol", "traded", "missing_run", "segment")


@cache
def catalog() -> Mapping[str, Feature]:
    """Every feature of one symbol's candles by name, in the order of the families."""
    return _named([feature for family in FAMILIES for feature in family.features()])


def sourced_catalog(*, symbols: Sequence[str], facts: Sequence[str], charts: bool) -> Mapping[str, Feature]:
    """Every feature that a market's sources allow by name: the `catalog`, then what reads more than it.

    Parameters
    ----------
    symbols
        Of the market; identity needs more than one, and context needs bitcoin among them.
    facts
        Names of the facts that are configured. A feature whose fact is not among them is absent, and no
        fingerprint holds it.
    charts
        Whether with chart patterns: they read candles alone, and take longer than the catalog.
    """
    several = len(symbols) > 1
    market = several and any(symbol.startswith(context.LEADER) for symbol in symbols)
    told = [feature for symbol in symbols if several for feature in identity.features(symbol)]
    columns = {name for name in facts if name.startswith(microstructure.PREFIX)}
    book = [feature for feature in microstructure.features() if feature.columns & columns]
    slow = [feature for name in facts if name not in columns for feature in outside.features(name)]
    drawn = chart_patterns.features() if charts else ()
    sourced = _named([*told, *(context.features() if market else ()), *book, *slow, *drawn])
    return MappingProxyType({**catalog(), **sourced})


def _named(members: Iterable[Feature]) -> Mapping[str, Feature]:
    return MappingProxyType({feature.name: feature for feature in members})


@cache
def _sourced_members() -> Mapping[str, Feature]:
    return _named([*context.features(), *microstructure.features(), *chart_patterns.features()])


def _member(name: str) -> Feature | None:
    """Feature of a name, which tells its family and its fact by itself."""
    if name.startswith(outside.PREFIX):
        return _named(outside.features(outside.fact_read(name))).get(name)
    if identity.tells(name):
        return identity.features(name.removeprefix(identity.PREFIX))[0]
    return catalog().get(name) or _sourced_members().get(name)


def short_memory() -> tuple[str, ...]:
    """Names of the members that a model is trained on unless it names others.

    The catalog's longest memory, of an EMA over 200 bars, is 76 days of half hours: a row is complete only
    when all its features are, so one such member costs a training set all rows before, and a device as many
    bars to fetch. Who has the history names those members as well.
    """
    return tuple(name for name, feature in catalog().items() if feature.warmup <= SHORT_MEMORY_BARS)


def chosen_features(names: Sequence[str]) -> tuple[Feature, ...]:
    """Return the named members of a catalog, sourced or not, in the order of `names`.

    Raises
    ------
    BundleRefusedError
        When a name is not in the catalog.
    """
    members = [_member(name) for name in names]
    if unknown := [name for name, member in zip(names, members, strict=True) if member is None]:
        raise BundleRefusedError(
            f"features not in this catalog: {', '.join(unknown)}; install the matching version"
        )
    return tuple(member for member in members if member is not None)


def largest_warmup(names: Sequence[str]) -> int:
    """Bars before the first row at which all named features have a value."""
    return max((feature.warmup for feature in chosen_features(names)), default=0)


def fingerprint(names: Sequence[str]) -> str:
    """SHA-256 over names, order, warm-ups and revisions."""
    chosen = [[feature.name, feature.warmup, feature.revision] for feature in chosen_features(names)]
    return hashlib.sha256(json.dumps(chosen, separators=(",", ":")).encode()).hexdigest()


def family_of(name: str) -> str:
    """Name of the module that a feature lives in."""
    if name.startswith(outside.PREFIX):
        return "outside"
    if identity.tells(name):
        return "identity"
    return next(
        family.__name__.rpartition(".")[2]
        for family in (*FAMILIES, context, microstructure, chart_patterns)
        if any(feature.name == name for feature in family.features())
    )


def feature_frame(grid: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Compute the named features on grid bars.

    Parameters
    ----------
    grid
        From `edge_bundle.candles.bar_grid`, sorted by symbol and open time; for features that read more than
        candles with the columns of `edge_bundle.features.sources.with_sources`.

    Returns
    -------
    DataFrame
        The key columns and one Float64 column a feature, one row a grid bar. A feature is null until its
        warm-up is full, counted anew in every segment, and where its meaning says so; it is never NaN.

    Raises
    ------
    BundleRefusedError
        When a name is not in the catalog, or the grid lacks a column that a feature reads.
    """
    return computed_features(grid, chosen_features(names))


def newest_features(segment: pl.DataFrame, names: Sequence[str], *, bars: int) -> pl.DataFrame:
    """Last rows of the `feature_frame` of one segment, from no longer a tail than they need.

    Features of short and of long memory are computed from a tail each: most remember little, and a bar whose
    value nobody reads costs as much as any other.
    """
    newest = segment.tail(bars)[list(KEY_COLUMNS)]
    for plan in _newest_plans(tuple(names)):
        newest.hstack(plan.newest_rows(segment, bars=newest.height).get_columns(), in_place=True)
    return newest[[*KEY_COLUMNS, *names]]


def later_features(grid: pl.DataFrame, names: Sequence[str], *, since: datetime) -> pl.DataFrame:
    """Rows of the `feature_frame` of the bars that open at a time or later; see `newest_features`."""
    frames = []
    for segment in runs(grid, "symbol", "segment"):
        first = segment["open_time"].search_sorted(since)
        for start in range(first, segment.height, BLOCK_BARS):
            block = segment.head(start + BLOCK_BARS)
            frames.append(newest_features(block, names, bars=block.height - start))
    return pl.concat(frames) if frames else feature_frame(grid.clear(), names)


@cache
def _newest_plans(names: tuple[str, ...]) -> tuple[Plan, ...]:
    chosen = chosen_features(names)
    short = [feature for feature in chosen if feature.warmup <= SHORT_MEMORY_BARS]
    long = [feature for feature in chosen if feature.warmup > SHORT_MEMORY_BARS]
    return tuple(Plan.of(group) for group in (short, long) if group)


def computed_features(grid: pl.DataFrame, features: Iterable[Feature]) -> pl.DataFrame:
    """Compute features that need not be catalog members; see `feature_frame`.

    A long segment is computed block by block, each from the shortest tail that reaches its first bar. So no
    running sum carries the rounding of a year, and the steps of a block are all that is in memory.
    """
    plan = Plan.of(tuple(features))
    segments = [_segment_features(segment, plan) for segment in runs(grid, "symbol", "segment")]
    return segments[0] if len(segments) == 1 else pl.concat(segments, rechunk=True)


def runs(grid: pl.DataFrame, *columns: str) -> list[pl.DataFrame]:
    """Parts of a grid in which the columns stay the same, in order and without a copy; at least one part.

    Parameters
    ----------
    grid
        Sorted by symbol: where the first is the last, none in between is compared. Texts take the longest.
    """
    one_symbol = grid["symbol"].head(1).equals(grid["symbol"].tail(1))
    compared = [column for column in columns if column != "symbol" or not one_symbol]
    if not compared:
        return [grid]
    other = pl.any_horizontal(pl.col(column) != pl.col(column).shift(1) for column in compared)
    starts = [0, *grid.select(other.arg_true()).to_series().to_list()]
    ends = [*starts[1:], grid.height]
    return [grid.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _segment_features(segment: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    def block(start: int) -> pl.DataFrame:
        bars = segment.slice(start, BLOCK_BARS)
        values = plan.newest_rows(segment.head(start + BLOCK_BARS), bars=bars.height)
        return bars.select(KEY_COLUMNS).hstack(values.get_columns())

    if segment.height <= BLOCK_BARS:
        return block(0)
    # Side by side, for polars shares out the expressions of a round, and one of them takes the longest.
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return pl.concat(pool.map(block, range(0, segment.height, BLOCK_BARS)))
