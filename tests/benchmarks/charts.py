"""How fast charts are drawn, and how fast the rule and the shipped networks find patterns in them.

Drawing is timed against mplfinance, which draws the same bars, mean and volume into a file of about the same
size. Time is that of one thread on the processor: what else runs on the machine does not count.
"""

import io
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import thread_time

import mplfinance
import numpy as np
import pandas as pd
import polars as pl
from benchmarks.features import CATALOG_GOAL_S, bars
from benchmarks.forecasting import bare_session
from benchmarks.rows import BenchRow
from numpy.lib.stride_tricks import sliding_window_view

from cryptoai_assets.lib.candle_patterns import weights as candle_weights
from cryptoai_assets.lib.charts import weights
from cryptoai_assets.lib.charts.labels import BLOCK, picture_labels
from edge_bundle.candle_reader import WINDOW_BARS, CandleReader
from edge_bundle.chart import CANDLE_COLUMNS, CHART_60, Float64Array, chart_images
from edge_bundle.chart_rule import RULE
from edge_bundle.detector import Detector
from edge_bundle.features.chart_patterns import confirmed_patterns
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.session import INPUT_NAME

MILLION = 1_000_000
BATCHES = {1: 10_000.0, 256: 50_000.0}
ROUNDS, PEER_ROUNDS = 200, 5
PEER_GOAL = 3_000.0
LABEL_GOAL_S = 10.0
DOTS_AN_INCH = 100
ANSWERS = 500
VIT_GOAL_MS, CANDLE_GOAL_MS = 5.0, 0.1


def measure() -> list[BenchRow]:
    """Rows of the room."""
    grid = bars(MILLION)
    values = grid.select(CANDLE_COLUMNS).to_numpy()
    windows = sliding_window_view(values, CHART_60.bars, axis=0).transpose(0, 2, 1)
    peer = _images_a_second(lambda: _peer_picture(grid.head(CHART_60.bars).to_pandas()), 1, PEER_ROUNDS)
    drawing = [_drawing(windows[:batch].copy(), goal, peer) for batch, goal in BATCHES.items()]
    times = drawing[-1].value or 0.0
    against = BenchRow(
        "charts/images-batch-256-times-mplfinance",
        times / peer,
        "times",
        PEER_GOAL,
        times / peer >= PEER_GOAL,
        "the same window drawn by mplfinance",
    )
    return [*drawing, against, _labelling(windows), _confirming(grid), *_answering(windows[:256].copy())]


def _answering(windows: Float64Array) -> list[BenchRow]:
    """Latency of the shipped networks on one window, with drawing, beside the raw call on the same input."""
    rows: list[BenchRow] = []
    vit = weights.SHIPPED / "vit"
    for folder in (vit, weights.plain_folder(vit)):
        if folder.is_dir():
            rows += _detecting(folder, windows)
    folder = candle_weights.SHIPPED / candle_weights.BUNDLE_NAME
    if folder.is_dir():
        reader, bare = CandleReader.load(folder), bare_session(folder / GRAPH_NAME)
        short = windows[:, -WINDOW_BARS:].astype(np.float32)
        name = f"charts/read-candles-{reader.manifest.quantization['precision']}"
        own = _times(lambda row: reader.read(short[[row]]))
        rows += _latencies(
            name, own, _times(lambda row: bare.run(None, {INPUT_NAME: short[[row]]})), CANDLE_GOAL_MS
        )
    return rows


def _detecting(folder: Path, windows: Float64Array) -> list[BenchRow]:
    detector, bare = Detector.load(folder), bare_session(folder / GRAPH_NAME)
    images = [np.ascontiguousarray(chart_images(one[None], CHART_60)) for one in windows]
    name = f"charts/detect-{detector.manifest.kind}-{detector.manifest.quantization['precision']}"
    own = _times(lambda row: detector.read(chart_images(windows[row][None], CHART_60)))
    raw = _times(lambda row: bare.run(None, {INPUT_NAME: images[row]}))
    return _latencies(name, own, raw, VIT_GOAL_MS)


def _times(call: Callable[[int], object]) -> list[float]:
    """Milliseconds of calls, one thread, after some to warm up."""
    durations = []
    for row in range(-20, ANSWERS):
        start = thread_time()
        call(abs(row) % 256)
        durations.append(1e3 * (thread_time() - start))
    return durations[20:]


def _latencies(name: str, own: list[float], limit: list[float], goal: float) -> list[BenchRow]:
    values = {quantile: float(np.percentile(own, quantile)) for quantile in (50, 99)}
    return [
        BenchRow(
            f"{name}-p{quantile}",
            value,
            "ms",
            goal if quantile == 99 else None,
            value <= goal if quantile == 99 else None,
            "raw onnxruntime call",
            float(np.percentile(limit, quantile)),
        )
        for quantile, value in values.items()
    ]


def _drawing(candles: Float64Array, goal: float, peer: float) -> BenchRow:
    paper = chart_images(candles, CHART_60)
    speed = _images_a_second(lambda: chart_images(candles, CHART_60, paper=paper), len(candles), ROUNDS)
    name = f"charts/images-batch-{len(candles)}"
    return BenchRow(name, speed, "images/s", goal, speed >= goal, "mplfinance", peer)


def _labelling(windows: Float64Array) -> BenchRow:
    start = thread_time()
    for first in range(0, len(windows), BLOCK):
        picture_labels(windows[first : first + BLOCK], CHART_60, RULE)
    seconds = thread_time() - start
    name, beside = "charts/label-1m-bars", f"{len(windows):,} windows of {CHART_60.bars} bars, one core"
    return BenchRow(name, seconds, "s", LABEL_GOAL_S, seconds <= LABEL_GOAL_S, beside)


def _confirming(grid: pl.DataFrame) -> BenchRow:
    """The column that the chart-pattern features read; beside what the whole catalog may take."""
    start = thread_time()
    confirmed_patterns(grid)
    seconds = thread_time() - start
    name = "charts/confirm-1m-bars"
    return BenchRow(name, seconds, "s", None, None, "the whole catalog's goal", CATALOG_GOAL_S)


def _images_a_second(draw: Callable[[], object], images: int, rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = thread_time()
        draw()
        seconds.append(thread_time() - start)
    return images / median(seconds)


def _peer_picture(candles: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    mplfinance.plot(
        candles.set_index("open_time"),
        type="ohlc",
        mav=CHART_60.mean_bars,
        volume=True,
        axisoff=True,
        figsize=(CHART_60.width / DOTS_AN_INCH, CHART_60.height / DOTS_AN_INCH),
        savefig={"fname": file, "dpi": DOTS_AN_INCH},
    )
    return file.getvalue()
