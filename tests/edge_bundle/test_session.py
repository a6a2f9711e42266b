"""The door to the runtime: outputs by name, and a file that is no graph refused by its name."""

from pathlib import Path

import numpy as np
import pytest
from fakes.tiny_bundle import TINY_FEATURES, write_tiny_bundle

from edge_bundle.errors import BundleRefusedError
from edge_bundle.forecast import VALUE_NAMES
from edge_bundle.forecaster import OUTSIDE_RANGE
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.session import ModelSession


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path, lookback=2, horizons=(1, 2, 6), seed=1) / GRAPH_NAME


def inputs(rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.default_rng(5)
    return random.normal(0, 1e-3, (rows, 2, len(TINY_FEATURES))).astype(np.float32)


def test_outputs_are_named_and_float32(graph: Path) -> None:
    outputs = ModelSession.open(graph).run(inputs(7))
    assert set(outputs) == {*VALUE_NAMES, OUTSIDE_RANGE}
    assert {values.dtype for values in outputs.values()} == {np.dtype(np.float32)}
    assert {outputs[name].shape for name in VALUE_NAMES} == {(7, 3)}
    assert outputs[OUTSIDE_RANGE].shape == (7,)


def test_batch_of_no_rows_has_no_outputs(graph: Path) -> None:
    assert ModelSession.open(graph).run(inputs(0))[OUTSIDE_RANGE].shape == (0,)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_row_has_the_same_bits_in_every_session_and_number_of_threads(graph: Path, threads: int) -> None:
    here, there = ModelSession.open(graph), ModelSession.open(graph, threads=threads)
    row = inputs(1)
    for name, values in here.run(row).items():
        assert values.tobytes() == there.run(row)[name].tobytes()


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_file_that_is_no_graph_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / GRAPH_NAME
    path.write_bytes(content)
    with pytest.raises(BundleRefusedError, match=f"{GRAPH_NAME} cannot be loaded"):
        ModelSession.open(path)


def test_absent_graph_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match=f"{GRAPH_NAME} cannot be loaded"):
        ModelSession.open(tmp_path / GRAPH_NAME)
