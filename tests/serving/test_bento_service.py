"""The real service under load: releases swap, a damaged one stays out, every answer is logged."""

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.bento_process import bento_service
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles
from fakes.waiting import wait_until

from cryptoai_serving.bars import BarStore
from cryptoai_serving.forecast_log import ForecastLog
from cryptoai_serving.settings import ServingSettings
from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.windows import MarketWindow

CANDLES = walk_candles(("BTCUSD",), bars=30, interval="30m", seed=3)
BODY = {
    "candles": {
        name: (values.dt.epoch("ms") if name == "open_time" else values).to_list()
        for name, values in CANDLES.to_dict().items()
    }
}


def forecasts_of(answer: dict[str, Any]) -> tuple[Forecast, ...]:
    return tuple(Forecast.from_dict(record) for record in answer["forecasts"])


@pytest.mark.timeout(240)
def test_release_swaps_under_load_without_a_failed_request_and_every_answer_is_logged(
    tmp_path: Path,
) -> None:
    settings = ServingSettings.inside(tmp_path)
    bundles = {1: release_tiny_bundle(settings.releases, version=1, seed=1)}
    with BarStore(settings.bars) as store:
        store.write_bars(CANDLES)
    answered: list[dict[str, Any]] = []
    stop = threading.Event()

    def ask(client: httpx.Client, number: int) -> None:
        while not stop.is_set():
            stored = number % 2
            response = client.get("/forecast/BTCUSD") if stored else client.post("/forecast", json=BODY)
            assert response.status_code == 200, response.text
            answered.append(response.json())

    def version(client: httpx.Client) -> int | None:
        found: int | None = client.get("/readyz").json()["version"]
        return found

    def refused(client: httpx.Client) -> bool:
        return client.get("/readyz").json()["refused"] is not None

    with bento_service(tmp_path) as client, ThreadPoolExecutor(3) as users:
        asking = [users.submit(ask, client, number) for number in range(3)]
        try:
            wait_until(lambda: len(answered) > 20, "version 1 answers")
            bundles[2] = release_tiny_bundle(settings.releases, version=2, seed=2)
            wait_until(lambda: version(client) == 2, "version 2 is loaded")
            seen = len(answered)
            wait_until(lambda: len(answered) > seen + 20, "version 2 answers")
            graph = release_tiny_bundle(settings.releases, version=3, seed=3) / GRAPH_NAME
            graph.write_bytes(graph.read_bytes()[:-1])
            wait_until(lambda: refused(client), "the damaged version 3 is refused")
            seen = len(answered)
            wait_until(lambda: len(answered) > seen + 20, "version 2 answers on")
            assert version(client) == 2
        finally:
            stop.set()
        for one in asking:
            one.result()
    expected = {
        number: Forecaster.load(folder).forecast(MarketWindow(CANDLES)) for number, folder in bundles.items()
    }
    assert set(Counter(answer["model_version"] for answer in answered)) == {1, 2}
    assert all(forecasts_of(answer) == expected[answer["model_version"]] for answer in answered)
    with ForecastLog(settings.forecast_log) as log:
        assert log.request_ids(model=settings.model) == {answer["request_id"] for answer in answered}


@pytest.mark.timeout(120)
def test_service_alone_in_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with bento_service(tmp_path) as client:
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "no champion" in ready.json()["reason"]
        assert client.get("/nothing").json()["code"] == "not_found"
        assert "Not investment advice" in client.get("/").text
        assert 'cryptoai_request_seconds_count{method="GET",route="/readyz"' in client.get("/metrics").text
        assert client.get("/api/openapi.json").json()["paths"].keys() >= {"/forecast", "/models"}
        # It listens at the loopback address by which it was asked, and at no other of this machine.
        with socket.socket() as elsewhere:
            assert elsewhere.connect_ex(("127.0.0.2", int(client.base_url.port or 0))) != 0
