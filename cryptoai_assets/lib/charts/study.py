"""Event study: what came after a pattern, after costs, beside like windows without one, and by chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryptoai_assets.lib.charts.labels import BLOCK, Int64Array, PatternLabels, joined, picture_labels
from cryptoai_assets.lib.charts.windows import LabelledSeries, Series, series_of
from cryptoai_assets.lib.figures import ACCENT, GREY
from cryptoai_assets.lib.scoring import BootstrapSettings
from edge_bundle.chart import CLOSE, ChartFormat, Float64Array
from edge_bundle.chart_rule import PatternRule
from edge_bundle.detection import Pattern

# Windows without a pattern that each event is held against, and the bars around it that they come from.
MATCHES, AROUND_BARS = 5, 1000
# Steps of a Brownian path within a bar.
STEPS = 8
MARKET, BROWNIAN = "market", "brownian"
BASIS_POINTS = 1e4
# A bootstrap of fewer makes too much of them.
LEAST_EVENTS = 30
VALUES = ("net_bps", "matched_bps", "difference_bps", "lower", "upper", "p_value")


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How a study is done.

    Parameters
    ----------
    horizons
        In bars after the bar that confirms a pattern.
    costs_bps
        Of going in and out, together.
    """

    horizons: tuple[int, ...]
    costs_bps: float
    bootstrap: BootstrapSettings


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Series with its labels, without what only a dataset asks for."""

    series: Series
    labels: PatternLabels

    def events(self) -> Int64Array:
        """Windows that confirm a pattern first."""
        none = np.zeros(len(self.labels), dtype=bool)
        return LabelledSeries(self.series, self.labels, self.labels.pattern, none, none).events()


def confirmed(series: Series, chart: ChartFormat, rule: PatternRule) -> Confirmed:
    """Labels of all windows of a series."""
    windows = np.arange(len(series.last))
    blocks = [windows[start : start + BLOCK] for start in range(0, max(1, len(windows)), BLOCK)]
    labels = [picture_labels(series.candles(block, chart.bars), chart, rule) for block in blocks]
    return Confirmed(series, joined(labels))


def brownian_series(like: Series, *, seed: int) -> Series:
    """Bars of a Brownian path as long and as wild as a series, at the same times and with the same holes."""
    generator = np.random.default_rng(seed)
    returns = np.diff(np.log(like.bars[:, CLOSE]))
    steps = generator.normal(0.0, returns.std() / STEPS**0.5, (len(like.bars), STEPS))
    path = np.cumsum(steps.ravel()).reshape(steps.shape)
    before = np.concatenate([[0.0], path[:-1, -1]])
    seen = np.column_stack([before, path])
    logs = np.column_stack([before, seen.max(axis=1), seen.min(axis=1), path[:, -1]])
    bars = np.column_stack([np.exp(logs), generator.lognormal(0.0, 1.0, len(like.bars))])
    return Series(like.symbol, like.interval, bars, like.open_time, like.last)


def pattern_study(held: Sequence[Confirmed], settings: StudySettings, *, data: str) -> pl.DataFrame:
    """One row a pattern and horizon; the side is the textbook's: tops are sold, bottoms are bought.

    Returns
    -------
    DataFrame
        ``events``; ``net_bps`` the mean log return of the side after costs; ``matched_bps`` that of like
        windows without a pattern; ``difference_bps`` with ``lower`` and ``upper``, a block bootstrap's;
        ``p_value``, and ``p_adjusted`` after Holm over all rows. Null where fewer than
        `LEAST_EVENTS` events have a known outcome.
    """
    rows = [
        row
        for pattern in Pattern
        if pattern is not Pattern.NONE
        for row in _pattern_rows(held, pattern, settings)
    ]
    table = pl.DataFrame(rows, schema_overrides=dict.fromkeys(VALUES, pl.Float64))
    adjusted = pl.Series("p_adjusted", holm(table["p_value"].fill_null(np.nan).to_numpy()))
    return table.with_columns(adjusted.fill_nan(None), data=pl.lit(data))


def holm(p_values: Float64Array) -> Float64Array:
    """P-values after Holm's correction for their number; NaN stays, and is no test.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known])]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _pattern_rows(
    held: Sequence[Confirmed], pattern: Pattern, settings: StudySettings
) -> list[dict[str, object]]:
    side = -1.0 if pattern.starts_at_top else 1.0
    found = [(one, own, like_windows(one, own)) for one in held for own in [_of(one, pattern)]]
    rows = []
    for horizon in settings.horizons:
        ours = [side * _forward(one, own, horizon) for one, own, _ in found]
        other = [side * _known_mean(_forward(one, like, horizon)) for one, _, like in found]
        times = [one.series.open_time[one.series.last[own]] for one, own, _ in found]
        mean, like = np.concatenate(ours), np.concatenate(other)
        known = np.isfinite(mean) & np.isfinite(like)
        when = pl.Series("open_time", np.concatenate(times)[known])
        rows.append(
            {"pattern": pattern.name.lower(), "horizon": horizon, "events": int(known.sum())}
            | _scored(BASIS_POINTS * mean[known], BASIS_POINTS * like[known], when, settings)
        )
    return rows


def _scored(
    ours: Float64Array, like: Float64Array, times: pl.Series, settings: StudySettings
) -> dict[str, float | None]:
    if len(ours) < LEAST_EVENTS:
        return dict.fromkeys(VALUES)
    draw = settings.bootstrap.over(times)
    sums = draw.sums(np.column_stack([ours - like, np.ones(len(ours))]))
    drawn = sums[:, 0] / np.maximum(sums[:, 1], 1)
    lower, upper = draw.ends(drawn)
    costs, difference = settings.costs_bps, float((ours - like).mean())
    p_value = draw.p_value(difference, drawn)
    values = (ours.mean() - costs, like.mean() - costs, difference, lower, upper, p_value)
    return {name: float(value) for name, value in zip(VALUES, values, strict=True)}


def _known_mean(values: Float64Array) -> Float64Array:
    """(rows,) mean of what is known in each row (rows, values); NaN where nothing is."""
    known = np.isfinite(values)
    mean: Float64Array = np.where(known, values, 0.0).sum(axis=1) / np.where(
        known.any(axis=1), known.sum(axis=1), np.nan
    )
    return mean


def _of(one: Confirmed, pattern: Pattern) -> Int64Array:
    events = one.events()
    own: Int64Array = events[one.labels.pattern[events] == pattern]
    return own


def like_windows(one: Confirmed, events: Int64Array) -> Int64Array:
    """(events, matches) windows without a pattern around each event, alike in trend and in volatility."""
    logs = np.log(one.series.bars[:, CLOSE])
    last, bars = one.series.last, one.labels.turns.shape[1]
    moves = np.concatenate([[0.0], np.diff(logs)])
    squares = np.concatenate([[0.0], (moves**2).cumsum()])
    spread = np.sqrt((squares[last + 1] - squares[last + 2 - bars]) / (bars - 1)) + 1e-12
    trend = (logs[last] - logs[last + 1 - bars]) / (spread * bars**0.5)
    none = np.flatnonzero(one.labels.pattern == Pattern.NONE)
    like = []
    for event in events:
        near = none[(none >= event - AROUND_BARS) & (none <= event + AROUND_BARS)]
        near = near[np.abs(last[near] - last[event]) >= bars]  # which share no bar with it
        away = np.abs(trend[near] - trend[event]) + np.abs(np.log(spread[near] / spread[event]))
        like.append(
            np.resize(near[np.argsort(away)[:MATCHES]], MATCHES) if len(near) else np.full(MATCHES, -1)
        )
    return np.array(like, dtype=np.int64).reshape(-1, MATCHES)


def _forward(one: Confirmed, windows: Int64Array, horizon: int) -> Float64Array:
    """Log returns after windows, of any shape; NaN across a hole, past the end, and for no window (-1)."""
    series = one.series
    step = np.diff(series.open_time).min()
    last = series.last[windows]
    end = np.minimum(last + horizon, len(series.bars) - 1)
    logs = np.log(series.bars[:, CLOSE])
    whole = (series.open_time[end] - series.open_time[last] == horizon * step) & (windows >= 0)
    forward: Float64Array = np.where(whole, logs[end] - logs[last], np.nan)
    return forward


def market_study(
    candles: pl.DataFrame, *, interval: str, chart: ChartFormat, rule: PatternRule, settings: StudySettings
) -> tuple[pl.DataFrame, Mapping[str, float]]:
    """Study of all symbols beside that of Brownian paths like them, and the share of windows with a pattern.

    Parameters
    ----------
    candles
        Validated ones of `interval`.
    """
    found = series_of(candles, interval=interval, every=interval, bars=chart.bars)
    chance = [brownian_series(one, seed=settings.bootstrap.seed + place) for place, one in enumerate(found)]
    tables, shares = [], {}
    for data, series in ((MARKET, found), (BROWNIAN, chance)):
        held = [confirmed(one, chart, rule) for one in series if len(one.last)]
        tables.append(pattern_study(held, settings, data=data))
        labels = np.concatenate([one.labels.pattern for one in held])
        shares[data] = float((labels != Pattern.NONE).mean())
    return pl.concat(tables), shares


def study_figure(table: pl.DataFrame) -> Figure:
    """Difference to like windows by pattern, a panel a horizon, with intervals; Brownian paths beside."""
    horizons = table["horizon"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(4.2 * len(horizons), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    for axes, horizon in zip(panels, horizons, strict=True):
        for data, colour, shift in ((MARKET, ACCENT, 0.0), (BROWNIAN, GREY, 0.3)):
            own = table.filter(pl.col("data") == data, pl.col("horizon") == horizon).drop_nulls("lower")
            place = np.arange(own.height) + shift
            middle = own["difference_bps"].to_numpy()
            around = np.abs(own.select("lower", "upper").to_numpy().T - middle)
            axes.errorbar(middle, place, xerr=around, fmt="o", color=colour, markersize=4, label=data)
            if data == MARKET:
                axes.set_yticks(place, [name.replace("_", " ") for name in own["pattern"]], fontsize=8)
        axes.axvline(0.0, color=GREY, linestyle="--", linewidth=0.8)
        axes.set(title=f"{horizon} bars after", xlabel="basis points beside like windows")
    panels[0].legend(fontsize=8)
    return figure
