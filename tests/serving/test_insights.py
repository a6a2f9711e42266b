"""Prices, signals, patterns and all of it at once, from one forecast, and what is told when there is none."""

import json
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from fakes.forecast_service import service_in
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import START, walk_candles

from cryptoai_serving.app import ForecastApplication
from cryptoai_serving.patterns import LOOKED_THROUGH
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import ALARM_NAME, channel_path
from edge_bundle.windows import MarketWindow, window_grid

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=200, interval="30m", seed=3)
CLOSED = START + 200 * timedelta(minutes=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    release_tiny_bundle(folder / "releases", version=3, seed=1)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[httpx.Client, ForecastApplication]]:
    with service_in(folder, signal_confidence=0.500001) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        yield client, app


@pytest.fixture(scope="module")
def client(served: tuple[httpx.Client, ForecastApplication]) -> httpx.Client:
    return served[0]


def answer(client: httpx.Client, address: str) -> dict[str, Any]:
    response = client.get(address)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_prices_are_the_forecast_s_returns_on_the_last_close(client: httpx.Client, folder: Path) -> None:
    prediction = answer(client, "/api/ml/price-prediction/ETHUSD")["prediction"]
    bundle = folder / "releases" / "cryptoai-forecaster-sample" / "versions" / "3"
    expected = Forecaster.load(bundle).forecast(MarketWindow(CANDLES.filter(symbol="ETHUSD").tail(16)))[0]
    close = CANDLES.filter(symbol="ETHUSD")["close"][-1]
    assert prediction["current_price"] == close
    for told, horizon in zip(prediction["horizons"], expected.horizons, strict=True):
        assert told["probability_up"] == horizon.probability_up
        assert horizon.expected_return_bps is not None
        assert math.log(told["expected_price"] / close) * 1e4 == pytest.approx(horizon.expected_return_bps)
        assert told["lower_price"] < told["expected_price"] < told["upper_price"]
        assert told["members"] is None


def test_members_of_an_ensemble_are_told_with_their_spread(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, members=("xgboost", "lightgbm"), seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        whole = answer(client, "/api/ml/insights/BTCUSD")["prediction"]
        record = answer(client, "/forecast/BTCUSD")["forecasts"][0]
    assert "members" not in record
    for told in whole["horizons"]:
        first, second = told["members"]["said"]
        assert (first["name"], second["name"]) == ("xgboost", "lightgbm")
        assert first["probability_up"] == told["probability_up"]
        assert first["expected_price"] == pytest.approx(told["expected_price"])
        for name, spread in told["members"]["spread"].items():
            assert second[name] == pytest.approx(first[name] / 2)
            assert spread == pytest.approx(abs(first[name]) / 4)


def test_signals_follow_the_probabilities_of_the_same_forecast(client: httpx.Client) -> None:
    told = answer(client, "/api/ml/signals/BTCUSD")
    (forecast,) = answer(client, "/forecast/BTCUSD")["forecasts"]
    for signal, horizon in zip(told["signals"], forecast["horizons"], strict=True):
        probability = horizon["probability_up"]
        assert signal["type"] == ("BUY" if probability > 0.5 else "SELL")
        assert signal["confidence"] == max(probability, 1 - probability)
    assert told["known_at"] == forecast["known_at"]


def test_signal_under_the_setting_is_hold(folder: Path) -> None:
    with service_in(folder, signal_confidence=1.0) as (client, _):
        found = answer(client, "/api/ml/signals/BTCUSD")
    assert {(one["type"], one["reason"]) for one in found["signals"]} == {("HOLD", "low_confidence")}
    assert found["least_confidence"] == 1.0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps({"version": 3, "reason": "accuracy is at least 0.63"}), "accuracy is at least 0.63"),
        ("{", "leak_alarm.json cannot be read"),
        (json.dumps({"version": 2, "reason": "another version's"}), None),
    ],
)
def test_leak_alarm_of_the_version_that_answers_holds_every_signal(
    tmp_path: Path, content: str, told: str | None
) -> None:
    release_tiny_bundle(tmp_path / "releases", version=3, seed=1)
    channel_path(tmp_path / "releases", "cryptoai-forecaster-sample").with_name(ALARM_NAME).write_text(
        content
    )
    with service_in(tmp_path, signal_confidence=0.500001) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        found = answer(client, "/api/ml/insights/BTCUSD")
        metrics = client.get("/metrics").text
    reasons = {one["reason"] for one in found["signals"]}
    assert reasons == ({"leak_alarm"} if told else {"forecast"})
    assert (told or "") in (found["model"]["leak_alarm"] or "")
    assert f"cryptoai_leak_alarm {int(told is not None)}.0" in metrics


def test_stale_data_hold_and_price_nothing(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="live", live=True)
    with service_in(tmp_path, market="live", now=CLOSED + timedelta(minutes=61)) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        found = answer(client, "/api/ml/insights/BTCUSD")
        status = answer(client, "/api/ml/status")
        ready = client.get("/readyz")
    assert {(one["type"], one["reason"]) for one in found["signals"]} == {("HOLD", "stale_data")}
    assert found["confidence"] is None
    assert found["prediction"]["abstention"]["reason"] == "stale_data"
    assert {one["expected_price"] for one in found["prediction"]["horizons"]} == {None}
    assert [one["fresh"] for one in status["bars"]] == [False, False]
    assert ready.status_code == 503
    assert ready.json()["stale_symbols"] == ["BTCUSD", "ETHUSD"]
    assert "the newest bar of BTCUSD closed 1:01:00 ago, at most 1:00:00 is allowed" in ready.json()["reason"]


def test_patterns_are_those_that_the_features_of_the_same_bars_see(client: httpx.Client) -> None:
    found = answer(client, "/api/ml/patterns/BTCUSD")
    own = MarketWindow(CANDLES.filter(symbol="BTCUSD"))
    names = [name for name, feature in catalog().items() if feature.unit in ("0 or 1", "-1, 0 or 1")]
    candles = {pattern["name"] for pattern in found["patterns"]}
    frame = feature_frame(window_grid(own, interval="30m", max_missing_bars=3), names).tail(LOOKED_THROUGH)
    seen = {
        (name, row["open_time"].isoformat().replace("+00:00", "Z"))
        for row in frame.iter_rows(named=True)
        for name in candles
        if row[name]
    }
    assert {(pattern["name"], pattern["open_time"]) for pattern in found["patterns"]} == seen
    assert len(seen) > 3
    assert found["bars_looked_through"] == LOOKED_THROUGH
    assert found["strongest"]["bars"] == max(pattern["bars"] for pattern in found["patterns"])
    ages = [pattern["bars_ago"] for pattern in found["patterns"]]
    assert ages == sorted(ages)


def test_pattern_is_found_in_the_bars_that_were_drawn_for_it(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    flat = CANDLES.filter(symbol="BTCUSD").with_columns(
        open=pl.lit(100.0), close=pl.lit(100.2), high=pl.lit(101.0), low=pl.lit(99.0)
    )
    last = pl.int_range(pl.len()) == pl.len() - 1
    prices = {"open": 95.0, "low": 95.0, "close": 105.0, "high": 105.0}
    drawn = flat.with_columns(
        pl.when(last).then(price).otherwise(pl.col(name)).alias(name) for name, price in prices.items()
    )
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(drawn)
        newest = [
            one for one in answer(client, "/api/ml/patterns/BTCUSD")["patterns"] if one["bars_ago"] == 0
        ]
    assert ("marubozu", "up", 1) in {(one["name"], one["side"], one["bars"]) for one in newest}


def test_few_bars_hold_no_pattern_and_say_how_many_were_looked_through(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES.head(10))
        found = answer(client, "/api/ml/patterns/BTCUSD")
    assert (found["patterns"], found["strongest"], found["bars_looked_through"]) == ([], None, 0)


def test_insights_are_the_parts_together(client: httpx.Client) -> None:
    found = answer(client, "/api/ml/insights/BTCUSD?timeframe=30m")
    assert found["prediction"] == answer(client, "/api/ml/price-prediction/BTCUSD")["prediction"]
    assert found["signals"] == answer(client, "/api/ml/signals/BTCUSD")["signals"]
    assert found["patterns"]["patterns"] == answer(client, "/api/ml/patterns/BTCUSD")["patterns"]
    assert found["confidence"] == max(one["confidence"] for one in found["signals"])
    assert found["current_price"] == found["prediction"]["current_price"]
    assert (found["timeframe"], found["model"]["version"]) == ("30m", 3)


def test_another_timeframe_is_refused_with_the_one_that_is_read(client: httpx.Client) -> None:
    response = client.get("/api/ml/insights/BTCUSD?timeframe=1h")
    assert (response.status_code, response.json()["where"]) == (422, "timeframe")
    assert response.json()["cure"] == "ask for 30m, or leave it out"


@pytest.mark.parametrize("part", ["price-prediction", "signals", "patterns", "insights"])
def test_unknown_symbol_is_not_found(client: httpx.Client, part: str) -> None:
    response = client.get(f"/api/ml/{part}/DOGEUSD")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_symbol")


@pytest.mark.parametrize("part", ["price-prediction", "signals", "patterns", "insights"])
def test_nothing_is_told_without_a_model_or_bars(tmp_path: Path, part: str) -> None:
    with service_in(tmp_path) as (client, _):
        response = client.get(f"/api/ml/{part}/BTCUSD")
        assert (response.status_code, response.json()["code"]) == (503, "no_model")
        assert answer(client, "/api/ml/status")["model"] is None
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, _):
        response = client.get(f"/api/ml/{part}/BTCUSD")
        assert (response.status_code, response.json()["code"]) == (503, "no_bars")


def test_status_tells_model_bars_and_log(client: httpx.Client) -> None:
    found = answer(client, "/api/ml/status")
    assert (found["model"]["version"], found["reason"], found["refused"]) == (3, "", None)
    assert [(one["symbol"], one["fresh"]) for one in found["bars"]] == [("BTCUSD", True), ("ETHUSD", True)]
    assert found["forecasts_dropped"] == 0


def test_batch_answers_each_symbol_as_if_it_were_asked_alone(client: httpx.Client) -> None:
    response = client.post("/forecast/batch", json={"symbols": ["ETHUSD", "DOGEUSD", "BTCUSD"]})
    answers = response.json()["answers"]
    assert [one["symbol"] for one in answers] == ["ETHUSD", "DOGEUSD", "BTCUSD"]
    for one in (answers[0], answers[2]):
        assert [one["forecast"]] == answer(client, f"/forecast/{one['symbol']}")["forecasts"]
        assert one["error"] is None
    assert answers[1]["forecast"] is None
    assert answers[1]["error"]["code"] == "unknown_symbol"


@pytest.mark.parametrize("symbols", [[], ["BTCUSD"] * 51, ["btc/usd"], "BTCUSD"])
def test_batch_that_is_none_is_refused(client: httpx.Client, symbols: object) -> None:
    assert client.post("/forecast/batch", json={"symbols": symbols}).status_code == 422
