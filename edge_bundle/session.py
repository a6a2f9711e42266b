"""The only door to onnxruntime's inference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge_bundle.errors import BundleRefusedError

INPUT_NAME = "window"


@dataclass(frozen=True, slots=True)
class ModelSession:
    """A loaded graph from one input to named outputs.

    A forecaster reads ``window`` (batch, lookback, features) float32, a chart detector ``window`` (batch,
    rows, columns) uint8, an encoder of texts ``pieces`` (batch, pieces) int64.
    """

    _session: Any
    _input: str
    _outputs: tuple[str, ...]

    @classmethod
    def open(cls, graph: Path, *, threads: int = 1) -> Self:
        """Load a graph; one thread by default, since a forecast is one row.

        Raises
        ------
        BundleRefusedError
            When the file is not a graph that this runtime can run.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises its own unrelated classes
            raise BundleRefusedError(f"{graph.name} cannot be loaded: {error}") from error
        outputs = tuple(output.name for output in session.get_outputs())
        return cls(session, session.get_inputs()[0].name, outputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the graph says."""
        return self._outputs

    def run(
        self, values: npt.NDArray[np.float32 | np.uint8 | np.int64]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Outputs by name for a batch of inputs."""
        return dict(zip(self._outputs, self._session.run(self._outputs, {self._input: values}), strict=True))
