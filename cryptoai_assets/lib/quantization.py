"""The precision of a network's graph, chosen by measurement: FP32, dynamic INT8, static INT8."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from scipy import stats

from cryptoai_assets.lib.datasets import Float64Array
from edge_bundle.forecast import VALUE_NAMES
from edge_bundle.session import INPUT_NAME, ModelSession
from edge_bundle.windows import Float32Array

UInt8Array = npt.NDArray[np.uint8]
Inputs = Float32Array | UInt8Array
Outputs = Mapping[str, Float32Array]
ClassArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
INTEGER_OPERATORS = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
FP32 = "fp32"
LEAST_RANK_CORRELATION = 0.995
LEAST_SAME_SIDE = 0.98
DECIDED = 0.02
MOST_ACCURACY_LOST = 0.005
LEAST_WINDOWS = 2000
CALIBRATION_WINDOWS = 256
TIMED_CALLS = 200
BATCH = 1024
# What a busy machine makes of two graphs that are equally fast.
TIMING_TOLERANCE = 1.05
# The last layer, with the regression beside it, is small, and what it says is read to the last digit.
KEPT_IN_FP32 = ("heads.product", "last_bar.product", "head.product")
# Parts of a chart network that tell a pixel from its neighbour.
KEPT_SCOPES = ("/stem/", "/exact/")


class QuantizationError(Exception):
    """A precision cannot be chosen."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """How two graphs agree; see `Variant`."""

    rank_correlation: float
    same_side: float | None
    accuracy_lost: float


Judge = Callable[[Outputs, Outputs], _Judged]


@dataclass(frozen=True, slots=True)
class Variant:
    """One precision, compared with FP32 on the same real windows.

    Parameters
    ----------
    rank_correlation
        Least of all outputs.
    same_side
        Of windows whose probability lies more than `DECIDED` from one half; None when there is none.
    accuracy_lost
        Of the direction, averaged over the horizons.
    agrees
        Whether it says what FP32 says, and `why` not.
    milliseconds
        Median of the time on the processor for one window, one thread.
    """

    name: str
    megabytes: float
    rank_correlation: float
    same_side: float | None
    accuracy_lost: float
    agrees: bool
    why: str
    milliseconds: float

    def promise(self) -> Mapping[str, Any]:
        """Entry of a manifest, where no time may stand: the same training gives the same bytes."""
        return {name: value for name, value in asdict(self).items() if name != "milliseconds"}


@dataclass(frozen=True, slots=True)
class ChosenPrecision:
    """The precision that won, and the table that it was chosen from; none where nothing was measured."""

    graph: onnx.ModelProto
    name: str
    why: str
    windows: int = 0
    table: tuple[Variant, ...] = ()

    def record(self) -> Mapping[str, Any]:
        """Entry of a bundle's manifest."""
        return {
            "precision": "fp32" if self.name == FP32 else "int8",
            "method": self.name,
            "why": self.why,
            "windows": self.windows,
            "table": [variant.promise() for variant in self.table],
        }


def chosen_precision(
    graph: onnx.ModelProto, windows: Float32Array, up: Float64Array, *, decided: str | None = None
) -> ChosenPrecision:
    """Quantize a graph and keep the smallest variant that agrees with it and is not slower.

    Parameters
    ----------
    windows
        (rows, lookback, features) real ones; some calibrate, the others compare.
    up
        (rows, horizons) 1, 0, or NaN where the direction is not known.
    decided
        Name of the variant that was kept when the same training ran before: which of two nearly equal ones is
        slower may come out otherwise the next time.

    Raises
    ------
    QuantizationError
        When fewer than `LEAST_WINDOWS` are left to compare on.
    """
    calibrating = _calibrating(len(windows))
    compared, outcomes = windows[~calibrating], up[~calibrating]
    judge = partial(_forecasts_compared, up=outcomes)
    return _measured_precision(graph, windows[calibrating], compared, judge, decided)


def classifier_precision(
    graph: onnx.ModelProto, images: UInt8Array, classes: ClassArray, output: str
) -> ChosenPrecision:
    """Quantize the graph of a classifier, as `chosen_precision` does that of a forecaster.

    Parameters
    ----------
    images
        (rows, height, width) real ones; some calibrate, the others compare.
    classes
        (rows,) true ones.
    output
        Name of the probabilities (rows, classes). In the table "same side" is the same likeliest class, the
        accuracy is balanced over the classes, the rank correlation is that of the likeliest's probability.

    Raises
    ------
    QuantizationError
        When fewer than `LEAST_WINDOWS` are left to compare on.
    """
    calibrating = _calibrating(len(images))
    judge = partial(_classes_compared, classes=classes[~calibrating], output=output)
    return _measured_precision(graph, images[calibrating], images[~calibrating], judge, None)


def labels_precision(
    graph: onnx.ModelProto, windows: Float32Array, present: BoolArray, output: str
) -> ChosenPrecision:
    """Quantize a graph of independent probabilities, as `chosen_precision` does that of a forecaster.

    Parameters
    ----------
    windows
        (rows, lookback, features) real ones; some calibrate, the others compare.
    present
        (rows, labels) whether each label is true.
    output
        Name of the probabilities (rows, labels). In the table the accuracy is the mean F1 of the labels, and
        the rank correlation is over all probabilities together: most of one label's are nearly nothing.

    Raises
    ------
    QuantizationError
        When fewer than `LEAST_WINDOWS` are left to compare on.
    """
    calibrating = _calibrating(len(windows))
    judge = partial(_labels_compared, present=present[~calibrating], output=output)
    return _measured_precision(graph, windows[calibrating], windows[~calibrating], judge, None)


def _calibrating(windows: int) -> npt.NDArray[np.bool_]:
    """Which windows calibrate; the others compare.

    Raises
    ------
    QuantizationError
        When fewer than `LEAST_WINDOWS` are left to compare on.
    """
    calibrating = np.zeros(windows, dtype=bool)
    calibrating[:: max(1, windows // CALIBRATION_WINDOWS)] = True
    left = int((~calibrating).sum())
    if left < LEAST_WINDOWS:
        raise QuantizationError(
            f"{left} windows are left to compare precisions on, {LEAST_WINDOWS} needed: "
            "train on a longer series"
        )
    return calibrating


def _measured_precision(
    graph: onnx.ModelProto, calibrating: Inputs, compared: Inputs, judge: Judge, decided: str | None
) -> ChosenPrecision:
    with TemporaryDirectory() as folder, _silent_quantizer():
        files = _variants(graph, calibrating, Path(folder))
        sessions = {name: ModelSession.open(path) for name, path in files.items()}
        times = _milliseconds(sessions, compared)
        outputs = {name: _said(session, compared) for name, session in sessions.items()}
        table = tuple(
            _variant(name, files[name], times[name], judge(outputs[name], outputs[FP32])) for name in files
        )
        best = decided or min(_fitting(table), key=lambda variant: variant.megabytes).name
        why = "the smallest that agrees with FP32 and is not slower"
        return ChosenPrecision(onnx.load(files[best]), best, why, len(compared), table)


def _said(session: ModelSession, inputs: Inputs) -> Outputs:
    """Outputs of many inputs, some at a time: a network's memory grows with them."""
    parts = [session.run(inputs[start : start + BATCH]) for start in range(0, len(inputs), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _fitting(table: Sequence[Variant]) -> list[Variant]:
    """FP32, and what agrees with it and is not slower."""
    slowest = TIMING_TOLERANCE * next(variant.milliseconds for variant in table if variant.name == FP32)
    return [variant for variant in table if variant.agrees and variant.milliseconds <= slowest]


def with_integer_products(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Graph whose products with constants are taken with INT8, each column of a constant by its own scale."""
    with TemporaryDirectory() as folder, _silent_quantizer():
        plain, prepared = Path(folder) / "fp32.onnx", Path(folder) / "prepared.onnx"
        dynamic = Path(folder) / "int8.onnx"
        onnx.save(graph, plain)
        quant_pre_process(str(plain), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        quantize_dynamic(
            prepared,
            dynamic,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in graph.graph.node if node.name.endswith(KEPT_IN_FP32)],
        )
        return onnx.load(dynamic)


def integer_operators(graph: onnx.ModelProto) -> frozenset[str]:
    """Kinds of node in a graph that compute with integers, or lead to them."""
    return frozenset(node.op_type for node in graph.graph.node) & INTEGER_OPERATORS


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Windows one by one, as the quantizer asks for them."""

    def __init__(self, windows: Inputs) -> None:
        self._windows = iter(windows)

    def get_next(self) -> dict[str, Inputs] | None:
        window = next(self._windows, None)
        return None if window is None else {INPUT_NAME: window[None]}


def _variants(graph: onnx.ModelProto, windows: Inputs, folder: Path) -> dict[str, Path]:
    """Files of the graph by precision; FP32 is the graph as it came."""
    plain, prepared = folder / "fp32.onnx", folder / "prepared.onnx"
    onnx.save(graph, plain)
    quant_pre_process(str(plain), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
    kept = [
        node.name
        for node in graph.graph.node
        if node.name.endswith(KEPT_IN_FP32) or any(scope in node.name for scope in KEPT_SCOPES)
    ]
    dynamic, static = folder / "int8_dynamic.onnx", folder / "int8_static.onnx"
    quantize_dynamic(
        prepared,
        dynamic,
        op_types_to_quantize=["MatMul", "LSTM"],
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept,
    )
    quantize_static(
        prepared,
        static,
        _Windows(windows),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept,
    )
    return {FP32: plain, "int8_dynamic": dynamic, "int8_static": static}


def _milliseconds(sessions: Mapping[str, ModelSession], windows: Inputs) -> dict[str, float]:
    """Median time of a call on one window; the sessions take turns, so that all meet the same machine."""
    durations: dict[str, list[float]] = {name: [] for name in sessions}
    for row in range(TIMED_CALLS):
        window = windows[row % len(windows)][None]
        for name, session in sessions.items():
            start = thread_time()
            session.run(window)
            durations[name].append(1e3 * (thread_time() - start))
    return {name: float(np.median(own)) for name, own in durations.items()}


def _forecasts_compared(said: Outputs, plain: Outputs, *, up: Float64Array) -> _Judged:
    rank = min(_least_rank_correlation(said[output], plain[output]) for output in VALUE_NAMES)
    ours, theirs = said["probability_up"], plain["probability_up"]
    decided = np.abs(theirs - 0.5) > DECIDED
    same = float(((ours > 0.5) == (theirs > 0.5))[decided].mean()) if decided.any() else None
    return _Judged(rank, same, _accuracy(theirs, up) - _accuracy(ours, up))


def _classes_compared(said: Outputs, plain: Outputs, *, classes: ClassArray, output: str) -> _Judged:
    ours, theirs = said[output], plain[output]
    likeliest = theirs.argmax(axis=1)
    rows = np.arange(len(likeliest))
    rank = float(stats.spearmanr(ours[rows, likeliest], theirs[rows, likeliest]).statistic)
    same = float((ours.argmax(axis=1) == likeliest).mean())
    recalls = [
        [(own.argmax(axis=1)[classes == one] == one).mean() for one in np.unique(classes)]
        for own in (theirs, ours)
    ]
    return _Judged(rank, same, float(np.mean(recalls[0]) - np.mean(recalls[1])))


def _labels_compared(said: Outputs, plain: Outputs, *, present: BoolArray, output: str) -> _Judged:
    ours, theirs = said[output], plain[output]
    decided = np.abs(theirs - 0.5) > DECIDED
    same = float(((ours > 0.5) == (theirs > 0.5))[decided].mean())
    rank = float(stats.spearmanr(ours.ravel(), theirs.ravel()).statistic)
    return _Judged(rank, same, _mean_f1(theirs > 0.5, present) - _mean_f1(ours > 0.5, present))


def _mean_f1(said: BoolArray, present: BoolArray) -> float:
    """Of the labels that occur or are said."""
    total = said.sum(axis=0) + present.sum(axis=0)
    both = (said & present).sum(axis=0)
    return float(np.mean(2 * both[total > 0] / total[total > 0]))


def _variant(name: str, file: Path, milliseconds: float, judged: _Judged) -> Variant:
    rank, same, lost = judged.rank_correlation, judged.same_side, judged.accuracy_lost
    failures = [
        text
        for failed, text in (
            (name != FP32 and not integer_operators(onnx.load(file)), "nothing in it is INT8"),
            (not rank >= LEAST_RANK_CORRELATION, f"rank correlation under {LEAST_RANK_CORRELATION}"),
            (same is not None and same < LEAST_SAME_SIDE, f"same side under {LEAST_SAME_SIDE}"),
            (lost > MOST_ACCURACY_LOST, f"more than {MOST_ACCURACY_LOST} of accuracy lost"),
        )
        if failed
    ]
    return Variant(
        name,
        megabytes=file.stat().st_size / 1e6,
        rank_correlation=rank,
        same_side=same,
        accuracy_lost=lost,
        agrees=not failures,
        why="; ".join(failures),
        milliseconds=milliseconds,
    )


def _least_rank_correlation(ours: Float32Array, theirs: Float32Array) -> float:
    """Least over the horizons; one where FP32 says the same of every window and so does the other."""
    columns = []
    for mine, other in zip(ours.T, theirs.T, strict=True):
        if np.ptp(other) == 0:
            columns.append(1.0 if np.allclose(mine, other) else 0.0)
        else:
            columns.append(float(stats.spearmanr(mine, other).statistic) if np.ptp(mine) > 0 else 0.0)
    return min(columns)


def _accuracy(probability_up: Float32Array, up: Float64Array) -> float:
    known = np.isfinite(up)
    return float(((probability_up > 0.5) == (up > 0.5))[known].mean()) if known.any() else 0.0


@contextmanager
def _silent_quantizer() -> Iterator[None]:
    """The quantizer logs to the root what it recommends, whether or not it was followed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
