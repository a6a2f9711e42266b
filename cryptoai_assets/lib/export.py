"""From a fitted model to a bundle: one ONNX graph, its promise, and its golden rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxmltools
import polars as pl
import skl2onnx
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.ensemble import EnsembleHead
from cryptoai_assets.lib.models.forecaster_model import Predictions
from cryptoai_assets.lib.models.tree_heads import ForestHead, LightgbmHead, TreeHead, XgboostHead
from cryptoai_assets.lib.models.trees import (
    INTERVAL_COVERAGE,
    VOLATILITY_ANCHOR,
    VOLATILITY_FLOOR,
    FittedTrees,
)
from cryptoai_assets.lib.store import write_parquet_atomically
from edge_bundle.candles import newest_bars
from edge_bundle.features.catalog import chosen_features, fingerprint
from edge_bundle.features.sources import facts_read, facts_since, reads_market
from edge_bundle.forecast import VALUE_NAMES
from edge_bundle.forecaster import GOLDEN_CANDLES_NAME, GOLDEN_FACTS_NAME, OUTSIDE_RANGE, Forecaster
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, Manifest, file_sha256
from edge_bundle.session import INPUT_NAME, ModelSession
from edge_bundle.windows import Float32Array, MarketWindow, bars_needed, model_input, window_features

BASIS_POINTS = 1e4
OPSET = 17
TREE_OPSET = 3
GOLDEN_ROWS = 64
AGREEMENT_TOLERANCE = 1e-5
AGREEMENT_SHARE = 0.999


class ExportError(Exception):
    """A graph does not give what the fitted model gives."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How closely a graph follows its original on the same rows.

    Parameters
    ----------
    share
        Of rows whose every output differs by at most `AGREEMENT_TOLERANCE` of its standard deviation.
    largest_difference
        In standard deviations of the output.
    """

    rows: int
    share: float
    largest_difference: float


class _GraphBuilder:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def trees(self, head: TreeHead, rows: str, features: int, output: str) -> str:
        """Append the tree node of the library's converter; (batch, 1), a probability for a classifier."""
        if isinstance(head, EnsembleHead):
            return self._mean(head, rows, features, output)
        tree = _tree_node(head, features)
        tree.name = f"{output}_trees"
        tree.input[0] = rows
        if tree.op_type == "TreeEnsembleRegressor":
            tree.output[0] = output
            self.nodes.append(tree)
            return output
        tree.output[0], tree.output[1] = f"{output}_label", f"{output}_classes"
        self.nodes.append(tree)
        return self.node("Gather", [tree.output[1], "second_column"], output, axis=1)

    def _mean(self, head: EnsembleHead, rows: str, features: int, output: str) -> str:
        """Weighted mean of the members; (batch, 1)."""
        parts = [
            self.trees(member, rows, features, f"{output}_{place}") for place, member in enumerate(head.heads)
        ]
        stacked = self.node("Concat", parts, f"{output}_members", axis=1)  # (batch, members)
        weights = self.constant(f"{output}_weights", np.array(head.weights)[:, None])
        return self.node("MatMul", [stacked, weights], output)


def _tree_node(head: TreeHead, features: int) -> onnx.NodeProto:
    """The tree ensemble among the nodes of a converted head; what converters add around it is not needed.

    Raises
    ------
    ExportError
        When no converter is known for the head.
    """
    inputs = [("rows", FloatTensorType([None, features]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters' own deprecations
        match head:
            case XgboostHead():
                converted = onnxmltools.convert_xgboost(head.booster, initial_types=inputs, target_opset=15)
            case LightgbmHead():
                converted = onnxmltools.convert_lightgbm(
                    head.booster, initial_types=inputs, target_opset=15, zipmap=False
                )
            case ForestHead():
                row = np.zeros((1, features), np.float32)
                converted = skl2onnx.to_onnx(head.forest, row, target_opset=15)
            case _:
                raise ExportError(f"no converter for {type(head).__name__}: add it here")
    tree: onnx.NodeProto = next(n for n in converted.graph.node if n.op_type.startswith("TreeEnsemble"))
    return tree


def trees_graph(fitted: FittedTrees, *, lookback: int) -> onnx.ModelProto:
    """Graph from ``window`` (batch, lookback, features) to the outputs that `ModelSession` names."""
    graph = _GraphBuilder()
    graph.constant("last_bar", lookback - 1, np.int64)
    graph.constant("second_column", [1], np.int64)
    last = graph.node("Gather", [INPUT_NAME, "last_bar"], "last_row", axis=1)  # (batch, features)
    rows = graph.node("Gather", [last, graph.constant("selected", fitted.selected, np.int64)], "rows", axis=1)
    width = len(fitted.selected)
    horizons = list(zip(fitted.horizons, fitted.direction, fitted.volatility, strict=True))
    up = [graph.trees(direction, rows, width, f"up_{h}") for h, direction, _ in horizons]
    relative = [graph.trees(volatility, rows, width, f"volatility_{h}") for h, _, volatility in horizons]
    probability = graph.node("Concat", up, "probability_up", axis=1)  # (batch, horizons)
    level = graph.node(
        "Exp", [graph.node("Concat", relative, "relative_volatility", axis=1)], "volatility_level"
    )
    anchor_index = graph.constant("anchor_index", [fitted.names.index(VOLATILITY_ANCHOR)], np.int64)
    anchor = graph.node("Gather", [last, anchor_index], "anchor", axis=1)
    floored = graph.node("Max", [anchor, graph.constant("floor", [VOLATILITY_FLOOR])], "floored_anchor")
    raised = [BASIS_POINTS * coupling.volatility_factor for coupling in fitted.coupling]
    in_bps = graph.node("Mul", [floored, graph.constant("bps", raised)], "anchor_bps")  # (batch, horizons)
    volatility = graph.node("Mul", [level, in_bps], "expected_volatility_bps")
    lead = graph.node("Sub", [probability, graph.constant("half", [0.5])], "lead")
    slopes = [2 * coupling.return_slope for coupling in fitted.coupling]
    scaled_lead = graph.node("Mul", [lead, graph.constant("slopes", slopes)], "scaled_lead")
    expected = graph.node("Mul", [scaled_lead, volatility], "expected_return_bps")
    factors = graph.constant("interval_factors", [coupling.interval_factor for coupling in fitted.coupling])
    width_bps = graph.node("Mul", [volatility, factors], "half_width_bps")
    graph.node("Sub", [expected, width_bps], "lower_bps")
    graph.node("Add", [expected, width_bps], "upper_bps")
    below = graph.node("Less", [last, graph.constant("range_low", fitted.range_low)], "below")
    above = graph.node("Greater", [last, graph.constant("range_high", fitted.range_high)], "above")
    outside = graph.node(
        "Cast", [graph.node("Or", [below, above], "outside")], "outside_float", to=TensorProto.FLOAT
    )
    graph.node("ReduceMean", [outside], OUTSIDE_RANGE, axes=[1], keepdims=0)
    return _model(graph, lookback, len(fitted.names), len(fitted.horizons))


def _model(graph: _GraphBuilder, lookback: int, features: int, horizons: int) -> onnx.ModelProto:
    shape: list[str | int | None] = ["batch", lookback, features]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", horizons]) for name in VALUE_NAMES
    ]
    outputs.append(helper.make_tensor_value_info(OUTSIDE_RANGE, TensorProto.FLOAT, ["batch"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "forecaster",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
            outputs,
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREE_OPSET)],
        producer_name="cryptoai",
    )
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model


def write_bundle(
    folder: Path,
    fitted: FittedTrees,
    *,
    market: Market,
    kind: str,
    lookback: int,
    golden: Dataset,
    window: MarketWindow,
    trained_until: datetime,
    as_of: datetime,
    git_commit: str,
) -> Forecaster:
    """Write a bundle and load it as the device would.

    Parameters
    ----------
    golden
        Real rows; `GOLDEN_ROWS` of them, evenly spread, are kept with their outputs.
    window
        Real candles, from which the golden candles are cut: `bars_needed` of one symbol without a hole.

    Raises
    ------
    ExportError
        When the window holds no `bars_needed` candles in a row, or not the facts that are read beside them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(trees_graph(fitted, lookback=lookback), folder / GRAPH_NAME)
    needed = bars_needed(fitted.names, lookback)
    own = _golden_window(window, fitted.names, market, needed)
    write_parquet_atomically(own.candles, folder / GOLDEN_CANDLES_NAME)
    names = [GRAPH_NAME, GOLDEN_NAME, GOLDEN_CANDLES_NAME]
    if not own.facts.is_empty():
        write_parquet_atomically(own.facts, folder / GOLDEN_FACTS_NAME)
        names.append(GOLDEN_FACTS_NAME)
    _write_golden_rows(folder, fitted, golden, own, market, lookback)
    Manifest(
        model=market.model,
        kind=kind,
        market=market.name,
        venue=market.venue,
        quote=market.quote,
        interval=market.interval,
        symbols=market.symbols,
        live=market.live,
        horizons=fitted.horizons,
        lookback=lookback,
        bars_needed=needed,
        max_missing_bars=market.max_missing_bars,
        facts={
            name: int(market.greatest_age[name].total_seconds()) for name in sorted(facts_read(fitted.names))
        },
        features=fitted.names,
        warmups=tuple(feature.warmup for feature in chosen_features(fitted.names)),
        feature_fingerprint=fingerprint(fitted.names),
        interval_coverage=INTERVAL_COVERAGE,
        range_limit=fitted.range_limit,
        trained_until=trained_until.isoformat(),
        as_of=as_of.isoformat(),
        git_commit=git_commit,
        quantization={"precision": "fp32", "why": "tree thresholds are data values and are not quantized"},
        files={name: file_sha256(folder / name) for name in names},
    ).write(folder)
    return Forecaster.load(folder)


def _write_golden_rows(
    folder: Path,
    fitted: FittedTrees,
    golden: Dataset,
    window: MarketWindow,
    market: Market,
    lookback: int,
) -> None:
    picked = np.unique(np.linspace(0, len(golden) - 1, GOLDEN_ROWS).astype(int))
    values = golden.with_features(fitted.names).values[picked]
    frame = window_features(
        window,
        fitted.names,
        interval=market.interval,
        max_missing_bars=market.max_missing_bars,
        greatest_age=market.greatest_age,
    ).tail(lookback)
    newest = model_input(frame, fitted.names, lookback=lookback, bar=market.bar).values
    if not newest.size:
        raise ExportError("the golden candles give no input: a fact that features read is not known there")
    outputs = ModelSession.open(folder / GRAPH_NAME).run(values)
    arrays: Mapping[str, Float32Array] = {"window": values, "candle_window": newest, **outputs}
    np.savez(folder / GOLDEN_NAME, allow_pickle=False, **arrays)


def _golden_window(window: MarketWindow, names: Sequence[str], market: Market, needed: int) -> MarketWindow:
    """The newest candles from which an input is made, with the facts that it reads."""
    together = len(market.symbols) if reads_market(names) else 1
    candles = _unbroken_candles(window, market, needed, together=together)
    oldest, newest = candles.select(pl.col("open_time").min(), pl.col("open_time").max().alias("newest")).row(
        0
    )
    read = pl.col("name").is_in(list(facts_read(names))) & (pl.col("known_at") <= newest + market.bar)
    return MarketWindow(candles, facts_since(window.facts.filter(read), oldest))


def _unbroken_candles(window: MarketWindow, market: Market, needed: int, *, together: int) -> pl.DataFrame:
    """Cut out the newest `needed` candles in a row of any one symbol, or of that many at the same time."""
    follows = (pl.col("open_time").diff().over("symbol") == market.bar).fill_null(False)
    runs = window.candles.with_columns(run=(~follows).cum_sum())
    ends = runs.with_columns(place=pl.int_range(1, pl.len() + 1).over("run"))
    ends = ends.filter(pl.col("place") >= needed).filter(pl.len().over("open_time") >= together)
    if ends.is_empty():
        who = "no symbol has" if together == 1 else f"never have all {together} symbols"
        raise ExportError(f"{who} {needed} bars in a row: give a longer window, or mend its holes")
    newest = ends.filter(pl.col("open_time") == pl.col("open_time").max()).sort("symbol").tail(together)
    own = runs.join(newest.select("run", end="open_time"), on="run", maintain_order="left")
    return newest_bars(own.filter(pl.col("open_time") <= pl.col("end")), needed).drop("run", "end")


def graph_predictions(forecaster: Forecaster, data: Dataset, *, batch: int = 4096) -> Predictions:
    """Outputs of a loaded bundle for every row, from the features that it reads, in log-return units."""
    values = data.with_features(forecaster.manifest.features).values
    parts = [forecaster.outputs(values[start : start + batch]) for start in range(0, len(values), batch)]
    stacked = {
        name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in VALUE_NAMES
    }
    return Predictions(
        stacked["expected_return_bps"] / BASIS_POINTS,
        stacked["probability_up"],
        stacked["expected_volatility_bps"] / BASIS_POINTS,
    )


def agreement(original: Predictions, exported: Predictions) -> Agreement:
    """Compare predictions of the same rows, each output in its own standard deviations."""
    differences = []
    for name in ("expected_return", "probability_up", "expected_volatility"):
        ours, theirs = getattr(original, name), getattr(exported, name)
        differences.append(np.abs(ours - theirs) / np.maximum(ours.std(axis=0), 1e-9))
    largest = np.concatenate(differences, axis=1).max(axis=1)
    return Agreement(len(largest), float((largest <= AGREEMENT_TOLERANCE).mean()), float(largest.max()))


def verify_agreement(found: Agreement) -> Agreement:
    """Return it when the graph may stand for its original.

    Raises
    ------
    ExportError
        When too few rows agree; the share and the largest difference are in the message.
    """
    if found.share < AGREEMENT_SHARE:
        raise ExportError(
            f"the graph agrees with its original on {found.share:.2%} of {found.rows} rows, "
            f"{AGREEMENT_SHARE:.1%} needed; the largest difference: {found.largest_difference:.2g} deviations"
        )
    return found
