"""The bars that forecasts are made from, over HTTP, and the chart that is seen in them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes.chart_detector import release_detector
from fakes.forecast_service import service_in
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from cryptoai_serving.app import ForecastApplication
from edge_bundle.detector import Detector

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=200, interval="30m", seed=3)
Served = tuple[httpx.Client, ForecastApplication]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    release_tiny_bundle(folder / "releases", version=3, seed=1)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with service_in(folder) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        yield client, app


def test_bars_are_forecast_from_alike_whoever_holds_them(served: Served) -> None:
    client, _ = served
    found = client.get("/bars/ETHUSD", params={"bars": 90}).json()
    own = CANDLES.filter(symbol="ETHUSD").tail(90)
    assert found["candles"]["close"] == own["close"].to_list()
    assert found["known_at"] == client.get("/forecast/ETHUSD").json()["forecasts"][0]["known_at"]
    sent = client.post("/forecast", json={"symbol": "ETHUSD", "candles": found["candles"]}).json()
    assert sent["forecasts"] == client.get("/forecast/ETHUSD").json()["forecasts"]


@pytest.mark.parametrize("bars", ["0", "1001", "many"])
def test_number_of_bars_has_its_bounds(served: Served, bars: str) -> None:
    refused = served[0].get("/bars/ETHUSD", params={"bars": bars})
    assert refused.status_code == 422
    assert "bars" in refused.json()["where"]


def test_unknown_symbol_and_empty_store_are_told_apart(served: Served, tmp_path: Path) -> None:
    assert served[0].get("/bars/DOGEUSD").json()["code"] == "unknown_symbol"
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, _):
        assert client.get("/bars/ETHUSD").json()["code"] == "no_bars"


def test_chart_is_what_the_released_network_sees_in_the_newest_window(served: Served, folder: Path) -> None:
    client, app = served
    without = client.get("/api/ml/patterns/BTCUSD").json()
    assert without["chart"] is None
    assert "no champion of cryptoai-chart-patterns" in without["chart_reason"]
    detector = Detector.load(release_detector(folder / "releases", version=4))
    app.rooms.charts.refresh()
    [expected] = detector.detect(CANDLES.filter(symbol="BTCUSD"), interval="30m")
    for found in (
        client.get("/api/ml/patterns/BTCUSD").json(),
        client.get("/api/ml/insights/BTCUSD").json()["patterns"],
    ):
        assert found["chart"]["pattern"] == expected.pattern.name.lower()
        assert found["chart"]["confidence"] == pytest.approx(expected.confidence)
        assert found["chart_reason"] == ""
    newer = walk_candles(("BTCUSD",), bars=300, interval="30m", seed=3).tail(100)
    app.rooms.bars.write_bars(newer)
    [later] = detector.detect(newer, interval="30m")
    chart = client.get("/api/ml/patterns/BTCUSD").json()["chart"]
    assert chart["window_end"] == later.window_end.isoformat().replace("+00:00", "Z")


def test_window_that_is_too_short_has_no_chart_and_says_so(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    release_detector(tmp_path / "releases", version=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES.filter(symbol="BTCUSD").tail(40))
        found = client.get("/api/ml/patterns/BTCUSD").json()
    assert found["chart"] is None
    assert "40 bars" in found["chart_reason"]
