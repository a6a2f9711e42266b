"""Pictures of what the candlestick network says: right and wrong answers by pattern, and some of each."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryptoai_assets.lib.candle_patterns.examples import CandleExamples
from cryptoai_assets.lib.candle_patterns.scores import THRESHOLD
from cryptoai_assets.lib.figures import ACCENT, GREY, WARNING
from edge_bundle.candle_reader import candle_pattern_names
from edge_bundle.chart import CLOSE, HIGH, LOW, OPEN
from edge_bundle.windows import Float32Array

SAMPLES = 6


def answers_by_pattern(data: CandleExamples, said: Float32Array) -> Figure:
    """Windows of each pattern that were found, missed, or seen where none is, in shares of those held."""
    seen = said > THRESHOLD
    held = np.maximum(data.present.sum(axis=0), 1)
    names = [name.replace("_", " ") for name in candle_pattern_names()]
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    left = np.zeros(len(names))
    for label, own, colour in (
        ("found", seen & data.present, ACCENT),
        ("missed", ~seen & data.present, GREY),
        ("seen where none is", seen & ~data.present, WARNING),
    ):
        share = own.sum(axis=0) / held
        axes.barh(names, share, left=left, color=colour, label=label)
        left += share
    axes.set(xlabel="share of the windows that hold the pattern", title="Candlestick patterns by answer")
    axes.legend(fontsize=8)
    return figure


def answered_candles(data: CandleExamples, said: Float32Array, *, seed: int) -> Figure:
    """Windows whose pattern was found, above, and windows with a wrong answer, with its name."""
    seen = said > THRESHOLD
    generator = np.random.default_rng(seed)
    figure = Figure(figsize=(2.1 * SAMPLES, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, SAMPLES)
    for line, cells in zip(panels, (seen & data.present, seen != data.present), strict=True):
        for axes in line:
            axes.set_axis_off()
        rows, columns = np.nonzero(cells)
        for axes, place in zip(line, generator.permutation(len(rows))[:SAMPLES], strict=False):
            row, column = rows[place], columns[place]
            _draw(axes, data.windows[row])
            name = candle_pattern_names()[column].replace("_", " ")
            missed = data.present[row, column] and not seen[row, column]
            axes.set_title(f"{name}, missed" if missed else name, fontsize=7)
    return figure


def _draw(axes: Axes, window: Float32Array) -> None:
    bars = np.arange(len(window))
    rose = window[:, CLOSE] >= window[:, OPEN]
    colours = [ACCENT if up else WARNING for up in rose]
    axes.vlines(bars, window[:, LOW], window[:, HIGH], colors=colours, linewidth=0.8)
    axes.vlines(bars, window[:, OPEN], window[:, CLOSE], colors=colours, linewidth=3.0)
