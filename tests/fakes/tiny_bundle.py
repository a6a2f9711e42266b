"""A real bundle in miniature: a linear graph over a few features, written with the real writers.

It knows nothing about training: its weights are random numbers from a seed.
"""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from edge_bundle.candles import UTC_MICROSECONDS, candle_frame, interval_duration, newest_bars
from edge_bundle.features.catalog import chosen_features, fingerprint
from edge_bundle.features.sources import reads_market
from edge_bundle.forecast import MEMBER_VALUE_NAMES, VALUE_NAMES
from edge_bundle.forecaster import GOLDEN_CANDLES_NAME, OUTSIDE_RANGE
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, MANIFEST_NAME, Manifest, file_sha256
from edge_bundle.session import INPUT_NAME, ModelSession
from edge_bundle.windows import MarketWindow, bars_needed, model_input, window_features

TINY_FEATURES = ("log_return_1", "log_return_5", "close_location", "return_deviation_15")
GOLDEN_BARS = 64
# A feature this many of its scales away from 0 counts as outside the training range.
FAR_SCALES = 100.0
START = datetime(2019, 1, 1, tzinfo=UTC)


def walk_candles(
    symbols: Sequence[str], *, bars: int, interval: str, seed: int, start: datetime = START
) -> pl.DataFrame:
    """Candles of a random walk per symbol, one a bar without a hole, in the frame's own order."""
    random = np.random.default_rng(seed)
    step = interval_duration(interval)
    times = pl.datetime_range(
        start, start + (bars - 1) * step, step, time_unit="us", time_zone="UTC", eager=True
    ).cast(UTC_MICROSECONDS)
    frames = []
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(random.normal(0, 2e-3, bars)))
        opened = np.concatenate([[100.0], close[:-1]])
        spread = np.abs(random.normal(0, 1e-3, (2, bars)))
        frames.append(
            pl.DataFrame(
                {
                    "open_time": times,
                    "symbol": pl.repeat(symbol, bars, eager=True),
                    "open": opened,
                    "high": np.maximum(opened, close) * (1 + spread[0]),
                    "low": np.minimum(opened, close) * (1 - spread[1]),
                    "close": close,
                    "volume": random.lognormal(3, 1, bars),
                }
            )
        )
    return candle_frame(pl.concat(frames))


def write_tiny_bundle(
    folder: Path,
    *,
    market: str = "sample",
    symbols: tuple[str, ...] = ("BTCUSD", "ETHUSD"),
    interval: str = "30m",
    horizons: tuple[int, ...] = (1, 2, 6),
    features: tuple[str, ...] | None = None,
    lookback: int = 1,
    live: bool = False,
    members: tuple[str, ...] = (),
    seed: int,
) -> Path:
    """Write a bundle whose `selftest` passes; two seeds give two bundles with other answers.

    Returns
    -------
    Path
        The folder, for ``Forecaster.load``.
    """
    features = TINY_FEATURES if features is None else features
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(features, len(horizons), lookback, members, seed), folder / GRAPH_NAME)
    needed = bars_needed(features, lookback)
    together = symbols if reads_market(features) else symbols[:1]
    candles = walk_candles(together, bars=needed + GOLDEN_BARS, interval=interval, seed=seed)
    newest, bar = newest_bars(candles, needed), interval_duration(interval)
    frame, last = (
        window_features(MarketWindow(bars), features, interval=interval, max_missing_bars=3)
        for bars in (candles, newest)
    )
    values = model_input(frame, features, lookback=lookback, bar=bar).values
    last = last.tail(lookback)
    newest.write_parquet(folder / GOLDEN_CANDLES_NAME)
    np.savez(
        folder / GOLDEN_NAME,
        allow_pickle=False,
        window=values,
        candle_window=model_input(last, features, lookback=lookback, bar=bar).values,
        **ModelSession.open(folder / GRAPH_NAME).run(values),
    )
    Manifest(
        model=f"cryptoai-forecaster-{market}",
        kind="tiny_linear",
        market=market,
        venue="Bitfinex",
        quote="USD",
        interval=interval,
        symbols=symbols,
        live=live,
        horizons=horizons,
        lookback=lookback,
        bars_needed=needed,
        max_missing_bars=3,
        facts={},
        features=features,
        warmups=tuple(feature.warmup for feature in chosen_features(features)),
        feature_fingerprint=fingerprint(features),
        interval_coverage=0.9,
        range_limit=0.1,
        trained_until=START.isoformat(),
        as_of=(START + timedelta(days=1)).isoformat(),
        git_commit="0" * 40,
        quantization={"precision": "fp32"},
        files={name: file_sha256(folder / name) for name in (GRAPH_NAME, GOLDEN_NAME, GOLDEN_CANDLES_NAME)},
    ).write(folder)
    return folder


def write_disagreeing_bundle(folder: Path) -> Path:
    """Write a bundle with the graph of another one: its files are sound, its golden rows are not."""
    bundle, other = (write_tiny_bundle(folder / name, seed=seed) for name, seed in (("a", 5), ("b", 6)))
    give_graph(other, bundle)
    return bundle


def give_graph(other: Path, bundle: Path) -> None:
    """Put the graph of one bundle into another, whose manifest promises it from then on."""
    shutil.copy(other / GRAPH_NAME, bundle / GRAPH_NAME)
    manifest = json.loads((bundle / MANIFEST_NAME).read_bytes())
    manifest["files"][GRAPH_NAME] = json.loads((other / MANIFEST_NAME).read_bytes())["files"][GRAPH_NAME]
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))


def _graph(
    features: tuple[str, ...], horizons: int, lookback: int, members: tuple[str, ...], seed: int
) -> onnx.ModelProto:
    """Every output is linear in the features of the last bar, but for the sigmoid of the probability; members
    say shares of the whole: the first all of it, the second half of it.
    """
    random = np.random.default_rng(seed)
    scales = np.array([feature.scale for feature in chosen_features(features)], dtype=np.float32)
    constants: dict[str, npt.NDArray[Any]] = {
        "last_bar": np.array(lookback - 1, dtype=np.int64),
        "scales": scales,
        "weights": random.normal(0, 3, (len(features), horizons)).astype(np.float32),
        "steepness": np.array([0.02], dtype=np.float32),
        "volatility_weights": np.abs(random.normal(0, 0.1, (len(features), horizons))).astype(np.float32),
        "volatility_level": np.linspace(40, 90, horizons, dtype=np.float32),
        "factor": np.array([1.645], dtype=np.float32),
        "far": np.array([FAR_SCALES], dtype=np.float32),
    }
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", [INPUT_NAME, "last_bar"], "last", {"axis": 1}),
        ("Div", ["last", "scales"], "scaled", {}),
        ("MatMul", ["scaled", "weights"], "expected_return_bps", {}),
        ("Mul", ["expected_return_bps", "steepness"], "logit", {}),
        ("Sigmoid", ["logit"], "probability_up", {}),
        ("Abs", ["scaled"], "size", {}),
        ("MatMul", ["size", "volatility_weights"], "volatility_change", {}),
        ("Add", ["volatility_change", "volatility_level"], "expected_volatility_bps", {}),
        ("Mul", ["expected_volatility_bps", "factor"], "half_width", {}),
        ("Sub", ["expected_return_bps", "half_width"], "lower_bps", {}),
        ("Add", ["expected_return_bps", "half_width"], "upper_bps", {}),
        ("Greater", ["size", "far"], "is_far", {}),
        ("Cast", ["is_far"], "far_share", {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["far_share"], OUTSIDE_RANGE, {"axes": [1], "keepdims": 0}),
    ]
    for place, member in enumerate(members, start=1):
        constants[f"{member}_share"] = np.array([1 / place], dtype=np.float32)
        nodes += [("Mul", [name, f"{member}_share"], f"{member}/{name}", {}) for name in MEMBER_VALUE_NAMES]
    said = [f"{member}/{name}" for member in members for name in MEMBER_VALUE_NAMES]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", horizons])
        for name in (*VALUE_NAMES, *said)
    ]
    outputs.append(helper.make_tensor_value_info(OUTSIDE_RANGE, TensorProto.FLOAT, ["batch"]))
    window = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["batch", lookback, len(features)])
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, read, [made], name=made, **extra) for kind, read, made, extra in nodes],
            "tiny_forecaster",
            [window],
            outputs,
            initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model
