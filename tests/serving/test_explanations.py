"""Explanations over HTTP: they add up to the forecast that is answered, and say when there is none."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.forecast_service import service_in
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import START, TINY_FEATURES, walk_candles

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=200, interval="30m", seed=3)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("root")
    release_tiny_bundle(folder / "releases", version=3, members=("xgboost", "lstm"), seed=1)
    with service_in(folder) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        yield client


def answer(client: httpx.Client, address: str) -> dict[str, Any]:
    response = client.get(address)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_contributions_add_up_to_the_forecast(client: httpx.Client) -> None:
    forecast = answer(client, "/forecast/ETHUSD")["forecasts"][0]
    for place, horizon in enumerate((1, 2, 6)):
        found = answer(client, f"/explain/ETHUSD?horizon={horizon}")
        own = found["explanation"]
        assert found["probability_up"] == own["said"] == forecast["horizons"][place]["probability_up"]
        total = own["baseline"] + sum(one["contribution"] for one in own["contributions"])
        assert total == pytest.approx(own["said"], abs=1e-9)
        assert {one["feature"] for one in own["contributions"]} == set(TINY_FEATURES)
        assert (own["method"], own["unit"]) == ("sampled", "probability")
    assert answer(client, "/explain/ETHUSD")["horizon_bars"] == 1


def test_same_bar_is_explained_the_same_way_again(client: httpx.Client) -> None:
    first, again = (answer(client, "/explain/BTCUSD")["explanation"] for _ in range(2))
    assert first == again


def test_member_is_explained_by_itself(client: httpx.Client) -> None:
    whole, half = (answer(client, f"/explain/BTCUSD{query}") for query in ("", "?member=lstm"))
    assert (whole["member"], half["member"], whole["members"]) == (None, "lstm", ["xgboost", "lstm"])
    assert half["explanation"]["said"] == pytest.approx(whole["probability_up"] / 2)


@pytest.mark.parametrize(
    ("query", "where", "cure"),
    [("horizon=3", "horizon", "1, 2, 6"), ("member=garch", "member", "xgboost, lstm")],
)
def test_what_the_model_does_not_have_is_refused_with_what_it_has(
    client: httpx.Client, query: str, where: str, cure: str
) -> None:
    response = client.get(f"/explain/BTCUSD?{query}")
    assert response.status_code == 422
    assert (response.json()["where"], cure in response.json()["cure"]) == (where, True)


def test_forecast_that_abstains_is_not_explained(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, live=True, market="live", seed=1)
    with service_in(tmp_path, market="live", now=START + timedelta(days=99)) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        found = answer(client, "/explain/BTCUSD")
    assert (found["explanation"], found["probability_up"]) == (None, None)
    assert found["abstention"]["reason"] == "stale_data"
