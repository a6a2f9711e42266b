"""A tuned encoder as one ONNX graph: from numbers of pieces to shares of negative, neutral and positive."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from cryptoai_assets.lib.graph_builder import GraphParts
from cryptoai_assets.lib.sentiment_methods.encoder import (
    HEAD_SIZE,
    NORM_EPSILON,
    EncoderWeights,
    layer_count,
    width,
)
from edge_bundle.sentiment.method import LABELS
from edge_bundle.sentiment.transformer import MOST_PIECES, PADDING, PROBABILITIES
from edge_bundle.windows import Float32Array

PIECES = "pieces"
_NOWHERE = -1e4
_LARGEST = 127


def encoder_graph(weights: EncoderWeights) -> onnx.ModelProto:
    """Graph of the encoder; its table of words holds INT8 with a scale a row, its products are float32."""
    graph = GraphParts()
    absent = graph.node("Equal", [PIECES, graph.constant("padding", PADDING, np.int64)], "absent")
    choices = [graph.constant("nowhere", _NOWHERE), graph.constant("somewhere", 0.0)]
    hidden = graph.node("Where", [absent, *choices], "hidden_pieces")  # (texts, pieces)
    axes = graph.constant("heads_and_asking", [1, 2], np.int64)
    hidden = graph.node("Unsqueeze", [hidden, axes], "hidden")
    values = _norm(graph, weights, "norm", _embedded(graph, weights))
    for number in range(layer_count(weights)):
        values = _layer(graph, weights, f"layers.{number}", values, hidden)
    logits = _dense(graph, weights, "head", _mean(graph, values, absent))
    graph.node("Softmax", [logits], PROBABILITIES, axis=-1)
    given = helper.make_tensor_value_info(PIECES, TensorProto.INT64, ["texts", "pieces"])
    said = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["texts", len(LABELS)])
    return graph.checked_model("sentiment", given, [said])


def _embedded(graph: GraphParts, weights: EncoderWeights) -> str:
    """(texts, pieces, width) of words and places."""
    words = weights["words.weight"]
    scale = np.maximum(np.abs(words).max(axis=1, keepdims=True), 1e-12) / _LARGEST
    table = graph.constant("words.table", np.rint(words / scale), np.int8)
    rows = graph.node("Gather", [table, PIECES], "words.rows")
    scales = graph.node("Gather", [graph.constant("words.scale", scale), PIECES], "words.scales")
    exact = graph.node("Cast", [rows], "words.float", to=TensorProto.FLOAT)
    read = graph.node("Mul", [exact, scales], "words.read")
    # Every text is of the first kind.
    places = graph.constant("places", weights["places.weight"][:MOST_PIECES] + weights["kinds.weight"][0])
    bounds = [graph.constant(name, [value], np.int64) for name, value in (("first", 0), ("along", 0))]
    second = graph.constant("second", [1], np.int64)
    count = graph.node("Gather", [graph.node("Shape", [PIECES], "shape"), second], "count")
    own = graph.node("Slice", [places, bounds[0], count, bounds[1]], "own_places")
    return graph.node("Add", [read, own], "embedded")


def _mean(graph: GraphParts, values: str, absent: str) -> str:
    """(texts, width) mean over the pieces that are there."""
    there = graph.node("Cast", [graph.node("Not", [absent], "present")], "there", to=TensorProto.FLOAT)
    last, pieces = graph.constant("last_axis", [2], np.int64), graph.constant("pieces_axis", [1], np.int64)
    counted = graph.node("Unsqueeze", [there, last], "counted")
    total = graph.node(
        "ReduceSum", [graph.node("Mul", [values, counted], "kept"), pieces], "total", keepdims=0
    )
    return graph.node(
        "Div", [total, graph.node("ReduceSum", [counted, pieces], "number", keepdims=0)], "meaning"
    )


def _layer(graph: GraphParts, weights: EncoderWeights, layer: str, values: str, hidden: str) -> str:
    mixed = _attention(graph, weights, layer, values, hidden)
    attended = graph.node("Add", [values, mixed], f"{layer}.attended")
    values = _norm(graph, weights, f"{layer}.after_attention", attended)
    inner = _gelu(graph, layer, _dense(graph, weights, f"{layer}.up", values))
    told = graph.node("Add", [values, _dense(graph, weights, f"{layer}.down", inner)], f"{layer}.sum")
    return _norm(graph, weights, f"{layer}.after_dense", told)


def _attention(graph: GraphParts, weights: EncoderWeights, layer: str, values: str, hidden: str) -> str:
    heads = width(weights) // HEAD_SIZE
    by_head = graph.constant(f"{layer}.by_head", [0, 0, heads, HEAD_SIZE], np.int64)

    def split(part: str, order: list[int], factor: float = 1.0) -> str:
        dense = _dense(graph, weights, f"{layer}.{part}", values, factor=factor)
        parted = graph.node("Reshape", [dense, by_head], f"{layer}.{part}_parted")
        return graph.node("Transpose", [parted], f"{layer}.{part}_by_head", perm=order)

    product = [split("asked", [0, 2, 1, 3], HEAD_SIZE**-0.5), split("known", [0, 2, 3, 1])]
    fit = graph.node("Add", [graph.node("MatMul", product, f"{layer}.product"), hidden], f"{layer}.fit")
    share = graph.node("Softmax", [fit], f"{layer}.share", axis=-1)
    mixed = graph.node("MatMul", [share, split("told", [0, 2, 1, 3])], f"{layer}.mixed_by_head")
    joined = graph.node("Transpose", [mixed], f"{layer}.mixed_by_piece", perm=[0, 2, 1, 3])
    whole = graph.constant(f"{layer}.whole", [0, 0, width(weights)], np.int64)
    return _dense(graph, weights, f"{layer}.mixed", graph.node("Reshape", [joined, whole], f"{layer}.joined"))


def _gelu(graph: GraphParts, layer: str, values: str) -> str:
    narrow = graph.node("Div", [values, graph.constant(f"{layer}.root", np.sqrt(2.0))], f"{layer}.narrow")
    error = graph.node("Erf", [narrow], f"{layer}.error")
    raised = graph.node("Add", [error, graph.constant(f"{layer}.one", 1.0)], f"{layer}.raised")
    gated = graph.node("Mul", [values, raised], f"{layer}.gated")
    return graph.node("Mul", [gated, graph.constant(f"{layer}.half", 0.5)], f"{layer}.inner")


def _dense(
    graph: GraphParts, weights: Mapping[str, Float32Array], name: str, values: str, factor: float = 1.0
) -> str:
    weight, bias = (weights[f"{name}.{part}"] * np.float32(factor) for part in ("weight", "bias"))
    product = graph.node("MatMul", [values, graph.constant(f"{name}.weight", weight.T)], f"{name}.product")
    return graph.node("Add", [product, graph.constant(f"{name}.bias", bias)], name)


def _norm(graph: GraphParts, weights: EncoderWeights, name: str, values: str) -> str:
    parts = [graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
    return graph.node("LayerNormalization", [values, *parts], name, axis=-1, epsilon=NORM_EPSILON)
