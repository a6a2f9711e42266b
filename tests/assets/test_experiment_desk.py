"""Experiments begun and ended on a real registry, answered by the real service, and reckoned in Dagster."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.experiment_market import AT, CANDLES, experiment_market
from fakes.experiments import write_experiment
from fakes.forecast_service import service_in
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL
from fakes.tiny_bundle import START

from cryptoai_assets.defs.monitoring.assets import experiment_results
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.experiment import main
from cryptoai_assets.lib.experiment_analysis import ExperimentError
from cryptoai_assets.lib.experiment_desk import (
    EXPERIMENT_TAG,
    RESULT_NAME,
    Ended,
    begin,
    end,
    newest_experiment,
)
from cryptoai_assets.lib.releases import PromotionError
from cryptoai_serving.bars import BarStore
from edge_bundle.experiment import Experiment, read_experiment
from edge_bundle.releases import read_channel, release_folder

pytestmark = MLFLOW_WARNINGS
ENDED = Ended(AT, "somebody", "seen enough")


@pytest.fixture
def market(copied_registry: Callable[[], Path]) -> MarketResource:
    return experiment_market(copied_registry())


def begun(market: MarketResource, name: str = "seeds", **changed: object) -> Experiment:
    plan: dict[str, object] = {
        "name": name,
        "challenger": 2,
        "mode": "shadow",
        "challenger_share": 0.0,
        "metric": "absolute_error_bps",
        "horizon_bars": 1,
        "minimal_effect": 10.0,
        "false_alarm_rate": 0.05,
        "power": 0.8,
        "at": AT,
    }
    return begin(market.home, **plan | changed)


def materialized(market: MarketResource) -> dict[str, dg.MetadataValue]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([experiment_results], resources={"market": market}, instance=instance)
    [event] = result.asset_materializations_for_node("experiment_results")
    return dict(event.metadata)


def test_experiment_begins_with_a_reckoned_length_and_leaves_the_champion(market: MarketResource) -> None:
    before = read_channel(market.home.releases, MODEL)
    wide = begun(market, "wide", minimal_effect=0.5)
    assert read_experiment(market.home.releases, MODEL) == wide
    assert read_channel(market.home.releases, MODEL) == before
    assert release_folder(market.home.releases, MODEL, 2).is_dir()
    assert (wide.control.version, wide.challenger.version) == (1, 2)
    assert end(market.home, ENDED) == "wide"
    narrow = begun(market, "narrow", minimal_effect=0.25)
    # Four times as long, or a little less: the more blocks, the nearer is Student's t to the normal.
    assert 3.9 * wide.times_needed < narrow.times_needed < 4 * wide.times_needed + 4
    end(market.home, ENDED)
    # However large the effect, an interval needs ten days of blocks.
    assert begun(market, "huge", minimal_effect=1e6).times_needed == 480


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"horizon_bars": 3}, "a horizon of 3 bars"),
        ({"minimal_effect": 0.0}, "an effect of 0"),
        ({"mode": "split"}, "challenger's share of 0"),
        ({"challenger": 1}, "two versions"),
        ({"name": "../up"}, "names no experiment"),
    ],
)
def test_experiment_that_makes_no_sense_is_refused_and_leaves_nothing(
    market: MarketResource, changed: dict[str, object], reason: str
) -> None:
    with pytest.raises(ExperimentError, match=reason):
        begun(market, **changed)
    assert newest_experiment(market.home) is None


def test_one_runs_at_a_time_and_a_name_is_used_once(market: MarketResource) -> None:
    first = begun(market)
    with pytest.raises(ExperimentError, match="runs already"):
        begun(market, "another")
    end(market.home, ENDED)
    with pytest.raises(ExperimentError, match="was the name"):
        begun(market)
    with pytest.raises(ExperimentError, match="no experiment runs"):
        end(market.home, ENDED)
    assert newest_experiment(market.home) == first


def test_challenger_that_is_not_registered_is_refused(market: MarketResource) -> None:
    with pytest.raises(PromotionError):
        begun(market, challenger=99)


def test_what_the_service_answered_is_reckoned_and_told_in_dagster_and_mlflow(
    market: MarketResource,
) -> None:
    assert str(materialized(market)["recommendation"].value) == "no experiment was ever begun"
    needed = 12
    planned = replace(begun(market), name="short", times_needed=needed, block_bars=3)
    experiment = write_experiment(market.home.releases, planned)
    root = Path(market.root)
    with BarStore(market.home.bars_database) as store:
        store.write_bars(CANDLES.filter(pl.col("open_time") < START + timedelta(minutes=30 * 60)))
        with service_in(root) as (client, _):
            for bar in range(60, 60 + needed - 1):
                store.write_bars(CANDLES.filter(open_time=START + timedelta(minutes=30 * bar)))
                assert client.get("/forecast/BTCUSD").json()["model_version"] == 1
    found = materialized(market)
    assert (found["recommendation"].value, found["times"].value) == ("running", needed - 1)
    assert found["effect"].value == ""
    with BarStore(market.home.bars_database) as store, service_in(root) as (client, _):
        store.write_bars(CANDLES.filter(open_time=START + timedelta(minutes=30 * (59 + needed))))
        assert client.get("/forecast/BTCUSD").status_code == 200
    found = materialized(market)
    assert found["times"].value == needed
    assert found["recommendation"].value in ("keep the control", "promote the challenger", "no difference")
    run = market.home.tracking.finished_run(EXPERIMENT_TAG, experiment.key)
    assert run == found["mlflow_run"].value
    assert market.home.tracking.metrics(str(run))["experiment/times"] == needed
    record = json.loads((market.home.monitoring / RESULT_NAME).read_bytes())
    assert record["result"]["recommendation"] == found["recommendation"].value


def test_program_begins_tells_what_is_wrong_and_ends(
    market: MarketResource, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ("--challenger", "2", "--mode", "split", "--metric", "brier", "--horizon", "1", "--effect", "0.01")
    assert main(["begin", "seeds", *plan], market) == 0
    assert "holds version 2 against 1 for" in capsys.readouterr().out
    assert main(["begin", "more", *plan], market) == 2
    assert "runs already" in capsys.readouterr().err
    assert main(["end"], market) == 0
    assert "seeds has ended" in capsys.readouterr().out
