"""Figures that people look at: calibration, coverage, importance, coverage of the data."""

import io
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryptoai_assets.lib.backtest import buy_and_hold
from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.experiment_analysis import ExperimentResult
from cryptoai_assets.lib.gate import Bound, Decision, PairedTest
from cryptoai_assets.lib.quantization import Variant
from cryptoai_assets.lib.strategy import Backtest
from cryptoai_monitoring.then_from_now import ToldApart
from edge_bundle.experiment import Experiment

CALIBRATION_BINS = 15
ACCENT, GREY, WARNING = "#1769aa", "#9aa5b1", "#c0392b"


def _figure(title: str, *, width: float = 7.0, height: float = 4.2) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    return figure


def calibration_figure(probability_up: Float64Array, up: Float64Array, *, horizon: int) -> Figure:
    """Share of rises against the probability that was said, in bins of equal counts."""
    known = np.isfinite(up)
    p, y = probability_up[known], up[known]
    figure = _figure(f"Calibration of the probability of up, {horizon} bars ahead ({len(p):,} rows)")
    axes = figure.add_subplot()
    parts = [part for part in np.array_split(np.argsort(p), CALIBRATION_BINS) if len(part)]
    said, happened = [p[part].mean() for part in parts], [y[part].mean() for part in parts]
    errors = [2 * (y[part].std() / max(len(part), 1) ** 0.5) for part in parts]
    low, high = min(said) - 0.02, max(said) + 0.02
    axes.plot([low, high], [low, high], color=GREY, linestyle="--", label="perfect")
    axes.errorbar(said, happened, yerr=errors, fmt="o-", color=ACCENT, markersize=4, label="model, ± 2 s.e.")
    axes.set(xlabel="probability of up that was said", ylabel="share that rose")
    axes.legend()
    return figure


def confidence_figure(predictions: pl.DataFrame, *, title: str) -> Figure:
    """Accuracy against the share of rows answered, the most confident first, a line a horizon.

    Parameters
    ----------
    predictions
        From `cryptoai_assets.lib.walk_forward`: ``horizon``, ``probability_up``, ``up``.
    """
    figure = _figure(title)
    axes = figure.add_subplot()
    for (horizon,), rows in predictions.group_by("horizon", maintain_order=True):
        known = rows.filter(pl.col("up").is_not_nan())
        p, y = known["probability_up"].to_numpy(), known["up"].to_numpy()
        order = np.argsort(-np.abs(p - 0.5), kind="stable")
        right = ((p > 0.5) == (y > 0.5))[order].astype(float)
        share = np.arange(1, len(right) + 1) / len(right)
        start = max(len(right) // 100, 50)
        axes.plot(
            share[start:], (np.cumsum(right) / np.arange(1, len(right) + 1))[start:], label=f"{horizon} bars"
        )
    axes.axhline(0.5, color=GREY, linestyle="--")
    axes.set(xlabel="share of rows answered, most confident first", ylabel="accuracy")
    axes.legend()
    return figure


def importance_figure(importance: Mapping[str, float], *, shown: int = 25) -> Figure:
    """Share of the gain per feature, the largest ones."""
    largest = list(importance.items())[:shown][::-1]
    figure = _figure(
        f"Gain of the direction heads, {shown} largest of {len(importance)} features", height=5.5
    )
    axes = figure.add_subplot()
    axes.barh([name for name, _ in largest], [share for _, share in largest], color=ACCENT)
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="share of the total gain")
    return figure


def precision_figure(table: Sequence[Variant]) -> Figure:
    """Time, size and agreement of a network's graph in each precision."""
    panels = {
        "milliseconds a window": [variant.milliseconds for variant in table],
        "megabytes": [variant.megabytes for variant in table],
        "least rank correlation with FP32": [variant.rank_correlation for variant in table],
    }
    figure = _figure("Precisions that were measured", width=9.0, height=2.6)
    names = [variant.name if variant.agrees else f"{variant.name}\n(differs)" for variant in table]
    for position, (label, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), position + 1)
        axes.bar_label(axes.barh(names[::-1], values[::-1], color=ACCENT), fmt="%.4g", fontsize=7)
        axes.margins(x=0.25)
        axes.set_xlabel(label, fontsize=8)
        axes.tick_params(labelsize=7)
        if position:
            axes.set_yticklabels([])
    return figure


def score_figure(table: pl.DataFrame, *, metric: str, title: str, chance: float | None) -> Figure:
    """One metric of all models with intervals, a panel a horizon.

    Parameters
    ----------
    table
        ``model``, ``metric`` (as ``h<horizon>/<name>``), ``value``, ``lower``, ``upper``.
    """
    found = table.filter(pl.col("metric").str.ends_with(f"/{metric}"))
    panels = found["metric"].unique(maintain_order=True).to_list()
    figure = _figure(title, width=max(4.0, 3.2 * len(panels)))
    for position, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), position + 1)
        rows = found.filter(metric=panel).reverse()
        value = rows["value"].to_numpy()
        reach = np.abs(np.stack([value - rows["lower"].to_numpy(), rows["upper"].to_numpy() - value]))
        axes.errorbar(value, rows["model"].to_list(), xerr=reach, fmt="o", color=ACCENT, markersize=4)
        if chance is not None:
            axes.axvline(chance, color=GREY, linestyle="--")
        axes.set_title(f"{panel.partition('/')[0][1:]} bars", fontsize=9)
        axes.tick_params(labelsize=7)
        if position:
            axes.set_yticklabels([])
    return figure


def methods_figure(table: pl.DataFrame) -> Figure:
    """Sentiment methods: how well they label texts, and how many a second.

    Parameters
    ----------
    table
        ``method``, ``accuracy``, ``macro_f1``, ``calibration_error``, ``texts_a_second``, the best first.
    """
    found = table.reverse()
    names, places = found["method"].to_list(), np.arange(found.height)
    figure = _figure(f"{found.height} sentiment methods on the same texts", width=9.0)
    quality, speed = figure.subplots(1, 2, width_ratios=(2, 1))
    for name, colour, marker in (
        ("accuracy", ACCENT, "o"),
        ("macro_f1", WARNING, "s"),
        ("calibration_error", GREY, "x"),
    ):
        quality.plot(found[name].to_list(), places, marker, color=colour, label=name.replace("_", " "))
    quality.set(yticks=places, yticklabels=names, xlim=(0, 1))
    quality.legend()
    speed.barh(places, found["texts_a_second"].to_list(), color=ACCENT)
    speed.set(xscale="log", yticks=[], xlabel="texts a second")
    return figure


def drift_figure(drift: pl.DataFrame, *, shown: int = 20) -> Figure:
    """Drift of each feature over its threshold, the largest ones.

    Parameters
    ----------
    drift
        ``feature`` and ``excess`` (1 is the threshold), the largest excess first.
    """
    largest = drift.head(shown).reverse()
    figure = _figure(
        f"Drift over its threshold, {min(shown, drift.height)} of {drift.height} features", height=5.0
    )
    axes = figure.add_subplot()
    colours = [WARNING if excess > 1 else ACCENT for excess in largest["excess"]]
    axes.barh(largest["feature"].to_list(), largest["excess"].to_list(), color=colours)
    axes.axvline(1.0, color=GREY, linestyle="--")
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="population stability index over its threshold")
    return figure


def telling_figure(apart: ToldApart, *, shown: int = 10) -> Figure:
    """Which features tell the newest week from the training rows, a panel a question."""
    figure = _figure("What tells the newest week from the training rows", height=4.0)
    for place, row in enumerate(apart.table.iter_rows(named=True)):
        largest = apart.shares.filter(question=row["question"]).head(shown).reverse()
        axes = figure.add_subplot(1, apart.table.height, place + 1)
        colour = WARNING if row["told"] else ACCENT
        axes.barh(largest["feature"].to_list(), largest["share"].to_list(), color=colour)
        axes.tick_params(axis="y", labelsize=7)
        axes.set(xlabel=f"share; {row['question']}: area {row['area']:.3f} of {row['threshold']:.3f}")
    return figure


def live_score_figure(scores: pl.DataFrame, *, metric: str, symbol: str) -> Figure:
    """One live score of each version and variant by window, with interval, promise and best baseline.

    Parameters
    ----------
    scores
        From `cryptoai_assets.lib.live_scores.live_scores`.
    """
    found = scores.filter(metric=metric, symbol=symbol)
    horizons = found["horizon_bars"].unique().sort().to_list()
    figure = _figure(f"Live {metric.replace('_', ' ')}", width=max(5.0, 3.4 * len(horizons)))
    for place, horizon in enumerate(horizons):
        rows = found.filter(horizon_bars=horizon).reverse()
        axes = figure.add_subplot(1, len(horizons), place + 1)
        labels = [
            f"v{row['version']} {row['variant']}, {row['window']}" for row in rows.iter_rows(named=True)
        ]
        value = rows["value"].to_numpy()
        reach = np.abs(np.stack([value - rows["lower"].to_numpy(), rows["upper"].to_numpy() - value]))
        at = np.arange(len(labels))
        axes.errorbar(value, at, xerr=reach, fmt="o", color=ACCENT, markersize=4, label="live")
        for name, mark, colour in (("promised", "|", WARNING), ("baseline", "x", GREY)):
            axes.plot(rows[name].to_numpy(), at, mark, color=colour, markersize=10, label=name)
        axes.set_yticks(at, labels if place == 0 else [""] * len(labels), fontsize=7)
        axes.set_title(f"{horizon} bars ahead", fontsize=9)
        if place == 0 and labels:
            axes.legend(fontsize=7)
    return figure


def equity_figure(found: Backtest) -> Figure:
    """Capital over the final stretch: after costs, before them, and that of who bought and kept."""
    lead = found.chosen.rule.lead
    figure = _figure(f"Final stretch: {found.chosen.horizon} bars ahead, from a lead of {lead:g}")
    axes = figure.add_subplot()
    times = found.later.times.to_numpy()
    axes.plot(times, found.run.equity, color=ACCENT, label="strategy, after costs")
    axes.plot(times, np.cumprod(1 + found.run.gross), color=ACCENT, linestyle=":", label="before costs")
    axes.plot(times, buy_and_hold(found.later.close), color=GREY, label="buy and hold, equal shares")
    axes.axhline(1.0, color=GREY, linewidth=0.5)
    axes.set(ylabel="capital, 1 at the start")
    axes.tick_params(axis="x", rotation=30, labelsize=7)
    axes.legend()
    return figure


def experiment_figure(experiment: Experiment, result: ExperimentResult) -> Figure:
    """Effect of an experiment with its interval; before it has its length, how far it is."""
    figure = _figure(f"Experiment {experiment.name}: {result.recommendation}", height=2.6)
    axes = figure.add_subplot()
    if result.effect is None:
        axes.barh([0], [min(result.times, result.times_needed)], color=ACCENT)
        axes.set(xlim=(0, result.times_needed), yticks=[], xlabel="bars at which both have answered")
        return figure
    value, lower, upper = result.effect.value, result.effect.lower, result.effect.upper
    axes.errorbar([value], [0], xerr=[[value - lower], [upper - value]], fmt="o", color=ACCENT, capsize=5)
    axes.axvline(0, color=GREY, linestyle="--")
    confidence = 1 - experiment.false_alarm_rate
    label = (
        f"{experiment.metric} of the challenger less that of the control, with a {confidence:.0%} interval"
    )
    axes.set(yticks=[], xlabel=f"{label}; below 0 it is better")
    return figure


def decision_figure(decision: Decision) -> Figure:
    """Each comparison of the gate with its interval and its margin, and each bound beside its limit."""
    verdict = "promoted" if decision.promote else "refused"
    height = 1.6 + 0.32 * max(len(decision.tests), len(decision.bounds))
    figure = _figure(f"Gate: {verdict} (door: {decision.door})", width=10.0, height=height)
    compared, bounded = figure.subplots(1, 2)
    _draw_tests(compared, decision.tests[::-1])
    _draw_bounds(bounded, decision.bounds[::-1])
    return figure


def _draw_tests(axes: Axes, tests: Sequence[PairedTest]) -> None:
    for place, test in enumerate(tests):
        mean, lower, upper = test.interval.mean, test.interval.lower, test.interval.upper
        held = test.passed or test.excused
        color = ACCENT if held else WARNING
        axes.errorbar([mean], [place], xerr=[[mean - lower], [upper - mean]], fmt="o", color=color, capsize=4)
        axes.vlines(test.margin, place - 0.35, place + 0.35, color=GREY)
    names = [
        f"{test.against} (as little as the champion)" if test.excused else test.against for test in tests
    ]
    axes.set(
        yticks=range(len(tests)),
        yticklabels=names,
        title="less loss than …; the grey mark must be exceeded",
        xlabel="mean loss of the other less the challenger's",
    )


def _draw_bounds(axes: Axes, bounds: Sequence[Bound]) -> None:
    places, shown = range(len(bounds)), [bound.lower / bound.limit for bound in bounds]
    axes.barh(places, shown, color=[ACCENT if bound.kept else WARNING for bound in bounds])
    axes.plot([bound.value / bound.limit for bound in bounds], places, "o", color=GREY)
    axes.axvline(1, color=GREY, linestyle="--")
    axes.set(
        yticks=places,
        yticklabels=[bound.name for bound in bounds],
        title="bounds: bar shown, dot measured",
        xlabel="share of its limit",
    )


def breakeven_figure(tried: pl.DataFrame, *, cost_bps: float) -> Figure:
    """Cost at which a strategy leaves nothing, by the lead it acts from, a line a horizon.

    Parameters
    ----------
    tried
        ``horizon``, ``lead``, ``breakeven_cost_bps``.
    cost_bps
        What trading costs there; a strategy below it loses.
    """
    figure = _figure("Walk-forward: cost of one unit of turnover at which nothing is left")
    axes = figure.add_subplot()
    for (horizon,), rows in tried.group_by("horizon", maintain_order=True):
        axes.plot(
            rows["lead"].to_list(), rows["breakeven_cost_bps"].to_list(), marker="o", label=f"{horizon} bars"
        )
    axes.axhline(cost_bps, color=WARNING, linestyle="--", label="cost of this market")
    axes.set(xlabel="lead of the probability over one half", ylabel="basis points", ylim=(0, None))
    axes.legend()
    return figure


def coverage_figure(coverage: pl.DataFrame, *, title: str) -> Figure:
    """Share of the bars due that are present, had no trade, or are missing: symbols by months, a panel each.

    Parameters
    ----------
    coverage
        From `cryptoai_assets.lib.coverage`.
    """
    months = coverage["month"].unique().sort().to_list()
    kinds = {"present": "Blues", "no_trade": "Greens", "missing": "Reds"}
    symbols = coverage["symbol"].unique(maintain_order=True).to_list()
    figure = _figure(
        title, width=max(5.0, 2.0 + 0.3 * len(months)), height=1.2 + 3 * (0.5 + 0.22 * len(symbols))
    )
    for position, (kind, colours) in enumerate(kinds.items()):
        axes = figure.add_subplot(len(kinds), 1, position + 1)
        share = pl.col(kind) / pl.col("due")
        wide = coverage.select("symbol", "month", share=share).pivot(
            on="month", index="symbol", values="share"
        )
        values = wide.select(months).to_numpy()
        most = 1.0 if kind == "present" else max(float(np.nanmax(values, initial=0.0)), 1e-9)
        image = axes.imshow(values, aspect="auto", cmap=colours, vmin=0.0, vmax=most, interpolation="nearest")
        axes.set_yticks(range(len(symbols)), symbols, fontsize=7)
        shown = range(0, len(months), -(-len(months) // 12))
        axes.set_xticks(list(shown), [months[place] for place in shown], fontsize=7)
        axes.set_title(f"{kind.replace('_', '-')}, share of the bars due", fontsize=9)
        figure.colorbar(image, ax=axes, format=lambda value, _: f"{value:.3%}")
    return figure


def line_figure(lines: Mapping[str, Sequence[float | None]], *, title: str, x: str, y: str) -> Figure:
    """Plain lines over their index, with a hole where there is None."""
    figure = _figure(title)
    axes = figure.add_subplot()
    for name, values in lines.items():
        axes.plot(np.array(values, dtype=np.float64), marker="o", markersize=3, label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.legend()
    return figure


def retraining_figure(
    days: Sequence[date],
    gained: Mapping[str, Float64Array],
    trained: Mapping[str, Mapping[date, bool]],
    *,
    beside: str,
    title: str,
) -> Figure:
    """Right directions beyond even odds, added up day by day, and below how many more than one line has.

    Parameters
    ----------
    gained
        (days,) of each line.
    trained
        Days on which a line was trained again, and whether the result was promoted: a full mark; or an
        empty one.
    beside
        Name of the line that the others are compared with.
    """
    figure = _figure(title, height=6.4)
    above, below = figure.subplots(2, 1, sharex=True)
    for name, values in gained.items():
        total = np.cumsum(values)
        lead = total - np.cumsum(gained[beside])
        (line,) = above.plot(days, total, label=name, linewidth=1.2)
        below.plot(days, lead, color=line.get_color(), linewidth=1.2)
        for promoted in (True, False):
            at = [k for k, day in enumerate(days) if trained.get(name, {}).get(day) is promoted]
            face = line.get_color() if promoted else "white"
            below.scatter(
                [days[k] for k in at], lead[at], s=22, color=face, edgecolors=line.get_color(), zorder=3
            )
    above.set(ylabel="right, beyond even odds")
    below.set(ylabel=f"right, more than {beside}")
    below.tick_params(axis="x", rotation=30, labelsize=7)
    above.legend(fontsize=7)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def facts_figure(facts: pl.DataFrame, *, title: str) -> Figure:
    """Each series over its events, in its newest version and its own deviations, one line a series."""
    figure = _figure(title, height=3.2)
    axes = figure.add_subplot()
    newest = facts.unique(["name", "symbol", "event_time"], keep="last", maintain_order=True)
    for (name, symbol), rows in newest.group_by("name", "symbol", maintain_order=True):
        series = rows.sort("event_time")
        spread = series["value"].std()
        level = series["value"] - series["value"].mean()
        label = str(name) if symbol is None else f"{name} of {symbol}"
        axes.plot(series["event_time"].to_list(), level / (spread or 1.0), label=label, linewidth=0.8)
    axes.set(ylabel="deviations from the mean")
    if facts.height:
        axes.legend(fontsize=6, ncols=2)
    return figure
