"""From a fitted model to a bundle: one ONNX graph, its promise, and its golden rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxmltools
import polars as pl
from onnx import helper
from onnxmltools.convert.common.data_types import FloatTensorType

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.graph_builder import BASIS_POINTS, GraphBuilder, HeadNodes
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.blend import FittedBlend
from cryptoai_assets.lib.models.coupling import INTERVAL_COVERAGE, VOLATILITY_ANCHOR, VOLATILITY_FLOOR
from cryptoai_assets.lib.models.ensemble import EnsembleHead
from cryptoai_assets.lib.models.fitted import FittedForecaster
from cryptoai_assets.lib.models.forecaster_model import Predictions
from cryptoai_assets.lib.models.networks.fitted import FittedNetwork
from cryptoai_assets.lib.models.networks.graph import network_heads
from cryptoai_assets.lib.models.tree_heads import LightgbmHead, TreeHead, XgboostHead
from cryptoai_assets.lib.models.trees import FittedTrees
from cryptoai_assets.lib.quantization import FP32, ChosenPrecision, chosen_precision
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.tree_leaves import direction_heads
from edge_bundle.candles import newest_bars
from edge_bundle.explanation import LEAVES_NAME
from edge_bundle.features.catalog import chosen_features, fingerprint
from edge_bundle.features.sources import facts_read, facts_since, reads_market
from edge_bundle.forecast import MEMBER_SEPARATOR, member_names
from edge_bundle.forecaster import GOLDEN_CANDLES_NAME, GOLDEN_FACTS_NAME, Forecaster
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, Manifest, file_sha256
from edge_bundle.session import ModelSession
from edge_bundle.windows import Float32Array, MarketWindow, bars_needed, model_input, window_features

GOLDEN_ROWS = 64
BATCH_ROWS = 1024
# The design asks for at least 2,000 real windows to choose a precision by; some more calibrate it.
QUANTIZATION_ROWS = 2600
AGREEMENT_TOLERANCE = 1e-5
AGREEMENT_SHARE = 0.999
# A float32 near one is off by up to 2**-24; sums of 256 leaves wander about the root of 256 times as far.
LEAVES_ROUNDING = 16 * 2.0**-24


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


def _tree_head(graph: GraphBuilder, head: TreeHead, rows: str, features: int, output: str) -> str:
    """Append the tree node of the library's converter; (batch, 1), a probability for a classifier."""
    if isinstance(head, EnsembleHead):
        return _mean(graph, head, rows, features, output)
    tree = _tree_node(head, features)
    tree.name, tree.input[0] = f"{graph.prefix}{output}_trees", rows
    graph.nodes.append(tree)
    if tree.op_type == "TreeEnsembleRegressor":
        tree.output[0] = f"{graph.prefix}{output}"
        return f"{graph.prefix}{output}"
    tree.output[0], tree.output[1] = f"{tree.name}_label", f"{tree.name}_classes"
    return graph.node("Gather", [tree.output[1], f"{graph.prefix}second_column"], output, axis=1)


def _mean(graph: GraphBuilder, head: EnsembleHead, rows: str, features: int, output: str) -> str:
    """Weighted mean of the members; (batch, 1)."""
    parts = [
        _tree_head(graph, member, rows, features, f"{output}_{place}")
        for place, member in enumerate(head.heads)
    ]
    stacked = graph.node("Concat", parts, f"{output}_members", axis=1)  # (batch, members)
    weights = graph.constant(f"{output}_weights", np.array(head.weights)[:, None])
    return graph.node("MatMul", [stacked, weights], output)


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
            case _:
                raise ExportError(f"no converter for {type(head).__name__}: add it here")
    tree: onnx.NodeProto = next(n for n in converted.graph.node if n.op_type.startswith("TreeEnsemble"))
    return _based(tree, head.base) if isinstance(head, XgboostHead) else tree


def _based(tree: onnx.NodeProto, base: float) -> onnx.NodeProto:
    """Trees that add to this: the converter writes a probability for log odds where the first is empty."""
    kept = [one for one in tree.attribute if one.name != "base_values"]
    del tree.attribute[:]
    tree.attribute.extend([*kept, helper.make_attribute("base_values", [base])])
    return tree


def tree_heads(graph: GraphBuilder, fitted: FittedTrees, last: str) -> HeadNodes:
    """Append what the heads of trees say of the last bar."""
    graph.constant("second_column", [1], np.int64)
    rows = graph.node("Gather", [last, graph.constant("selected", fitted.selected, np.int64)], "rows", axis=1)
    width = len(fitted.selected)
    horizons = list(zip(fitted.horizons, fitted.direction, fitted.volatility, strict=True))
    up = [_tree_head(graph, direction, rows, width, f"up_{h}") for h, direction, _ in horizons]
    relative = [
        _tree_head(graph, volatility, rows, width, f"volatility_{h}") for h, _, volatility in horizons
    ]
    return _joined_heads(graph, up, relative)


def _joined_heads(graph: GraphBuilder, up: Sequence[str], relative: Sequence[str]) -> HeadNodes:
    """Append what joins the trees of all horizons, each (batch, 1)."""
    probability = graph.node("Concat", up, "probability_up", axis=1)  # (batch, horizons)
    doubled = graph.node("Mul", [probability, graph.constant("two", [2.0])], "twice_probability")
    lead = graph.node("Sub", [doubled, graph.constant("one", [1.0])], "lead")
    return HeadNodes(probability, lead, graph.node("Concat", relative, "relative_volatility", axis=1))


def forecaster_graph(fitted: FittedForecaster) -> onnx.ModelProto:
    """Graph from ``window`` (batch, lookback, features) to the outputs that `ModelSession` names, in FP32.

    Raises
    ------
    ExportError
        When a part of the forecaster has no converter.
    """
    graph = GraphBuilder(fitted.lookback)
    last = graph.last_row()
    expected, volatility = (
        _blended(graph, fitted, last) if isinstance(fitted, FittedBlend) else _forecast(graph, fitted, last)
    )
    graph.interval(expected, volatility, [one.interval_factor for one in fitted.coupling])
    graph.outside_range(last, fitted.training_range.low, fitted.training_range.high)
    return graph.model(
        features=len(fitted.names),
        horizons=len(fitted.horizons),
        members=tuple(fitted.members) if isinstance(fitted, FittedTrees | FittedBlend) else (),
    )


def _forecast(graph: GraphBuilder, fitted: FittedForecaster, last: str) -> tuple[str, str]:
    """Append expected return and volatility, after a node named ``probability_up``."""
    match fitted:
        case FittedTrees():
            heads = tree_heads(graph, fitted, last)
            _tree_members(graph, fitted, last)
        case FittedNetwork():
            heads = network_heads(graph, fitted)
        case _:
            raise ExportError(f"no converter for {type(fitted).__name__}: add it here")
    return _coupled(graph, heads, fitted, last)


def _coupled(graph: GraphBuilder, heads: HeadNodes, fitted: FittedForecaster, last: str) -> tuple[str, str]:
    return graph.coupled(
        heads,
        last,
        anchor=fitted.names.index(VOLATILITY_ANCHOR),
        floor=VOLATILITY_FLOOR,
        factors=[one.volatility_factor for one in fitted.coupling],
        slopes=[one.return_slope for one in fitted.coupling],
    )


def _tree_members(graph: GraphBuilder, fitted: FittedTrees, last: str) -> None:
    """Append what each member of an ensemble would say alone, from the trees that are there."""
    whole = graph.prefix
    for place, (kind, member) in enumerate(fitted.members.items()):
        graph.prefix = f"{whole}{kind}{MEMBER_SEPARATOR}"
        up, relative = (
            [f"{whole}{name}_{horizon}_{place}" for horizon in fitted.horizons]
            for name in ("up", "volatility")
        )
        _coupled(graph, _joined_heads(graph, up, relative), member, last)
    graph.prefix = whole


def _blended(graph: GraphBuilder, fitted: FittedBlend, last: str) -> tuple[str, str]:
    """Append the members, and what `FittedBlend.predict` makes of them."""
    returns, volatilities, ups = [], [], []
    for kind, member in fitted.members.items():
        graph.prefix = f"{kind}{MEMBER_SEPARATOR}"
        expected, volatility = _forecast(graph, member, last)
        returns.append(expected)
        volatilities.append(volatility)
        # A network's before it was rounded; trees speak float32.
        own = f"{graph.prefix}precise_probability_up"
        said = f"{graph.prefix}probability_up"
        ups.append(own if isinstance(member, FittedNetwork) else graph.precise(said))
    graph.prefix = ""
    trusts = graph.constant("direction_weights", np.reshape(fitted.direction_weights, (-1, 1, 1)), np.float64)
    up = graph.stacked(ups, "member_ups")  # (members, batch, horizons)
    mean = graph.weighted_sum(up, trusts, "mean_up")
    off = graph.node("Sub", [up, mean], "off_mean")
    spread = graph.node(
        "Sqrt",
        [graph.weighted_sum(graph.node("Mul", [off, off], "off_squared"), trusts, "variance")],
        "spread",
    )
    one = graph.constant("one", [1.0], np.float64)
    odds = graph.node("Div", [mean, graph.node("Sub", [one, mean], "mean_down")], "odds")
    factor = graph.node(
        "Add",
        [
            graph.node(
                "Mul", [spread, graph.constant("doubt", fitted.confidence.doubt, np.float64)], "doubted"
            ),
            graph.constant("trust", fitted.confidence.trust, np.float64),
        ],
        "confidence",
    )
    sure = graph.node("Max", [factor, graph.constant("nothing", [0.0], np.float64)], "least_confidence")
    logit = graph.node("Mul", [graph.node("Log", [odds], "log_odds"), sure], "confident_logit")
    graph.said(graph.node("Sigmoid", [logit], "precise_probability_up"), "probability_up")
    raised = graph.constant("raised", [one.volatility_factor for one in fitted.coupling])
    slopes = graph.constant(
        "slopes", [c.volatility_factor * c.return_slope for c in fitted.coupling], np.float64
    )
    levels = graph.constant("volatility_weights", np.reshape(fitted.volatility_weights, (-1, 1, 1)))
    level = graph.weighted_sum(graph.stacked(volatilities, "member_volatilities"), levels, "mean_volatility")
    # Members that disagree on a side cancel, and leave few digits.
    told = graph.precise(graph.stacked(returns, "member_returns"))
    step = graph.weighted_sum(told, trusts, "mean_return")
    volatility = graph.node("Mul", [level, raised], "expected_volatility_bps")
    expected = graph.said(graph.node("Mul", [step, slopes], "precise_return_bps"), "expected_return_bps")
    return expected, volatility


def exported(fitted: FittedForecaster, data: Dataset, *, decided: str | None = None) -> ChosenPrecision:
    """Graph of a forecaster, a network's in the precision that measurement on rows of the data chooses.

    Parameters
    ----------
    decided
        Name of the precision that a training which is reproduced had.

    Raises
    ------
    ExportError
        When a part of the forecaster has no converter.
    QuantizationError
        When the rows are too few to choose a precision by.
    """
    graph = forecaster_graph(fitted)
    if isinstance(fitted, FittedTrees):
        return ChosenPrecision(graph, FP32, "tree thresholds are data values and are not quantized")
    picked = np.unique(np.linspace(0, len(data) - 1, QUANTIZATION_ROWS).astype(int))
    return chosen_precision(
        graph,
        data.with_features(fitted.names).windows(fitted.lookback, picked),
        np.column_stack([data.target("up", horizon)[picked] for horizon in fitted.horizons]),
        decided=decided,
    )


def write_bundle(
    folder: Path,
    fitted: FittedForecaster,
    *,
    chosen: ChosenPrecision,
    market: Market,
    kind: str,
    golden: Dataset,
    window: MarketWindow,
    trained_until: datetime,
    as_of: datetime,
    git_commit: str,
) -> Forecaster:
    """Write a bundle and load it as the device would.

    Parameters
    ----------
    chosen
        From `exported`.
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
    onnx.save(chosen.graph, folder / GRAPH_NAME)
    needed = bars_needed(fitted.names, fitted.lookback)
    own = _golden_window(window, fitted.names, market, needed)
    write_parquet_atomically(own.candles, folder / GOLDEN_CANDLES_NAME)
    names = [GRAPH_NAME, GOLDEN_NAME, GOLDEN_CANDLES_NAME]
    if (heads := direction_heads(chosen.graph, fitted)) is not None:
        heads.write(folder / LEAVES_NAME)
        names.append(LEAVES_NAME)
    if not own.facts.is_empty():
        write_parquet_atomically(own.facts, folder / GOLDEN_FACTS_NAME)
        names.append(GOLDEN_FACTS_NAME)
    _write_golden_rows(folder, fitted, golden, own, market)
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
        lookback=fitted.lookback,
        bars_needed=needed,
        max_missing_bars=market.max_missing_bars,
        facts={
            name: int(market.greatest_age[name].total_seconds()) for name in sorted(facts_read(fitted.names))
        },
        features=fitted.names,
        warmups=tuple(feature.warmup for feature in chosen_features(fitted.names)),
        feature_fingerprint=fingerprint(fitted.names),
        interval_coverage=INTERVAL_COVERAGE,
        range_limit=fitted.training_range.limit,
        trained_until=trained_until.isoformat(),
        as_of=as_of.isoformat(),
        git_commit=git_commit,
        quantization=chosen.record(),
        files={name: file_sha256(folder / name) for name in names},
    ).write(folder)
    return Forecaster.load(folder)


def _write_golden_rows(
    folder: Path,
    fitted: FittedForecaster,
    golden: Dataset,
    window: MarketWindow,
    market: Market,
) -> None:
    picked = np.unique(np.linspace(0, len(golden) - 1, GOLDEN_ROWS).astype(int))
    values = golden.with_features(fitted.names).windows(fitted.lookback, picked)
    frame = window_features(
        window,
        fitted.names,
        interval=market.interval,
        max_missing_bars=market.max_missing_bars,
        greatest_age=market.greatest_age,
    ).tail(fitted.lookback)
    newest = model_input(frame, fitted.names, lookback=fitted.lookback, bar=market.bar).values
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


def graph_predictions(forecaster: Forecaster, data: Dataset) -> Predictions:
    """Outputs of a loaded bundle for every row, from the features that it reads, in log-return units."""
    return session_predictions(
        forecaster.session, data.with_features(forecaster.manifest.features), forecaster.manifest.lookback
    )


def graph_agreement(forecaster: Forecaster, fitted: FittedForecaster, data: Dataset) -> Agreement:
    """Compare the FP32 graph with its original; what quantization changes stands in the manifest's table."""
    original = fitted.predict(data)
    rounding = float32_rounding(fitted, original)
    if forecaster.manifest.quantization["precision"] == FP32:
        return agreement(original, graph_predictions(forecaster, data), rounding=rounding)
    with TemporaryDirectory() as folder:
        onnx.save(forecaster_graph(fitted), Path(folder) / GRAPH_NAME)
        session = ModelSession.open(Path(folder) / GRAPH_NAME)
    plain = session_predictions(session, data.with_features(fitted.names), fitted.lookback)
    return agreement(original, plain, rounding=rounding)


def session_outputs(session: ModelSession, data: Dataset, lookback: int) -> dict[str, Float64Array]:
    """Raw outputs of a graph for every row; the windows are gathered a batch at a time."""
    batches = np.array_split(np.arange(len(data)), max(1, -(-len(data) // BATCH_ROWS)))
    parts = [session.run(data.windows(lookback, rows)) for rows in batches]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}


def session_predictions(session: ModelSession, data: Dataset, lookback: int) -> Predictions:
    """Outputs of a graph in log-return units."""
    stacked = session_outputs(session, data, lookback)
    whole = _said(stacked, "")
    members = {name: _said(stacked, f"{name}{MEMBER_SEPARATOR}") for name in member_names(stacked)}
    return replace(whole, members=members)


def _said(stacked: Mapping[str, Float64Array], prefix: str) -> Predictions:
    return Predictions(
        stacked[f"{prefix}expected_return_bps"] / BASIS_POINTS,
        stacked[f"{prefix}probability_up"],
        stacked[f"{prefix}expected_volatility_bps"] / BASIS_POINTS,
    )


def agreement(
    original: Predictions, exported: Predictions, *, rounding: Predictions | None = None
) -> Agreement:
    """Compare predictions of the same rows, each output in its own standard deviations.

    Parameters
    ----------
    rounding
        What of each output's difference is none, as `float32_rounding` says; None to count all.
    """
    differences = []
    for name in ("expected_return", "probability_up", "expected_volatility"):
        ours, theirs = getattr(original, name), getattr(exported, name)
        rounded = 0.0 if rounding is None else getattr(rounding, name)
        beyond = np.maximum(np.abs(ours - theirs) - rounded, 0.0)
        differences.append(beyond / np.maximum(ours.std(axis=0), 1e-9))
    largest = np.concatenate(differences, axis=1).max(axis=1)
    return Agreement(len(largest), float((largest <= AGREEMENT_TOLERANCE).mean()), float(largest.max()))


def float32_rounding(fitted: FittedForecaster, said: Predictions) -> Predictions:
    """What float32 alone takes from what a forecaster says, in the unit of each output.

    A forecaster that knows nothing of a horizon says nearly the same of every row: beside the deviation of
    that, the last digits of a float32 are much. A network's graph ends in float64, and says the nearest
    float32. One of trees adds their leaves in float32, to a probability and to the logarithm of a volatility;
    the return follows from both.
    """
    if isinstance(fitted, FittedNetwork):
        return Predictions(
            _half_step(said.expected_return),
            _half_step(said.probability_up),
            _half_step(said.expected_volatility),
        )
    # The return is the slope times the lead 2p - 1 times the volatility.
    slopes = np.array([one.return_slope for one in fitted.coupling])
    by_lead = 2 * slopes * said.expected_volatility
    return Predictions(
        LEAVES_ROUNDING * (by_lead + np.abs(said.expected_return)),
        np.full_like(said.probability_up, LEAVES_ROUNDING),
        LEAVES_ROUNDING * said.expected_volatility,
    )


def _half_step(told: Float64Array) -> Float64Array:
    """To the nearest float32 at most."""
    return np.asarray(0.5 * np.spacing(np.abs(told).astype(np.float32)), dtype=np.float64)


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
