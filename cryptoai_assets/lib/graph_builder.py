"""A forecaster's graph under construction: nodes, constants, and the end that all kinds of heads share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_bundle.forecast import MEMBER_SEPARATOR, MEMBER_VALUE_NAMES, VALUE_NAMES
from edge_bundle.forecaster import OUTSIDE_RANGE
from edge_bundle.session import INPUT_NAME
from edge_bundle.windows import Float32Array

BASIS_POINTS = 1e4
OPSET = 17
TREE_OPSET = 3


@dataclass(frozen=True, slots=True)
class HeadNodes:
    """Names of the nodes that hold what the heads of a forecaster say, each (batch, horizons).

    Parameters
    ----------
    lead
        What the expected return is proportional to, in expected volatilities.
    relative_volatility
        Logarithm of the volatility over the anchor's.
    """

    probability_up: str
    lead: str
    relative_volatility: str


class GraphParts:
    """Nodes and constants of a graph.

    Parameters
    ----------
    prefix
        Of the names of what is added, which tells the members of an ensemble apart.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.prefix = ""

    def constant(self, name: str, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), self.prefix + name))
        return self.prefix + name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output."""
        return self.node_of_many(operator, inputs, [output], **attributes)[0]

    def node_of_many(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; an empty name is an output that nobody reads."""
        named = [self.prefix + output if output else "" for output in outputs]
        name = next(output for output in named if output)
        self.nodes.append(helper.make_node(operator, inputs, named, name=name, **attributes))
        return named

    def checked_model(
        self, name: str, given: onnx.ValueInfoProto, said: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the whole graph from one input to what it says."""
        model = helper.make_model(
            helper.make_graph(self.nodes, name, [given], said, initializer=self.constants),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREE_OPSET)],
            producer_name="cryptoai",
        )
        model.ir_version = 9
        onnx.checker.check_model(model, full_check=True)
        return model


class GraphBuilder(GraphParts):
    """Nodes and constants of a graph from ``window`` (batch, lookback, features).

    Parameters
    ----------
    lookback
        Bars of the window.
    """

    def __init__(self, lookback: int) -> None:
        super().__init__()
        self.lookback = lookback

    def precise(self, values: str) -> str:
        """Add the same in float64, for ends where float32 would lose digits and time does not matter."""
        return self.node(
            "Cast", [values], f"{values.removeprefix(self.prefix)}_precise", to=TensorProto.DOUBLE
        )

    def said(self, precise: str, output: str) -> str:
        """Add the nearest float32, which is what a graph says."""
        return self.node("Cast", [precise], output, to=TensorProto.FLOAT)

    def window(self, lookback: int) -> str:
        """The last bars of the window: (batch, lookback, features)."""
        if lookback == self.lookback:
            return INPUT_NAME
        bounds = [
            self.constant(name, [value], np.int64)
            for name, value in (
                ("newest_start", self.lookback - lookback),
                ("newest_end", self.lookback),
                ("along_bars", 1),
            )
        ]
        return self.node("Slice", [INPUT_NAME, *bounds], "newest_bars")

    def last_row(self) -> str:
        """Add what reads the last bar: (batch, features)."""
        last_bar = self.constant("last_bar", self.lookback - 1, np.int64)
        return self.node("Gather", [INPUT_NAME, last_bar], "last_row", axis=1)

    def stacked(self, parts: Sequence[str], output: str) -> str:
        """Add the stack of equally shaped values: (parts, batch, horizons)."""
        first = self.constant(f"{output}_axis", [0], np.int64)
        raised = [
            self.node("Unsqueeze", [part, first], f"{output}_{place}") for place, part in enumerate(parts)
        ]
        return self.node("Concat", raised, output, axis=0)

    def weighted_sum(self, stacked: str, weights: str, output: str) -> str:
        """Add the sum of a stack by weights (parts, 1, 1): (batch, horizons)."""
        weighed = self.node("Mul", [stacked, weights], f"{output}_parts")
        first = self.constant(f"{output}_over", [0], np.int64)
        return self.node("ReduceSum", [weighed, first], output, keepdims=0)

    def coupled(
        self, heads: HeadNodes, last: str, *, anchor: int, floor: float, factors: Any, slopes: Any
    ) -> tuple[str, str]:
        """Add expected return and expected volatility in basis points, each (batch, horizons).

        Parameters
        ----------
        anchor
            Place of the feature that the volatility is relative to, at least `floor`.
        factors, slopes
            (horizons,) of `cryptoai_assets.lib.models.coupling.Coupling`.
        """
        level = self.node("Exp", [heads.relative_volatility], "volatility_level")
        anchored = self.node(
            "Gather", [last, self.constant("anchor_index", [anchor], np.int64)], "anchor", axis=1
        )
        floored = self.node("Max", [anchored, self.constant("floor", [floor])], "floored_anchor")
        raised = self.constant("bps", BASIS_POINTS * np.asarray(factors))
        in_bps = self.node("Mul", [floored, raised], "anchor_bps")  # (batch, horizons)
        volatility = self.node("Mul", [level, in_bps], "expected_volatility_bps")
        scaled_lead = self.node("Mul", [heads.lead, self.constant("slopes", slopes)], "scaled_lead")
        return self.node("Mul", [scaled_lead, volatility], "expected_return_bps"), volatility

    def interval(self, expected: str, volatility: str, factors: Any) -> None:
        """Add the outputs `factors` volatilities on both sides of the expected return."""
        factor = self.constant("interval_factors", factors)
        half = self.node("Mul", [volatility, factor], "half_width_bps")
        self.node("Sub", [expected, half], "lower_bps")
        self.node("Add", [expected, half], "upper_bps")

    def outside_range(self, last: str, low: Float32Array, high: Float32Array) -> None:
        """Add the output that counts the features outside the training range."""
        below = self.node("Less", [last, self.constant("range_low", low)], "below")
        above = self.node("Greater", [last, self.constant("range_high", high)], "above")
        outside = self.node(
            "Cast", [self.node("Or", [below, above], "outside")], "outside_float", to=TensorProto.FLOAT
        )
        self.node("ReduceMean", [outside], OUTSIDE_RANGE, axes=[1], keepdims=0)

    def model(self, *, features: int, horizons: int, members: Sequence[str] = ()) -> onnx.ModelProto:
        """Return the checked graph, with the outputs that `edge_bundle.session.ModelSession` names.

        Parameters
        ----------
        members
            Prefixes of nodes that hold what the members of an ensemble say: outputs of these names.
        """
        shape: list[str | int | None] = ["batch", self.lookback, features]
        said = [f"{member}{MEMBER_SEPARATOR}{name}" for member in members for name in MEMBER_VALUE_NAMES]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", horizons])
            for name in (*VALUE_NAMES, *said)
        ]
        outputs.append(helper.make_tensor_value_info(OUTSIDE_RANGE, TensorProto.FLOAT, ["batch"]))
        window = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)
        return self.checked_model("forecaster", window, outputs)
