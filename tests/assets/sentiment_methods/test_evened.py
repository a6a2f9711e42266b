"""An evened graph says what the graph said, and INT8 costs it less where one value is far larger than all."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes.tiny_encoder import WORDS, tiny_weights

from cryptoai_assets.lib.quantization import with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.evened import evened
from edge_bundle.sentiment.transformer import PROBABILITIES
from edge_bundle.session import ModelSession

TEXTS = np.random.default_rng(4).integers(1, len(WORDS), (40, 9))


@pytest.fixture
def uneven() -> onnx.ModelProto:
    """Graph of which one value after each activation is hundreds of times as large as the others."""
    weights = tiny_weights(seed=2)
    for layer in ("layers.0", "layers.1"):
        weights[f"{layer}.up.weight"][5] *= 500
        weights[f"{layer}.down.weight"][:, 5] /= 500
    return encoder_graph(weights)


def said(graph: onnx.ModelProto, folder: Path) -> np.ndarray:
    onnx.save(graph, folder / "graph.onnx")
    session = ModelSession.open(folder / "graph.onnx")
    return np.concatenate([session.run(row[None])[PROBABILITIES] for row in TEXTS])


def test_evened_graph_says_what_it_said(tmp_path: Path, uneven: onnx.ModelProto) -> None:
    before = uneven.SerializeToString()
    even = evened(uneven, TEXTS.tolist())
    assert uneven.SerializeToString() == before
    assert even.SerializeToString() != before
    np.testing.assert_allclose(said(even, tmp_path), said(uneven, tmp_path), atol=2e-5)


def test_int8_costs_an_evened_graph_less(tmp_path: Path, uneven: onnx.ModelProto) -> None:
    exact = said(uneven, tmp_path)
    lost = [
        np.abs(said(with_integer_products(graph), tmp_path) - exact).mean()
        for graph in (uneven, evened(uneven, TEXTS.tolist()))
    ]
    assert lost[1] < 0.5 * lost[0]


def test_value_that_the_texts_never_have_is_not_blown_up(tmp_path: Path) -> None:
    weights = tiny_weights(seed=2)
    weights["layers.0.up.weight"][3] = 0
    weights["layers.0.up.bias"][3] = 0
    even = evened(encoder_graph(weights), TEXTS.tolist())
    half = next(held for held in even.graph.initializer if held.name == "layers.0.half")
    factors = onnx.numpy_helper.to_array(half)
    assert factors.argmax() == 3
    assert factors[3] == pytest.approx(1000 * factors.min(), rel=1e-3)
    assert np.isfinite(said(even, tmp_path)).all()
