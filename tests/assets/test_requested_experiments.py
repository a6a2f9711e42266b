"""Requested experiments: an admin asks the service, the platform begins and ends, the service tells of it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from fakes.api_keys import made_key
from fakes.experiment_market import AT, experiment_market
from fakes.loopback_app import serving
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL
from fakes.waiting import wait_until

from cryptoai_assets.defs.monitoring.assets import experiment_results
from cryptoai_assets.defs.release.sensors import experiments_follow_requests, requested_experiments
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.requested_experiments import carry_out_experiment
from cryptoai_serving.app import create_app
from cryptoai_serving.client import ForecastClient
from cryptoai_serving.experiment_messages import EXAMPLE_PLAN, ExperimentPlanMessage
from cryptoai_serving.experiment_requests import ExperimentRequest
from cryptoai_serving.settings import ServingSettings
from edge_bundle.experiment import read_experiment

pytestmark = MLFLOW_WARNINGS
PLAN = ExperimentPlanMessage.model_validate(
    EXAMPLE_PLAN
    | {"challenger": 2, "metric": "absolute_error_bps", "minimal_effect": 10.0, "reason": "fewer leaves"}
)


@pytest.fixture
def market(copied_registry: Callable[[], Path]) -> MarketResource:
    return experiment_market(copied_registry())


def carried_out(market: MarketResource) -> None:
    """What the sensor starts, once; the second look finds nothing."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"market": market})
        assert isinstance(experiments_follow_requests(context), dg.RunRequest)
        run = requested_experiments.execute_in_process(instance=instance, resources={"market": market})
        assert run.success
        found = experiments_follow_requests(context)
        assert isinstance(found, dg.SkipReason)
        assert found.skip_message == "nothing waits"


def wanted(market: MarketResource, *, end: bool = False, name: str = PLAN.name) -> ExperimentRequest:
    plan = None if end else PLAN.plan()
    return ExperimentRequest("1", market.home.market.model, name, plan, "key 1", "fewer leaves", AT)


def test_admin_begins_looks_and_stops_an_experiment_without_a_verdict(market: MarketResource) -> None:
    root = Path(market.root)
    key = made_key(ServingSettings.inside(root).keys)
    app = create_app(ServingSettings.inside(root, poll_seconds=0.05))
    with (
        serving(app, lifespan="on") as service,
        ForecastClient(service.http, key=key) as client,
    ):
        assert client.experiments(MODEL).running is None
        begun = client.begin_experiment(MODEL, PLAN)
        assert client.experiments(MODEL).requests[0].outcome is None
        carried_out(market)
        wait_until(lambda: client.experiments(MODEL).running is not None, "the experiment runs")
        looked = client.experiments(MODEL)
        assert looked.running is not None
        assert (looked.running.name, looked.running.control, looked.running.challenger) == (PLAN.name, 1, 2)
        assert looked.requests[0].id == begun.id
        assert looked.requests[0].outcome == f"has begun: {looked.running.times_needed} bars needed"
        client.end_experiment(MODEL, PLAN.name, reason="users complain")
        carried_out(market)
        assert dg.materialize([experiment_results], resources={"market": market}).success
        wait_until(lambda: client.experiments(MODEL).running is None, "the experiment has ended")
        newest = client.experiments(MODEL).newest
    assert newest is not None
    assert (newest.name, newest.recommendation, newest.effect) == (PLAN.name, "stopped", None)
    assert newest.ended_at == AT


def test_request_that_is_carried_out_twice_changes_nothing_the_second_time(market: MarketResource) -> None:
    first = carry_out_experiment(market.home, wanted(market), AT)
    running = read_experiment(market.home.releases, MODEL)
    assert first.startswith("has begun: ")
    assert carry_out_experiment(market.home, wanted(market), AT + timedelta(hours=1)) == first
    assert read_experiment(market.home.releases, MODEL) == running
    for _ in range(2):
        assert carry_out_experiment(market.home, wanted(market, end=True), AT) == "has ended"
    assert read_experiment(market.home.releases, MODEL) is None


def test_what_cannot_be_is_refused_with_its_reason(market: MarketResource) -> None:
    other = wanted(market, end=True, name="other")
    assert carry_out_experiment(market.home, other, AT) == "refused: other does not run"
    assert carry_out_experiment(market.home, wanted(market), AT).startswith("has begun")
    told = carry_out_experiment(market.home, wanted(market, name="another"), AT)
    assert told.startswith("refused: an experiment runs already")
    assert carry_out_experiment(market.home, other, AT) == f"refused: other does not run, {PLAN.name} does"
