"""An encoder's graph made even before INT8: no value of what a dense layer reads is far larger than another.

INT8 has one scale for all that a product reads. After the activation a few of 1,536 values are many times as
large as the rest, which then share a handful of steps. Here each is told in shares of the largest that it was
on real texts, and its row of the product's constant is as much larger.
Source: Xiao et al., SmoothQuant, ICML 2023.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_bundle.session import ModelSession
from edge_bundle.windows import Float32Array

# Nodes of `encoder_graph` whose output a second dense layer reads, and the constants before and after.
_INNER = re.compile(r"layers\.\d+\.inner")
_BEFORE, _AFTER = "half", "down.weight"
# Of the largest of a layer: a value that was never there is not blown up without end.
_LEAST_SHARE = 1e-3


def evened(graph: onnx.ModelProto, pieces: Sequence[Sequence[int]]) -> onnx.ModelProto:
    """FP32 graph of an encoder that says what it said, and whose products lose less in INT8.

    Parameters
    ----------
    pieces
        Numbers of the pieces of real texts, such as it was tuned on.
    """
    even = onnx.ModelProto()
    even.CopyFrom(graph)
    constants = {held.name: held for held in even.graph.initializer}
    for inner, largest in _largest(graph, pieces).items():
        layer = inner.removesuffix("inner")
        _multiply(constants[layer + _BEFORE], np.reciprocal(largest))
        _multiply(constants[layer + _AFTER], largest[:, None])
    return even


def _largest(graph: onnx.ModelProto, pieces: Sequence[Sequence[int]]) -> dict[str, Float32Array]:
    """(inner,) largest of each value between the dense layers, by the name of the node."""
    names = [node.output[0] for node in graph.graph.node if _INNER.fullmatch(node.output[0])]
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    with TemporaryDirectory() as folder:
        onnx.save(watched, Path(folder) / "watched.onnx")
        session = ModelSession.open(Path(folder) / "watched.onnx")
    largest = {name: np.float32(0) for name in names}
    for row in pieces:
        said = session.run(np.array([row]))
        largest = {
            name: np.maximum(before, np.abs(said[name]).max(axis=(0, 1))) for name, before in largest.items()
        }
    return {name: np.maximum(values, _LEAST_SHARE * values.max()) for name, values in largest.items()}


def _multiply(constant: onnx.TensorProto, factors: Float32Array) -> None:
    values = (numpy_helper.to_array(constant) * factors).astype(np.float32)
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
