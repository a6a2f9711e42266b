"""How fast a forecast's graph answers: one window, one thread, through our session and by a bare call.

The networks have their full size and weights that nobody trained: the time does not depend on them. The trees
have as many leaves as they may. Goals are held against time on the processor; beside it stands that on the
clock, which a busy machine stretches. How long a network trains is extrapolated from one short epoch.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, thread_time

import numpy as np
import onnx
import onnxruntime
from benchmarks.features import bars
from benchmarks.rows import BenchRow
from fakes.untrained_network import untrained_network

from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.export import forecaster_graph
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.forecaster_model import rows_of
from cryptoai_assets.lib.models.networks.fitted import RobustScaling
from cryptoai_assets.lib.models.networks.problem import Windows, stride_bars, training_problem
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from cryptoai_assets.lib.models.tree_heads import ForestSettings, LightgbmSettings, XgboostSettings
from cryptoai_assets.lib.models.tree_rows import TreeRows
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.quantization import chosen_precision
from cryptoai_assets.lib.search import FOLDS, VALIDATION_SHARE
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import FULL, STRETCH_SHARE
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.session import INPUT_NAME, ModelSession

HORIZONS = (5, 10, 30)
FEATURES = 96  # as many as a model reads at most
BARS, CALLS, WARM_UP = 8000, 2000, 50
GOAL_MS, BUNDLE_GOAL_MB = 1.0, 15.0
# Two symbols for half a year, the threads of a training, and what is timed of an epoch.
MINUTE_ROWS, THREADS, EPOCH_WINDOWS = 522_546, 2, 512
TRAINING_GOAL_MINUTES = 40.0
# A search reads the rows before the first scored fold, and trains on half of them, then on three quarters.
SEARCH_BARS, SEARCH_TRIALS, SEARCH_GOAL_MINUTES = 40_000, 30, 20.0
SETTINGS: tuple[NetworkSettings, ...] = (LstmSettings.start(), TransformerSettings.start())


def real_shaped_rows(count: int = BARS) -> Dataset:
    """Windows over the catalog's quickest features, of a random walk of minutes."""
    names = sorted(catalog(), key=lambda name: catalog()[name].warmup)[: FEATURES - 1]
    names = [*names, *({"return_deviation_60"} - set(names))]
    grid = bars(count)
    targets = target_frame(grid, horizons=HORIZONS)
    return dataset(feature_frame(grid, names), targets, names, lookback=60, bar=timedelta(minutes=1))


def measure() -> list[BenchRow]:
    """Rows of the room."""
    data = real_shaped_rows()
    rows = np.arange(len(data) - 2600, len(data))
    up = np.column_stack([data.target("up", horizon)[rows] for horizon in HORIZONS])
    found = []
    for settings in SETTINGS:
        graph = forecaster_graph(untrained_network(settings, data, horizons=HORIZONS, seed=1))
        windows = data.windows(settings.lookback, rows)
        chosen = chosen_precision(graph, windows, up)
        found += _rows(f"{settings.kind}-fp32", graph, windows)
        if chosen.name != "fp32":
            found += _rows(f"{settings.kind}-{chosen.name}", chosen.graph, windows)
    trees = _full_grown_trees().fit(data, horizons=HORIZONS, seed=1)
    found += _rows("tree-ensemble-fp32", forecaster_graph(trees), data.windows(trees.lookback, rows))
    found += [_training_row(settings, data) for settings in SETTINGS if find_spec("torch")]
    return [*found, _search_row(real_shaped_rows(SEARCH_BARS))]


def _full_grown_trees() -> Trees:
    """All three libraries; boosting with few rows a leaf, since there are few rows."""
    members = (
        replace(XgboostSettings.start(), min_child_weight=1.0),
        replace(LightgbmSettings.start(), rows_a_leaf=5),
        ForestSettings.start(),
    )
    return Trees(EnsembleSettings.of(members), threads=THREADS)


def _training_row(settings: NetworkSettings, data: Dataset) -> BenchRow:
    """Processor time that a whole fit on the minute set takes, by that of one epoch on few windows."""
    from cryptoai_assets.lib.models.networks.gradients import GradientSolver

    scaling = RobustScaling.of(data)
    problem = training_problem(settings, data, None, scaling, horizons=HORIZONS, epochs=1, planned=1, seed=1)
    rows = EPOCH_WINDOWS * stride_bars(settings.lookback)
    few = Windows(problem.training.last[:rows], problem.training.targets[:rows])
    problem = replace(problem, training=few)
    solve = partial(GradientSolver(1, None), problem, after_epoch=lambda _: None)
    solve()  # what is made once is not counted
    start = process_time()
    solve()
    count = len(problem.turn(1))
    seconds = (process_time() - start) / count
    # A first network sees 68 % of the rows, the final one all, each for as many epochs as are planned.
    every = MINUTE_ROWS / stride_bars(settings.lookback)
    windows = 1.68 * every * settings.training.planned_epochs(int(0.68 * every))
    minutes = seconds * windows / 60
    return BenchRow(
        f"forecasting/{settings.kind}-training-extrapolated",
        minutes,
        "core min",
        TRAINING_GOAL_MINUTES,
        minutes <= TRAINING_GOAL_MINUTES,
        f"extrapolated: {count} windows in {seconds * count:.1f} s, "
        f"{windows:,.0f} for {MINUTE_ROWS:,} minutes; the goal is 20 minutes on two cores",
    )


def _search_row(data: Dataset) -> BenchRow:
    """Processor time that trees are searched on the minute set, when no trial is given up."""
    horizon = HORIZONS[len(HORIZONS) // 2]
    rows, up = TreeRows(rows_of(data.values)), data.target("up", horizon)

    def tried() -> float:
        start = process_time()
        for settings in (XgboostSettings, LightgbmSettings, ForestSettings):
            head = settings.start().grow(rows, up, objective="direction", seed=1)
            head.predict(rows.values)
        return process_time() - start

    # A search bins its rows once, in its first trial.
    first, later = tried(), tried()
    known = np.isfinite(up)
    seconds = (first + (SEARCH_TRIALS - 1) * later) / SEARCH_TRIALS / known.sum()
    searched = MINUTE_ROWS * (1 - STRETCH_SHARE) * (1 - FULL.test_share)
    trained = searched * sum(1 - VALIDATION_SHARE * (1 - fold / FOLDS) for fold in range(FOLDS))
    minutes = float(seconds * trained * SEARCH_TRIALS / 60)
    return BenchRow(
        "forecasting/trees-search-extrapolated",
        minutes,
        "core min",
        SEARCH_GOAL_MINUTES,
        minutes <= SEARCH_GOAL_MINUTES,
        f"extrapolated from {known.sum():,} rows: {SEARCH_TRIALS} whole trials of three libraries on "
        f"{searched:,.0f} of {MINUTE_ROWS:,} minutes; the goal is 10 minutes on two cores",
    )


def _rows(name: str, graph: onnx.ModelProto, windows: np.ndarray) -> list[BenchRow]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(graph, file)
        session, bare = ModelSession.open(file), bare_session(file)
        size = file.stat().st_size / 1e6
    outputs = [output.name for output in bare.get_outputs()]
    ours, theirs = _durations(windows, session.run, lambda window: bare.run(outputs, {INPUT_NAME: window}))
    rows = []
    for label, quantile in (("p50", 0.5), ("p99", 0.99)):
        value, reference = (1e3 * float(np.quantile(times[0], quantile)) for times in (ours, theirs))
        clock = 1e3 * float(np.quantile(ours[1], quantile))
        compared = f"onnxruntime alone; by the clock ours takes {clock:.3f} ms"
        rows.append(
            BenchRow(
                f"forecasting/{name}-{label}", value, "ms", GOAL_MS, value <= GOAL_MS, compared, reference
            )
        )
    kept = size <= BUNDLE_GOAL_MB
    rows.append(BenchRow(f"forecasting/{name}-size", size, "MB", BUNDLE_GOAL_MB, kept, "one bundle at most"))
    return rows


def bare_session(file: Path) -> onnxruntime.InferenceSession:
    """Session of the runtime itself, with the settings of `edge_bundle.session`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _durations(windows: np.ndarray, *calls: Callable[[np.ndarray], object]) -> list[np.ndarray]:
    """(2, calls) seconds of each: on the processor, and by the clock; the calls take turns."""
    taken = np.empty((len(calls), 2, CALLS + WARM_UP))
    for number in range(CALLS + WARM_UP):
        window = windows[number % len(windows)][None]
        for place, call in enumerate(calls):
            clock, processor = perf_counter(), thread_time()
            call(window)
            taken[place, :, number] = thread_time() - processor, perf_counter() - clock
    return list(taken[:, :, WARM_UP:])
