"""Pictures of pictures: samples of each pattern with their key points, and what is taken for what."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryptoai_assets.lib.charts.dataset import ChartSet
from cryptoai_assets.lib.figures import ACCENT, WARNING
from edge_bundle.chart import COLUMNS_A_BAR, ChartFormat, Float64Array, closing_levels
from edge_bundle.detection import NO_BAR, Pattern
from edge_bundle.detector import ChartReading, pattern_names

SAMPLES = 5


def contact_sheet(data: ChartSet, chart: ChartFormat, *, seed: int) -> Figure:
    """Samples of each pattern, a row a pattern, with lines through the extrema that make it."""
    generator = np.random.default_rng(seed)
    rows = [generator.permutation(np.flatnonzero(data.pattern == one))[:SAMPLES] for one in Pattern]
    figure = Figure(figsize=(2.2 * SAMPLES, 1.28 * len(Pattern)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(Pattern), SAMPLES)
    for name, line, own in zip(pattern_names(), panels, rows, strict=True):
        line[0].set_title(
            f"{name.replace('_', ' ')} ({(data.pattern == Pattern[name.upper()]).sum():,})",
            fontsize=8,
            loc="left",
        )
        for axes in line:
            axes.set_axis_off()
        for axes, row in zip(line, own, strict=False):
            [image] = data.images(np.array([row]), chart)
            axes.imshow(image, cmap="gray_r", interpolation="nearest", aspect="auto")
            bars = data.key_points[row][data.key_points[row] != NO_BAR].astype(int)
            [levels] = closing_levels(image[None], chart)
            columns = COLUMNS_A_BAR * bars + COLUMNS_A_BAR - 1
            colour = WARNING if data.drawn[row] else ACCENT
            axes.plot(
                columns, chart.top_level - levels[bars], "o-", color=colour, markersize=2.5, linewidth=0.9
            )
    return figure


def answers_figure(data: ChartSet, said: ChartReading, chart: ChartFormat, *, seed: int) -> Figure:
    """Windows whose pattern was found, above, and those taken for something else, with what was said."""
    generator = np.random.default_rng(seed)
    held = data.pattern != Pattern.NONE
    found = held & (said.pattern == data.pattern)
    rows = [generator.permutation(np.flatnonzero(own))[:SAMPLES] for own in (found, held & ~found)]
    figure = Figure(figsize=(2.4 * SAMPLES, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    names = [name.replace("_", " ") for name in pattern_names()]
    for line, own in zip(figure.subplots(len(rows), SAMPLES), rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, row in zip(line, own, strict=False):
            [image] = data.images(np.array([row]), chart)
            axes.imshow(image, cmap="gray_r", interpolation="nearest", aspect="auto")
            bars = said.key_points[row][said.key_points[row] != NO_BAR].astype(int)
            [levels] = closing_levels(image[None], chart)
            columns = COLUMNS_A_BAR * bars + COLUMNS_A_BAR - 1
            axes.plot(columns, chart.top_level - levels[bars], "o-", color=ACCENT, markersize=2.5)
            answer, true = names[said.pattern[row]], names[data.pattern[row]]
            axes.set_title(answer if answer == true else f"{answer},\nby the rule {true}", fontsize=7)
    return figure


def confusion_figure(counts: Float64Array, *, title: str) -> Figure:
    """Shares of each pattern's windows by the answer: the rule's pattern down, what is said across."""
    figure = Figure(figsize=(8.4, 6.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [name.replace("_", " ") for name in pattern_names()]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for row, column in np.ndindex(*shares.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, f"{shares[row, column]:.2f}", ha="center", va="center", fontsize=7, color=colour
            )
    axes.set(xlabel="said", ylabel="by the rule", title=title)
    return figure
