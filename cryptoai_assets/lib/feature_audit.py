"""The audit of features on stored bars: none reads a later bar, and none needs more past than it declares.

Users of freqtrade know its two halves as look-ahead analysis and recursive analysis.

Source: https://www.freqtrade.io/en/stable/lookahead-analysis/ and
https://www.freqtrade.io/en/stable/recursive-analysis/ for the ideas; the code is this project's own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.lib.canaries import MEMORY_TOLERANCE
from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.leaks import Finding
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.features.catalog import computed_features
from edge_bundle.features.feature import Feature
from edge_bundle.features.sources import with_sources

FeatureFunction = Callable[[pl.DataFrame, Sequence[Feature]], pl.DataFrame]

SEES = "no_feature_sees_the_future"
FORGETS = "no_feature_forgets_its_warmup"
# Times at which the history is cut: 40 bars of five symbols.
AUDITED_TIMES = 8
# Newest bars of each symbol that are asked: two years of half hours, four weeks of minutes.
MOST_BARS = 40_000
AUDIT_SCHEMA: dict[str, pl.DataType] = {
    "feature": pl.String(),
    "warmup_bars": pl.Int64(),
    "compared_bars": pl.Int64(),
    "sees_the_future": pl.Boolean(),
    "later_bars": pl.Int64(),
    "first_at": UTC_MICROSECONDS,
    "symbol": pl.String(),
    "known_then": pl.Float64(),
    "known_later": pl.Float64(),
    "forgets_its_warmup": pl.Boolean(),
    "tail_difference": pl.Float64(),
    "bars_enough": pl.Int64(),
}
_KEYS = ("symbol", "segment", "open_time")


@dataclass(slots=True)
class _Seen:
    """What the audit has found about one feature so far."""

    compared_bars: int = 0
    tail_difference: float | None = None
    bars_enough: int | None = None
    unbroken_bars: int = 0
    later_bars: int = 0
    first: Mapping[str, Any] | None = None

    def foresaw(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take down the earliest row of each symbol that differs at one time.

        One that opens its segment does not tell how many bars were read: they may be more than there were.
        """
        self.later_bars = max([self.later_bars, *(row["bars"] for row in rows if not row["opens"])])
        earlier = [self.first, *rows] if self.first else rows
        self.first = min(earlier, key=lambda row: row["open_time"])


def audited_times(grid: pl.DataFrame, *, count: int) -> list[datetime]:
    """Open times of bars, evenly spread over the history; after the last of them come more bars."""
    times = grid["open_time"].unique().sort()
    places = sorted({(2 * place + 1) * len(times) // (2 * count) for place in range(count)})
    return [times[place] for place in places if place < len(times) - 1]


def feature_audit(
    grid: pl.DataFrame,
    features: Iterable[Feature],
    *,
    times: Sequence[datetime],
    compute: FeatureFunction = computed_features,
) -> pl.DataFrame:
    """Compute features from the bars up to some times, and from tails of these, beside the whole history.

    *Look-ahead*: what is computed from the bars up to a time, in all rows up to it, equals what is computed
    from the whole history. *Recursion*: the last row of the bars up to a time equals what the newest
    ``warmup + 1`` slots of them give. Equal is within `MEMORY_TOLERANCE` of max(abs(value), scale), or null
    on both sides.

    A feature that reads one bar ahead shows only in the last bar before each time: one that is hardly ever
    other than 0 may pass, and more times ask more of it. When facts became known is not asked here: that is
    the as-of join's own check.

    Parameters
    ----------
    grid
        From `edge_bundle.candles.bar_grid`, all symbols together, sorted by symbol and open time.
    features
        Members of the catalog or not.
    times
        From `audited_times`.
    compute
        What computes features on grid bars; another one first adds the columns that some of them read.

    Returns
    -------
    DataFrame
        In `AUDIT_SCHEMA`, one row a feature. ``compared_bars`` were the last of their tail; 0 when no
        symbol's history is long enough. For a feature that sees the future: ``later_bars``, null when even
        the first row of a segment differs, so that it may be any number; ``symbol`` and open time
        ``first_at`` of the earliest row found, its value from the bars up to then and from the whole history.
        ``tail_difference`` is the greatest one in units of max(abs(value), scale), infinite where the tail
        gave no value.
        ``bars_enough`` is the warm-up that would be enough, found by doubling the declared one where the
        history is unbroken for longest; null when no tail of it is.
    """
    chosen = tuple(features)
    seen = {feature.name: _Seen() for feature in chosen}
    whole = compute(grid, chosen)
    for time in times:
        bars = grid.filter(pl.col("open_time") <= time)
        known = compute(bars, chosen)
        _look_ahead(chosen, seen, known, whole.filter(pl.col("open_time") <= time))
        _recurse(chosen, seen, known.filter(pl.col("open_time") == time), _Tails(bars, time, compute))
    return pl.DataFrame([_row(feature, seen[feature.name]) for feature in chosen], schema=AUDIT_SCHEMA)


def market_features(
    facts: pl.DataFrame, greatest_age: Mapping[str, timedelta], bar: timedelta
) -> FeatureFunction:
    """What computes catalog members, also those that read the market's other symbols and facts."""

    def compute(bars: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
        names = [feature.name for feature in features]
        sourced = with_sources(bars, names, facts=facts, greatest_age=greatest_age, bar=bar)
        return computed_features(sourced, features)

    return compute


def sees_the_future(audit: pl.DataFrame) -> Finding:
    """Verdict of the look-ahead half, which names every feature that reads later bars."""
    guilty = audit.filter("sees_the_future").to_dicts()
    return Finding(SEES, not guilty, "; ".join(map(_foresight, guilty)) or _innocence(audit, "the future"))


def forgets_its_warmup(audit: pl.DataFrame) -> Finding:
    """Verdict of the recursive half, which names every feature whose declared warm-up is too short."""
    guilty = audit.filter("forgets_its_warmup").to_dicts()
    return Finding(
        FORGETS, not guilty, "; ".join(map(_forgetting, guilty)) or _innocence(audit, "more than its warm-up")
    )


def _foresight(row: Mapping[str, Any]) -> str:
    bars = row["later_bars"]
    told = "later bars, any number" if bars is None else f"{bars} later bar{'s' if bars > 1 else ''}"
    then, later = (
        "no value" if row[name] is None else f"{row[name]:.6g}" for name in ("known_then", "known_later")
    )
    return (
        f"{row['feature']} reads {told}: for {row['symbol']} at {row['first_at']:%Y-%m-%d %H:%M} "
        f"it gives {then} without later bars, {later} with them"
    )


def _forgetting(row: Mapping[str, Any]) -> str:
    off, enough = row["tail_difference"], row["bars_enough"]
    wrong = "gives no value" if np.isinf(off) else f"is off by {off:.2g} times its size"
    cure = f"{enough} would be enough" if enough else "no tail of this history would be enough"
    return f"{row['feature']} {wrong} from a tail of its warm-up of {row['warmup_bars']} bars: {cure}"


def _innocence(audit: pl.DataFrame, what: str) -> str:
    silent = audit.filter(pl.col("compared_bars") == 0)["feature"].to_list()
    told = f"none of {audit.height - len(silent)} features reads {what}"
    return f"{told}; the history is too short to judge {', '.join(silent)}" if silent else told


def _row(feature: Feature, seen: _Seen) -> dict[str, object]:
    first = seen.first or {}
    off = seen.tail_difference
    return {
        "feature": feature.name,
        "warmup_bars": feature.warmup,
        "compared_bars": seen.compared_bars,
        "sees_the_future": seen.first is not None,
        "later_bars": seen.later_bars or None,
        "first_at": first.get("open_time"),
        "symbol": first.get("symbol"),
        "known_then": first.get("known"),
        "known_later": first.get("full"),
        "forgets_its_warmup": off is not None and off > MEMORY_TOLERANCE,
        "tail_difference": off,
        "bars_enough": seen.bars_enough,
    }


def _look_ahead(
    features: Iterable[Feature], seen: Mapping[str, _Seen], known: pl.DataFrame, full: pl.DataFrame
) -> None:
    """Compare every row up to a time; the earliest one that differs tells how far ahead it reads."""
    for feature in features:
        if known[feature.name].equals(full[feature.name]):
            continue
        before, after = _values(known[feature.name]), _values(full[feature.name])
        off = _difference(before, after, feature.scale)
        rows = known.select(
            *_KEYS,
            known=pl.Series(before).fill_nan(None),
            full=pl.Series(after).fill_nan(None),
            differs=pl.Series(off > MEMORY_TOLERANCE),
            bars=pl.int_range(pl.len(), 0, -1).over("symbol"),
        )
        valued = rows.filter(pl.any_horizontal(pl.col("known", "full").is_not_null())).with_columns(
            opens=pl.int_range(pl.len()).over("symbol", "segment") == 0
        )
        earliest = valued.filter("differs").group_by("symbol", maintain_order=True).first()
        if earliest.is_empty():
            continue
        seen[feature.name].foresaw(earliest.to_dicts())


@dataclass(frozen=True, slots=True)
class _Tails:
    """The newest bars of a market at one time, and what features they give."""

    bars: pl.DataFrame
    time: datetime
    compute: FeatureFunction

    def last_rows(self, features: Sequence[Feature], warmup: int) -> pl.DataFrame:
        """Rows of the last time, from its bar and the `warmup` slots before it, of all symbols."""
        slots = self.bars["open_time"].unique().sort().tail(warmup + 1)
        tail = self.bars.filter(pl.col("open_time") >= slots[0])
        return self.compute(tail, features).filter(pl.col("open_time") == self.time)

    def unbroken_bars(self) -> int:
        """Bars of the shortest segment that reaches the last time."""
        own = self.bars.group_by("symbol", "segment").agg(pl.len(), pl.col("open_time").last())
        return int(own.filter(pl.col("open_time") == self.time).select(pl.col("len").min()).item())


def _recurse(
    features: Sequence[Feature], seen: Mapping[str, _Seen], last: pl.DataFrame, tails: _Tails
) -> None:
    """Compare the rows of the last time, features of one warm-up together."""
    for warmup in sorted({feature.warmup for feature in features}):
        members = [feature for feature in features if feature.warmup == warmup]
        tail = tails.last_rows(members, warmup)
        for feature in members:
            wanted, found = _values(last[feature.name]), seen[feature.name]
            off = _difference(wanted, _values(tail[feature.name]), feature.scale)
            judged = np.isfinite(wanted) | (off > 0)
            if not judged.any():
                continue
            found.compared_bars += int(judged.sum())
            found.tail_difference = max(found.tail_difference or 0.0, float(off.max()))
            if off.max() > MEMORY_TOLERANCE and (unbroken := tails.unbroken_bars()) > found.unbroken_bars:
                found.unbroken_bars = unbroken
                found.bars_enough = _bars_enough(feature, tails, wanted, most_bars=unbroken - 1)


def _bars_enough(feature: Feature, tails: _Tails, wanted: Float64Array, *, most_bars: int) -> int | None:
    """Warm-up, doubled from the declared one, from which the last rows are what the history gives."""
    warmup = feature.warmup
    while (warmup := max(1, 2 * warmup)) < most_bars:
        found = _values(tails.last_rows([feature], warmup)[feature.name])
        if _difference(wanted, found, feature.scale).max() <= MEMORY_TOLERANCE:
            return warmup
    return None


def _values(column: pl.Series) -> Float64Array:
    """Values as float64; NaN where there is none."""
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _difference(a: Float64Array, b: Float64Array, scale: float) -> Float64Array:
    """Distance in units of max(|a|, scale): 0 where neither has a value, infinite where only one has."""
    alone: npt.NDArray[np.bool_] = np.isnan(a) != np.isnan(b)
    distance = np.nan_to_num(np.abs(a - b) / np.maximum(np.abs(a), scale), nan=0.0)
    return np.where(alone, np.inf, distance)
