"""Probation: what the gate admits is tried on what is served, and promoted only when it is no worse."""

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
from cryptoai_assets.defs.release.assets import released_bundle
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.decisions import champion_version
from cryptoai_assets.lib.experiment_analysis import ExperimentResult, Recommendation
from cryptoai_assets.lib.experiment_desk import Ended, end
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.ledger import Entry
from cryptoai_assets.lib.probation import Probation, begin_probation, conclude_probation, note_probation
from cryptoai_assets.lib.scoring import Score
from cryptoai_serving.bars import BarStore
from edge_bundle.experiment import Experiment, experiment_path, read_experiment

pytestmark = MLFLOW_WARNINGS
DECISION = {"promote": True, "model": MODEL, "version": 2, "reasons": ["better"], "tests": []}
# So much that any version is no worse.
SHADOW = Probation("shadow", tolerated_loss=2.0)


@pytest.fixture
def market(copied_registry: Callable[[], Path]) -> MarketResource:
    resource = experiment_market(copied_registry())
    return MarketResource(**resource.model_dump() | {"approval": "shadow", "tolerated_loss": 2.0})


@pytest.fixture
def home(market: MarketResource) -> Home:
    return market.home


def materialized(asset: dg.AssetsDefinition, market: MarketResource) -> dict[str, object]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], resources={"market": market}, instance=instance)
    [event] = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def on_probation(home: Home) -> Experiment:
    assert note_probation(home, DECISION, SHADOW, version=2, at=AT)
    assert begin_probation(home, SHADOW, AT) == "probation-2 has begun: 480 bars needed"
    running = read_experiment(home.releases, MODEL)
    assert running is not None
    return running


def higher_by(value: float, lower: float, upper: float) -> Score:
    return Score("log_loss", value, lower, upper, 960)


def result(recommendation: Recommendation, effect: Score | None = None) -> ExperimentResult:
    return ExperimentResult("probation-2", recommendation, 480 if effect else 7, 480, {}, None, effect)


def newest_line(home: Home) -> Entry:
    return home.ledger.entries(MODEL)[-1]


def test_version_that_the_gate_admits_begins_its_probation_and_the_champion_stays(
    market: MarketResource, home: Home
) -> None:
    home.candidate.mkdir(parents=True)
    (home.candidate / "decision.json").write_text(json.dumps(DECISION))
    told = [materialized(released_bundle, market) for _ in range(2)]
    assert [one["promoted"] for one in told] == [False, False]
    assert [one["waits"] for one in told] == ["probation-2 has begun: 480 bars needed", "on probation"]
    assert champion_version(home) == 1
    running = read_experiment(home.releases, MODEL)
    assert running is not None
    assert (running.name, running.mode, running.control.version, running.challenger.version) == (
        "probation-2",
        "shadow",
        1,
        2,
    )
    assert (running.metric, running.horizon_bars, running.minimal_effect) == ("log_loss", 2, 2.0)
    assert [line.kind for line in home.ledger.entries(MODEL)].count("probation") == 1


def test_what_is_served_decides_in_dagster_when_the_probation_has_its_length(
    market: MarketResource, home: Home
) -> None:
    needed = 4
    short = replace(on_probation(home), times_needed=needed, block_bars=1)
    experiment_path(home.releases, MODEL, short.name).unlink()
    write_experiment(home.releases, short)
    assert materialized(experiment_results, market)["probation"] == ""
    first = CANDLES.filter(pl.col("open_time") < START + timedelta(minutes=30 * 60))
    with BarStore(home.bars_database) as store:
        store.write_bars(first)
        with service_in(Path(market.root)) as (client, _):
            for bar in range(60, 60 + needed + 1):
                store.write_bars(CANDLES.filter(open_time=START + timedelta(minutes=30 * bar)))
                assert client.get("/forecast/BTCUSD").json()["model_version"] == 1
    told = materialized(experiment_results, market)
    assert told["times"] >= needed
    assert told["probation"] == "version 2 was decided about"
    assert champion_version(home) == 2
    assert newest_line(home).kind == "promotion"
    assert newest_line(home).reason.startswith("probation-2: its log_loss is higher by ")
    assert read_experiment(home.releases, MODEL) is None


@pytest.mark.parametrize(
    ("found", "kind", "reason"),
    [
        (result("keep the control", higher_by(0.1, 0.01, 1.99)), "promotion", "from 0.0100 to 1.9900"),
        (result("no difference", higher_by(0.1, -0.1, 2.0)), "refusal", "it may lose more than is tolerated"),
        (result("invalid"), "refusal", "its probation is invalid: 7 of 480 bars"),
    ],
)
def test_version_is_promoted_when_it_surely_loses_less_than_is_tolerated(
    home: Home, found: ExperimentResult, kind: str, reason: str
) -> None:
    experiment = on_probation(home)
    for _ in range(2):
        assert conclude_probation(home, experiment, found, AT) == "version 2 was decided about"
    decided = [line for line in home.ledger.entries(MODEL) if line.version == 2]
    assert [line.kind for line in decided if line.kind in ("promotion", "refusal")] == [kind]
    assert reason in newest_line(home).reason
    assert champion_version(home) == (2 if kind == "promotion" else 1)
    assert read_experiment(home.releases, MODEL) is None
    assert begin_probation(home, SHADOW, AT) == ""


def test_nothing_is_decided_while_it_runs(home: Home) -> None:
    experiment = on_probation(home)
    assert conclude_probation(home, experiment, result("running"), AT) == ""
    assert newest_line(home).kind == "probation"
    assert read_experiment(home.releases, MODEL) == experiment


def test_probation_that_somebody_ends_or_whose_champion_goes_is_refused(home: Home) -> None:
    experiment = on_probation(home)
    end(home, Ended(AT, "Ada", "users complain"))
    conclude_probation(home, experiment, result("stopped"), AT)
    assert newest_line(home).kind == "refusal"
    assert newest_line(home).reason.startswith("its probation was ended before its length")
    other = replace(experiment, control=replace(experiment.control, version=7))
    note_probation(home, DECISION, SHADOW, version=3, at=AT)
    conclude_probation(home, replace(other, name="probation-3"), result("running"), AT)
    assert newest_line(home).reason.startswith("version 7, which it was tried against, is not champion")


def test_experiments_of_other_names_are_let_run_and_probation_waits_for_them(home: Home) -> None:
    experiment = replace(on_probation(home), name="calmer-trees")
    end(home, Ended(AT, "Ada", "another first"))
    write_experiment(home.releases, experiment)
    assert conclude_probation(home, experiment, result("no difference", higher_by(0, -1, 1)), AT) == ""
    assert read_experiment(home.releases, MODEL) == experiment
    assert "version 2 of " + MODEL + " waits for its probation: an experiment runs already" in (
        begin_probation(home, SHADOW, AT)
    )
    end(home, Ended(AT, "Ada", "enough"))
    # The name of the one whose beginning or end was cut off is used up.
    assert begin_probation(home, SHADOW, AT) == "probation-2-2 has begun: 480 bars needed"


def test_version_older_than_the_champion_is_not_tried_any_more(home: Home) -> None:
    assert note_probation(home, DECISION, SHADOW, version=2, at=AT)
    home.release_desk.promote(MODEL, 3, actor="Ada", reason="by hand", numbers={}, at=AT)
    assert begin_probation(home, SHADOW, AT) == ""
