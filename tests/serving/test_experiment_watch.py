"""Experiments in service: who gets which version, what runs beside, and when nobody is drawn."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fakes.experiments import MODEL, PLAN, begin_tiny_experiment, write_experiment
from fakes.forecast_service import columns, service_in
from fakes.hand_clock import HandClock
from fakes.releases import name_champion
from fakes.tiny_bundle import walk_candles
from fakes.waiting import wait_until
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from cryptoai_serving.bars import BarStore
from cryptoai_serving.experiment_watch import ExperimentWatch, user_token
from cryptoai_serving.forecast_log import ForecastLog
from cryptoai_serving.last_failure import RETRY_AFTER
from cryptoai_serving.settings import ServingSettings
from edge_bundle.experiment import experiment_path, running_path
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.releases import ReleasedVersion, release_folder

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=60, interval="30m", seed=3)
USERS = [f"user-{number}" for number in range(60)]


@pytest.fixture
def place(tmp_path: Path) -> ServingSettings:
    settings = ServingSettings.inside(tmp_path)
    with BarStore(settings.bars) as store:
        store.write_bars(CANDLES)
    return settings


def version(client: httpx.Client, user: str | None, path: str = "/forecast/BTCUSD") -> int:
    response = client.get(path, params={"user_id": user} if user else {})
    assert response.status_code == 200, response.text
    found: int = response.json()["model_version"]
    return found


def test_tokens_are_stable_and_uniform_and_unrelated_between_experiments() -> None:
    assert user_token("two-seeds", "user-1") == "98303f96bd145cb2"
    shares = [
        [int(user_token(name, str(number)), 16) / 2**64 for number in range(4000)] for name in ("a", "b")
    ]
    assert all(kstest(drawn, "uniform").pvalue > 1e-3 for drawn in shares)
    together = [(one < 0.5) * 2 + (other < 0.5) for one, other in zip(*shares, strict=True)]
    assert chisquare([together.count(corner) for corner in range(4)]).pvalue > 1e-3


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=60))
def test_token_is_always_sixteen_digits(user: str, name: str) -> None:
    assert 0 <= int(user_token(name, user), 16) < 2**64
    assert len(user_token(name, user)) == 16


def test_each_user_gets_one_version_on_every_route_and_it_is_logged_without_the_name(
    place: ServingSettings, tmp_path: Path
) -> None:
    experiment = begin_tiny_experiment(place.releases)
    with service_in(tmp_path) as (client, app):
        drawn = {user: version(client, user) for user in USERS}
        # One forecast of each version is kept for all.
        assert app.rooms.desk.forecasts.misses == 2
        assert {version(client, None) for _ in range(3)} == {1}
        for user in USERS[:6]:
            assert version(client, user, "/api/ml/signals/ETHUSD") == drawn[user]
            params = {"user_id": user}
            posted = client.post(
                "/forecast",
                json={"candles": columns(CANDLES.filter(symbol="BTCUSD")), "symbol": None},
                params=params,
            )
            assert posted.json()["model_version"] == drawn[user]
            batch = client.post("/forecast/batch", json={"symbols": ["BTCUSD"]}, params=params).json()
            assert batch["model_version"] == drawn[user]
            assert batch["answers"][0]["forecast"]["bundle"] == posted.json()["forecasts"][0]["bundle"]
    assert chisquare([list(drawn.values()).count(number) for number in (1, 2)]).pvalue > 1e-3
    with ForecastLog(place.forecast_log) as log:
        counts = {"control": list(drawn.values()).count(1), "challenger": list(drawn.values()).count(2)}
        assert log.users(experiment=experiment.key) == counts
        rows = log.read(model=MODEL, experiment=experiment.key)
        assert set(rows.select("variant", "version").unique().rows()) == {("control", 1), ("challenger", 2)}
    assert not any(
        user.encode() in path.read_bytes()
        for path in place.bars.parents[1].glob("forecasts*")
        for user in USERS[:1]
    )


@pytest.mark.parametrize("user", ["", "x" * 129])
def test_name_that_is_none_is_refused(place: ServingSettings, tmp_path: Path, user: str) -> None:
    begin_tiny_experiment(place.releases)
    with service_in(tmp_path) as (client, _):
        refused = client.get("/forecast/BTCUSD", params={"user_id": user})
    assert (refused.status_code, refused.json()["where"]) == (422, "query.user_id")


def test_shadow_answers_nobody_and_is_logged_once_a_bar(place: ServingSettings, tmp_path: Path) -> None:
    experiment = begin_tiny_experiment(place.releases, replace(PLAN, mode="shadow", challenger_share=0.0))
    with service_in(tmp_path) as (client, _):
        assert {version(client, user) for user in (*USERS[:5], None)} == {1}
        body = {"candles": columns(CANDLES.filter(symbol="BTCUSD"))}
        assert client.post("/forecast", json=body).json()["model_version"] == 1
    with ForecastLog(place.forecast_log) as log:
        rows = log.read(model=MODEL, experiment=experiment.key).filter(horizon_bars=1)
        assert log.users(experiment=experiment.key) == {}
    assert sorted(rows.select("variant", "version", "origin").rows()) == [
        ("control", 1, "request"),
        ("control", 1, "store"),
        ("shadow", 2, "request"),
        ("shadow", 2, "store"),
    ]
    with closing(sqlite3.connect(str(place.forecast_log))) as written:
        count = "SELECT count(*) FROM forecasts WHERE variant = 'shadow' AND origin = 'store'"
        assert written.execute(count).fetchone() == (1,)


def test_broken_shadow_harms_no_answer(place: ServingSettings, tmp_path: Path) -> None:
    begin_tiny_experiment(place.releases, replace(PLAN, mode="shadow", challenger_share=0.0))
    with service_in(tmp_path) as (client, app):
        running = app.rooms.experiments.running
        assert running is not None
        # Whatever it computes with is gone.
        object.__setattr__(running.challenger, "forecaster", None)
        assert version(client, "user-1") == 1
        wait_until(lambda: app.rooms.desk.left_out == 1, "the failure is counted")
        assert "cryptoai_shadow_left_out 1.0" in client.get("/metrics").text


def test_experiment_rests_while_another_version_is_champion(place: ServingSettings, tmp_path: Path) -> None:
    experiment = begin_tiny_experiment(place.releases)
    name_champion(place.releases, MODEL, experiment.challenger)
    with service_in(tmp_path) as (client, _):
        assert {version(client, user) for user in USERS} == {2}
    with ForecastLog(place.forecast_log) as log:
        assert log.users(experiment=experiment.key) == {}


@pytest.mark.parametrize("damage", ["changed plan", "broken challenger", "wrong digest"])
def test_experiment_in_doubt_draws_nobody_and_says_why(
    place: ServingSettings, tmp_path: Path, damage: str
) -> None:
    experiment = begin_tiny_experiment(place.releases)
    if damage == "changed plan":
        changed = replace(experiment, challenger_share=0.9)
        experiment_path(place.releases, MODEL, experiment.name).write_bytes(changed.content)
    elif damage == "broken challenger":
        (release_folder(place.releases, MODEL, 2) / GRAPH_NAME).unlink()
    else:
        write_experiment(place.releases, replace(experiment, challenger=ReleasedVersion(2, "0" * 64)))
    with service_in(tmp_path) as (client, app):
        assert {version(client, user) for user in USERS} == {1}
        assert app.rooms.experiments.refused
        assert str(tmp_path) not in app.rooms.experiments.refused
        state = client.get("/api/ml/status").json()["experiment"]
        assert (state["name"], state["reason"]) == (None, app.rooms.experiments.refused)


def test_broken_challenger_that_was_repaired_runs_after_a_while(tmp_path: Path) -> None:
    clock = HandClock()
    experiment = begin_tiny_experiment(tmp_path)
    graph = release_folder(tmp_path, MODEL, 2) / GRAPH_NAME
    whole = graph.read_bytes()
    graph.write_bytes(b"none")
    watch = ExperimentWatch(root=tmp_path, model=MODEL, clock=clock)
    watch.refresh()
    graph.write_bytes(whole)
    watch.refresh()
    assert (watch.running, GRAPH_NAME in watch.refused) == (None, True)
    clock.now += RETRY_AFTER
    watch.refresh()
    assert watch.running is not None
    assert (watch.running.experiment, watch.refused) == (experiment, "")


def test_experiment_that_is_changed_while_it_runs_draws_nobody_from_then_on(
    place: ServingSettings, tmp_path: Path
) -> None:
    experiment = begin_tiny_experiment(place.releases)
    with service_in(tmp_path, poll_seconds=0.05) as (client, app):
        assert {version(client, user) for user in USERS} == {1, 2}
        changed = replace(experiment, challenger_share=0.9)
        experiment_path(place.releases, MODEL, experiment.name).write_bytes(changed.content)
        wait_until(lambda: "changed after it began" in app.rooms.experiments.refused, "it is refused")
        assert {version(client, user) for user in USERS} == {1}


def test_experiment_begins_and_ends_while_the_service_runs(place: ServingSettings, tmp_path: Path) -> None:
    with service_in(tmp_path, poll_seconds=0.05) as (client, _):
        experiment = begin_tiny_experiment(place.releases)

        def running() -> str | None:
            state = client.get("/api/ml/status").json()["experiment"]
            return state["name"] if state else None

        wait_until(lambda: running() == experiment.name, "the experiment runs")
        assert {version(client, user) for user in USERS} == {1, 2}
        running_path(place.releases, MODEL).unlink()
        wait_until(lambda: running() is None, "the experiment has ended")
        assert {version(client, user) for user in USERS} == {1}
