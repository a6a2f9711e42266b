"""The same candles through the training model, the graph, the registry, the service and the command line."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import onnx
import polars as pl
import pytest
from fakes.bento_process import bento_service
from fakes.evidently_warnings import EVIDENTLY_WARNINGS
from fakes.mortal_desk import MLFLOW_WARNINGS

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import candidate_rows
from cryptoai_assets.lib.candidate import Candidate
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.export import agreement, graph_predictions
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.releases import champion_forecaster
from cryptoai_assets.lib.tracking import CHALLENGER
from cryptoai_assets.lib.training import fit_version
from cryptoai_serving.bars import BarStore
from edge_bundle.forecast import VALUE_NAMES, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.windows import MarketWindow

pytestmark = [*MLFLOW_WARNINGS, *EVIDENTLY_WARNINGS]
TREES_AGREE, TREES_SHARE = 1e-5, 0.999
FIRST_ASKED = datetime(2019, 9, 10, tzinfo=UTC)
ASKED = [FIRST_ASKED + timedelta(hours=37 * step) for step in range(12)]
COMPARED_WINDOWS = 120


@dataclass(frozen=True, slots=True)
class Place:
    """A root in which everything was made, its released bundle, and the rows of the training."""

    root: Path
    home: Home
    forecaster: Forecaster
    candidate: Candidate
    rows: Dataset

    def window(self, symbol: str, end: datetime) -> MarketWindow:
        """As many closed bars as the bundle needs, and some more, before a time."""
        candles = stored_window(self.home, ()).candles
        own = candles.filter((pl.col("symbol") == symbol) & (pl.col("open_time") < end))
        return MarketWindow(own.tail(self.forecaster.manifest.bars_needed + 40))


@pytest.fixture(scope="module")
def place(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = trained.root.copied_to(tmp_path_factory.mktemp("everywhere") / "root")
    market = MarketResource(name="sample", root=str(root.path))
    candidate = Candidate.read(market.home.candidate)
    forecaster = champion_forecaster(market.home.releases, market.home.market.model)
    assert forecaster is not None, "the gate refused the first version: there is nothing to compare"
    return Place(root.path, market.home, forecaster, candidate, candidate_rows(market, candidate)[0])


@pytest.fixture(scope="module")
def windows(place: Place) -> list[tuple[MarketWindow, tuple[Forecast, ...]]]:
    """Windows of two symbols, and what the forecaster in this process answers."""
    asked = [place.window(symbol, end) for symbol in ("BTCUSD", "ETHUSD") for end in ASKED]
    answered = [(window, place.forecaster.forecast(window)) for window in asked]
    assert sum(forecast.abstention is None for _, (forecast,) in answered) > len(asked) / 2
    return answered


@pytest.fixture(scope="module")
def service(place: Place) -> Any:
    with bento_service(place.root) as client:
        yield client


def test_service_answers_a_window_bit_by_bit_as_the_forecaster(service: httpx.Client, windows: Any) -> None:
    for window, expected in windows:
        columns = {
            name: (values.dt.epoch("ms") if name == "open_time" else values).to_list()
            for name, values in window.candles.to_dict().items()
        }
        answer = service.post("/forecast", json={"candles": columns})
        assert answer.status_code == 200, answer.text
        assert tuple(Forecast.from_dict(found) for found in answer.json()["forecasts"]) == expected


def test_service_answers_from_its_store_as_the_forecaster_over_the_same_bars(
    service: httpx.Client, place: Place
) -> None:
    with BarStore(place.home.bars_database) as store:
        stored = store.window(["BTCUSD"], place.forecaster.manifest.bars_needed)
    answer = service.get("/forecast/BTCUSD").json()
    assert tuple(map(Forecast.from_dict, answer["forecasts"])) == place.forecaster.forecast(stored)


def test_command_line_answers_bit_by_bit_as_the_forecaster(place: Place, windows: Any) -> None:
    for window, expected in windows[::6]:
        candles = BytesIO()
        window.candles.write_csv(candles)
        run = subprocess.run(
            [sys.executable, "-m", "edge_bundle", "forecast", str(place.forecaster.folder)],
            input=candles.getvalue(),
            capture_output=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert tuple(Forecast.from_dict(json.loads(line)) for line in run.stdout.splitlines()) == expected


def test_registered_model_answers_bit_by_bit_as_the_forecaster(place: Place, windows: Any) -> None:
    mlflow.set_tracking_uri(place.home.tracking.uri)
    model = mlflow.pyfunc.load_model(f"models:/{place.home.market.model}@{CHALLENGER}")
    for window, (expected,) in windows:
        frame = window.candles.with_columns(open_time_ms=pl.col("open_time").dt.epoch("ms"))
        answer = model.predict(frame.drop("open_time").to_pandas())
        values = [[getattr(horizon, name) for name in VALUE_NAMES] for horizon in expected.horizons]
        np.testing.assert_array_equal(
            answer[list(VALUE_NAMES)].to_numpy(dtype=np.float64), np.array(values, dtype=np.float64)
        )


def test_graph_answers_as_the_trees_that_it_was_made_of(place: Place) -> None:
    market, settings = place.home.market, place.candidate.settings
    _, splits = candidate_rows(MarketResource(name="sample", root=str(place.root)), place.candidate)
    fitted = fit_version(place.rows, splits, place.candidate.model_settings, market=market, settings=settings)
    stretch = place.rows.between(splits.stretch.test_start, None)
    found = agreement(fitted.predict(stretch), graph_predictions(place.forecaster, stretch))
    assert found.rows > 1000
    assert found.share >= TREES_SHARE, found


def test_training_rows_and_the_device_s_tail_give_the_same_forecast(place: Place) -> None:
    """Where they do not, a feature lies within two units in the last place of a split."""
    splits = split_values(place.forecaster)
    rows = place.rows.with_features(place.forecaster.manifest.features)
    keys = rows.keys.with_row_index("row").filter(symbol="BTCUSD").tail(COMPARED_WINDOWS)
    agreed, unexplained = 0, []
    for row, open_time in keys.select("row", "open_time").iter_rows():
        window = place.window("BTCUSD", open_time + place.home.market.bar)
        [forecast] = place.forecaster.forecast(window)
        trained_on = rows.values[row : row + 1]  # (1, lookback, features)
        [values] = place.forecaster.outputs(trained_on)["probability_up"]
        answered = [horizon.probability_up for horizon in forecast.horizons]
        if forecast.abstention is not None or np.allclose(values, answered, rtol=0, atol=TREES_AGREE):
            agreed += 1
        elif not any(near_a_split(value, splits.get(k, [])) for k, value in enumerate(trained_on[0, -1])):
            unexplained.append(open_time)
    assert unexplained == []
    assert agreed >= 0.9 * COMPARED_WINDOWS


def split_values(forecaster: Forecaster) -> dict[int, list[float]]:
    """Thresholds of the graph's trees by the place of their feature in the model's input."""
    graph = onnx.load(forecaster.folder / GRAPH_NAME).graph
    [selected] = [onnx.numpy_helper.to_array(c) for c in graph.initializer if c.name == "selected"]
    found: dict[int, list[float]] = {}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for feature, value, mode in zip(
            attributes.get("nodes_featureids", ()),
            attributes.get("nodes_values", ()),
            attributes.get("nodes_modes", ()),
            strict=True,
        ):
            if mode != b"LEAF":
                found.setdefault(int(selected[feature]), []).append(value)
    return found


def near_a_split(value: np.float32, thresholds: list[float]) -> bool:
    return any(abs(value - np.float32(t)) <= 2 * np.spacing(abs(np.float32(t))) for t in thresholds)
