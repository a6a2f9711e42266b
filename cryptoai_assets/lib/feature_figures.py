"""Figures of the feature report: a sheet a family, a row a feature, and how features resemble each other."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cryptoai_assets.lib.feature_report import SAME_CLUSTER, Correlation, FeatureReport
from cryptoai_assets.lib.figures import ACCENT, GREY, WARNING

ROW_INCHES, FRAME_INCHES = 0.24, 1.5
# Classes of the population stability index: by rule of thumb 0.1 is a shift and 0.25 a large one.
PSI_CLASSES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
_DEVIATIONS = (-4.0, 4.0)
_FOLD_COLOURS = ("#7fb2d9", ACCENT, "#0b3d66", "#c58b1b", "#7d5510", "#3d2a08")


def report_figures(report: FeatureReport) -> Mapping[str, Figure]:
    """Every figure of a report by name, a family's sheet under that of the family."""
    families = report.features["family"].unique(maintain_order=True)
    return {
        **{f"family_{family}": family_figure(report, family) for family in families},
        "correlation_clusters": correlation_figure(report.correlation),
    }


def family_figure(report: FeatureReport, family: str) -> Figure:
    """One row a feature of a family: coverage, quantiles, drift by month, rank ICs by fold with intervals.

    The rank ICs are those of the middle horizon.
    """
    rows = report.features.filter(family=family)
    names = rows["feature"].to_list()
    figure = Figure(figsize=(15.0, ROW_INCHES * len(names) + FRAME_INCHES), layout="constrained")
    figure.suptitle(
        f"Features of the family {family}; rank ICs in sample, no ground for choosing", fontsize=11
    )
    panels = figure.subplots(1, 5, sharey=True, width_ratios=(0.7, 1.5, 2.2, 1.6, 1.6))
    _draw_coverage(panels[0], rows)
    _draw_distribution(panels[1], rows)
    _draw_drift(panels[2], report.drift.filter(pl.col("feature").is_in(names)), names)
    horizons = report.rank_ics["horizon_bars"].unique().sort()
    for axes, target in zip(panels[3:], ("return", "volatility"), strict=True):
        middle = int(horizons[len(horizons) // 2])
        _draw_rank_ics(axes, report.rank_ics.filter(target=target, horizon_bars=middle), names)
        axes.set_title(f"rank IC, {target} over {middle} bars", fontsize=9)
    figure.legend(*panels[3].get_legend_handles_labels(), loc="upper right", ncols=6, fontsize=7)
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        axes.tick_params(axis="x", labelsize=7)
        axes.tick_params(axis="y", length=0)
    return figure


def _draw_coverage(axes: Axes, rows: pl.DataFrame) -> None:
    coverage = rows["coverage"].to_numpy()
    axes.barh(range(len(coverage)), coverage, color=ACCENT, height=0.6)
    for place, share in enumerate(coverage):
        at, colour = (0.04, "white") if share > 0.5 else (share + 0.04, "black")
        axes.text(at, place, f"{share:.1%}", color=colour, fontsize=7, va="center")
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "50 %", "100 %"])
    axes.set_title("bars with a value", fontsize=9)


def _draw_distribution(axes: Axes, rows: pl.DataFrame) -> None:
    """Quantiles around the mean, in the feature's own deviations; a constant has none."""
    place = np.arange(rows.height)
    deviation = rows["deviation"].to_numpy()
    unit = np.where(deviation > 0, deviation, 1.0)
    at = {
        name: np.clip((rows[name].to_numpy() - rows["mean"].to_numpy()) / unit, *_DEVIATIONS)
        for name in ("q01", "q05", "q25", "q50", "q75", "q95", "q99")
    }
    axes.axvline(0, color=GREY, linewidth=0.8)
    for low, high, width in (("q01", "q99", 1.0), ("q05", "q95", 3.0), ("q25", "q75", 7.0)):
        axes.hlines(place, at[low], at[high], color=ACCENT, linewidth=width, alpha=0.55)
    axes.plot(at["q50"], place, "o", color="white", markersize=3, markeredgecolor=ACCENT)
    axes.set_xlim(*_DEVIATIONS)
    axes.set_title("quantiles 1, 5, 25, 50, 75, 95, 99 %,\nin deviations from the mean", fontsize=8)


def _draw_drift(axes: Axes, drift: pl.DataFrame, names: list[str]) -> None:
    months = drift["month"].unique().sort().to_list()
    axes.set_title("drift: PSI of the month against all before", fontsize=9)
    if not months:
        return
    wide = drift.pivot(on="month", index="feature", values="psi")
    ordered = pl.DataFrame({"feature": names}).join(wide, on="feature", how="left", maintain_order="left")
    image = axes.imshow(
        ordered.select(months).to_numpy(),
        aspect="auto",
        cmap="OrRd",
        norm=BoundaryNorm(PSI_CLASSES, 256, extend="max"),
    )
    step = -(-len(months) // 6)
    axes.set_xticks(range(0, len(months), step), months[::step])
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.01)
    bar.set_ticks(PSI_CLASSES, labels=[f"{psi:g}" for psi in PSI_CLASSES])
    bar.ax.tick_params(labelsize=7)


def _draw_rank_ics(axes: Axes, ics: pl.DataFrame, names: list[str]) -> None:
    folds = ics["fold"].unique().sort().to_list()
    axes.axvline(0, color=GREY, linewidth=0.8)
    for turn, fold in enumerate(folds):
        rows = pl.DataFrame({"feature": names}).join(
            ics.filter(fold=fold), on="feature", how="left", maintain_order="left"
        )
        value = rows["value"].to_numpy()
        reach = np.abs(np.stack([value - rows["lower"].to_numpy(), rows["upper"].to_numpy() - value]))
        place = np.arange(len(names)) + (turn - (len(folds) - 1) / 2) * 0.7 / len(folds)
        axes.errorbar(
            value,
            place,
            xerr=reach,
            fmt="o",
            markersize=2.5,
            linewidth=1,
            color=_FOLD_COLOURS[turn % len(_FOLD_COLOURS)],
            label=f"fold {fold}",
        )
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def correlation_figure(correlation: Correlation) -> Figure:
    """Absolute rank correlation of all features, clusters framed and side by side."""
    names, clusters = correlation.names, correlation.cluster
    side = max(6.0, 0.135 * len(names))
    figure = Figure(figsize=(side + 2.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(correlation.strength, cmap="Blues", vmin=0, vmax=1)
    edges = [0, *(place + 1 for place, (a, b) in enumerate(pairwise(clusters)) if a != b), len(names)]
    for start, end in pairwise(edges):
        if end - start > 1:
            size = end - start
            axes.add_patch(
                Rectangle(
                    (start - 0.5, start - 0.5), size, size, fill=False, edgecolor=WARNING, linewidth=1.2
                )
            )
    axes.set_yticks(range(len(names)), names, fontsize=6.5)
    axes.set_xticks([])
    axes.set_title(
        f"|rank correlation| of {len(names)} features; {clusters[-1]} clusters, "
        f"framed where more than one is alike (mean above {SAME_CLUSTER})",
        fontsize=max(10.0, 0.7 * side),
    )
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    return figure
