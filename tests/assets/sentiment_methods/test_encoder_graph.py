"""The encoder's graph says what the trained module says, pads change nothing, and INT8 is INT8."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fakes.tiny_encoder import WORDS, tiny_weights

from cryptoai_assets.lib.quantization import integer_operators, with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import EncoderModule
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from edge_bundle.sentiment.transformer import PROBABILITIES
from edge_bundle.session import ModelSession


def said(graph: onnx.ModelProto, folder: Path, ids: np.ndarray) -> np.ndarray:
    onnx.save(graph, folder / "graph.onnx")
    return ModelSession.open(folder / "graph.onnx").run(ids)[PROBABILITIES]


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(3).integers(1, len(WORDS), (9, 11))


def test_graph_says_what_the_module_says_padded_or_not(tmp_path: Path, ids: np.ndarray) -> None:
    weights = tiny_weights(seed=2)
    # The graph's table of words is INT8: the module gets the same one.
    scale = np.abs(weights["words.weight"]).max(axis=1, keepdims=True) / 127
    weights["words.weight"] = np.rint(weights["words.weight"] / scale) * scale
    ids[:4, 6:] = 0
    with torch.no_grad():
        wanted = EncoderModule(weights, dropout=0.0).eval()(torch.from_numpy(ids)).softmax(dim=1).numpy()
    found = said(encoder_graph(weights), tmp_path, ids)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.05  # or it would agree with anything


def test_padding_changes_nothing(tmp_path: Path, ids: np.ndarray) -> None:
    graph = encoder_graph(tiny_weights(seed=2))
    padded = np.concatenate([ids, np.zeros((len(ids), 5), dtype=np.int64)], axis=1)
    np.testing.assert_allclose(said(graph, tmp_path, padded), said(graph, tmp_path, ids), atol=1e-6)


def test_int8_graph_computes_with_integers_and_says_nearly_the_same(tmp_path: Path, ids: np.ndarray) -> None:
    graph = encoder_graph(tiny_weights(seed=2))
    integer = with_integer_products(graph)
    assert "MatMulInteger" in integer_operators(integer)
    assert "MatMulInteger" not in integer_operators(graph)
    far = np.abs(said(integer, tmp_path, ids) - said(graph, tmp_path, ids)).max()
    assert 0 < far < 0.1
