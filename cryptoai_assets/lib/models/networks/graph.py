"""A network's graph, built node by node from its weights: scaling first, the three heads last."""

from dataclasses import astuple

import numpy as np

from cryptoai_assets.lib.graph_builder import GraphBuilder, HeadNodes
from cryptoai_assets.lib.models.networks.fitted import CLIP, FittedNetwork
from cryptoai_assets.lib.models.networks.settings import LstmSettings, TransformerSettings
from cryptoai_assets.lib.models.networks.weights import LAST_BAR, NORM_EPSILON, OUTPUTS, Weights, positions
from edge_bundle.windows import Float32Array


def network_heads(graph: GraphBuilder, fitted: FittedNetwork) -> HeadNodes:
    """Append what a network says of the whole window."""
    centred = graph.node(
        "Sub", [graph.window(fitted.lookback), graph.constant("centre", fitted.scaling.centre)], "centred"
    )
    ratio = graph.node("Mul", [centred, graph.constant("inverse", fitted.scaling.inverse)], "unclipped")
    limits = [graph.constant("least", -CLIP), graph.constant("most", CLIP)]
    scaled = graph.node("Clip", [ratio, *limits], "scaled")  # (batch, lookback, features)
    body = (
        _lstm(graph, fitted.settings, fitted.weights, scaled)
        if isinstance(fitted.settings, LstmSettings)
        else _encoder(graph, fitted.settings, fitted.weights, scaled)
    )
    added = _named(graph, fitted.weights, "heads", body)
    newest = graph.node(
        "Gather", [scaled, graph.constant("newest", fitted.lookback - 1, np.int64)], "scaled_last_bar", axis=1
    )
    regression = graph.node(
        "MatMul", [newest, graph.constant(LAST_BAR, fitted.weights[LAST_BAR].T)], "last_bar.product"
    )
    sizes = graph.constant("head_sizes", [len(fitted.horizons)] * OUTPUTS, np.int64)
    names = "lead", "logit", "relative_volatility"
    parts = [
        graph.node_of_many("Split", [values, sizes], [f"{name}_{part}" for name in names], axis=1)
        for part, values in (("added", added), ("known", regression))
    ]
    lead, relative = (graph.node("Add", [part[k] for part in parts], names[k]) for k in (0, 2))
    # Near one half a step of float32 is much of what a market lets a probability move.
    added_slopes, known_slopes, shifts = (
        graph.constant(name, values, np.float64)
        for name, values in zip(
            ("added_slopes", "known_slopes", "calibration_shifts"),
            np.array([astuple(one) for one in fitted.calibration]).T,
            strict=True,
        )
    )
    logits = [
        graph.node("Mul", [graph.precise(part[1]), slopes], name)
        for part, slopes, name in zip(
            parts, (added_slopes, known_slopes), ("added_calibrated", "known_calibrated"), strict=True
        )
    ]
    shifted = graph.node("Add", [logits[0], shifts], "shifted_logit")
    calibrated = graph.node("Add", [shifted, logits[1]], "calibrated_logit")
    up = graph.said(graph.node("Sigmoid", [calibrated], "precise_probability_up"), "probability_up")
    return HeadNodes(up, lead, relative)


def _dense(graph: GraphBuilder, weight: Float32Array, bias: Float32Array, values: str, name: str) -> str:
    product = graph.node("MatMul", [values, graph.constant(f"{name}.weight", weight.T)], f"{name}.product")
    return graph.node("Add", [product, graph.constant(f"{name}.bias", bias)], name)


def _lstm(graph: GraphBuilder, settings: LstmSettings, weights: Weights, scaled: str) -> str:
    series = graph.node("Transpose", [scaled], "by_bar", perm=[1, 0, 2])  # (lookback, batch, features)
    direction = graph.constant("direction", [1], np.int64)
    held = ""
    for place, units in enumerate(settings.units):
        layer = f"layers.{place}"
        inputs = [
            series,
            graph.constant(f"{layer}.input", _reordered(weights[f"{layer}.weight_ih_l0"])[None]),
            graph.constant(f"{layer}.recurrent", _reordered(weights[f"{layer}.weight_hh_l0"])[None]),
            graph.constant(
                f"{layer}.bias",
                np.concatenate([_reordered(weights[f"{layer}.bias_{part}_l0"]) for part in ("ih", "hh")])[
                    None
                ],
            ),
        ]
        every, held = graph.node_of_many(
            "LSTM", inputs, [f"{layer}.every_bar", f"{layer}.held"], hidden_size=units
        )
        # (lookback, one direction, batch, units) without the direction
        series = graph.node("Squeeze", [every, direction], f"{layer}.series")
    return graph.node("Squeeze", [held, graph.constant("one_direction", [0], np.int64)], "body")


def _reordered(weight: Float32Array) -> Float32Array:
    """Gates in ONNX's order: input, output, forget, cell."""
    enter, forget, candidate, leave = np.split(weight, 4, axis=0)
    return np.concatenate([enter, leave, forget, candidate], axis=0)


def _encoder(graph: GraphBuilder, settings: TransformerSettings, weights: Weights, scaled: str) -> str:
    embedded = _dense(graph, weights["embedding.weight"], weights["embedding.bias"], scaled, "embedding")
    place = graph.constant("positions", positions(settings.lookback, settings.width))
    values = graph.node("Add", [embedded, place], "placed")  # (batch, lookback, width)
    bounds = [
        graph.constant(name, [value], np.int64)
        for name, value in (
            ("last_start", settings.lookback - 1),
            ("last_end", settings.lookback),
            ("bars", 1),
        )
    ]
    for number in range(settings.layers):
        layer = f"layers.{number}"
        normal = _norm(graph, weights, f"{layer}.before_attention", values)
        asking = normal
        if number == settings.layers - 1:
            # Only the last bar is read after the last layer: nobody asks for the others.
            asking = graph.node("Slice", [normal, *bounds], f"{layer}.asking")
            values = graph.node("Slice", [values, *bounds], f"{layer}.last_bar")
        mixed = _attention(graph, settings, weights, layer, asking, normal)
        values = graph.node("Add", [values, mixed], f"{layer}.attended")
        normal = _norm(graph, weights, f"{layer}.before_dense", values)
        inner = graph.node("Relu", [_named(graph, weights, f"{layer}.up", normal)], f"{layer}.inner")
        values = graph.node("Add", [values, _named(graph, weights, f"{layer}.down", inner)], f"{layer}.told")
    last = graph.node("Squeeze", [values, graph.constant("one_bar", [1], np.int64)], "last_values")
    return _norm(graph, weights, "last_norm", last)


def _named(graph: GraphBuilder, weights: Weights, name: str, values: str) -> str:
    return _dense(graph, weights[f"{name}.weight"], weights[f"{name}.bias"], values, name)


def _norm(graph: GraphBuilder, weights: Weights, name: str, values: str) -> str:
    parts = [graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
    return graph.node("LayerNormalization", [values, *parts], name, axis=-1, epsilon=NORM_EPSILON)


def _attention(
    graph: GraphBuilder, settings: TransformerSettings, weights: Weights, layer: str, asking: str, known: str
) -> str:
    """Attention of the bars that ask to the bars that are known; (batch, asking bars, width)."""
    width, size = settings.width, settings.width // settings.heads
    weight, bias = weights[f"{layer}.attention_input.weight"], weights[f"{layer}.attention_input.bias"]
    scale = np.float32(size**-0.5)  # of the products, moved into the weights
    asked = _dense(graph, weight[:width] * scale, bias[:width] * scale, asking, f"{layer}.asked")
    pair = _dense(graph, weight[width:], bias[width:], known, f"{layer}.pair")
    halves = graph.constant(f"{layer}.halves", [width, width], np.int64)
    keys, told = graph.node_of_many("Split", [pair, halves], [f"{layer}.keys", f"{layer}.values"], axis=2)
    by_head = graph.constant(f"{layer}.by_head", [0, 0, settings.heads, size], np.int64)

    def split(values: str, name: str, order: list[int]) -> str:
        parted = graph.node("Reshape", [values, by_head], f"{layer}.{name}_parted")
        return graph.node("Transpose", [parted], f"{layer}.{name}_by_head", perm=order)

    product = [split(asked, "asked", [0, 2, 1, 3]), split(keys, "keys", [0, 2, 3, 1])]
    share = graph.node("Softmax", [graph.node("MatMul", product, f"{layer}.fit")], f"{layer}.share", axis=-1)
    mixed = graph.node("MatMul", [share, split(told, "values", [0, 2, 1, 3])], f"{layer}.mixed_by_head")
    joined = graph.node("Transpose", [mixed], f"{layer}.mixed", perm=[0, 2, 1, 3])
    whole = graph.constant(f"{layer}.whole", [0, 0, width], np.int64)
    return _named(
        graph, weights, f"{layer}.attention_output", graph.node("Reshape", [joined, whole], f"{layer}.joined")
    )
