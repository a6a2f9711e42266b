"""Facts of the outside world in real Dagster runs: what is kept, known when, and not configured."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from fakes.archives import embedded_candles
from fakes.loopback_app import serving
from fakes.outside_world import assert_honest

from cryptoai_assets.defs.materialization import recorded_fingerprints
from cryptoai_assets.defs.monitoring.sensors import failed_checks_are_told, failed_runs_are_told
from cryptoai_assets.defs.outside.assets import outside_assets
from cryptoai_assets.defs.outside.checks import outside_checks
from cryptoai_assets.defs.outside.recipes import RECIPES
from cryptoai_assets.defs.outside.schedules import facts_every_day
from cryptoai_assets.defs.outside.sources import SOURCES, facts_offered, missing
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.demo import unanswered
from cryptoai_assets.lib.planner import out_of_date
from cryptoai_assets.lib.sources.coin_metrics import METRICS
from cryptoai_assets.sandbox.__main__ import sandbox_app
from cryptoai_assets.sandbox.market import SandboxMarket
from edge_bundle.alerts import Outbox

ROOM = [*outside_assets, *outside_checks]
START = datetime(2019, 9, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """The simulated sources, at a market time that the test sets."""

    def __init__(self) -> None:
        self.time = START
        market = SandboxMarket(embedded_candles(), seed=1, start=START, speed=1, clock=lambda: self.time)
        self.app = sandbox_app(market, seed=1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def market(world: World, tmp_path: Path) -> Iterator[MarketResource]:
    with serving(world.app) as server:
        yield resource(tmp_path, server.http)


def resource(root: Path | str, sandbox: str, **settings: Any) -> MarketResource:
    """The simulated market; a copy of a resource would keep the configuration of the first."""
    return MarketResource(name="sandbox", root=str(root), sandbox=sandbox, tries=1, **settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(instance: dg.DagsterInstance, market: MarketResource, *sources: str) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        ROOM,
        selection=[f"{source}_facts" for source in sources or SOURCES],
        resources={"market": market},
        instance=instance,
        raise_on_error=False,
    )


def metadata(result: dg.ExecuteInProcessResult, source: str) -> dict[str, object]:
    [event] = result.asset_materializations_for_node(f"{source}_facts")
    return {name: entry.value for name, entry in event.metadata.items()}


def failing(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
    return {
        (found.asset_key.to_user_string(), found.check_name)
        for found in result.get_asset_check_evaluations()
        if not found.passed
    }


def test_every_simulated_source_is_kept_and_marked_and_what_lacks_a_file_is_not_configured(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    result = run(instance, market)
    assert result.success
    assert failing(result) == set()
    states = {source: metadata(result, source)["state"] for source in SOURCES}
    simulated = ("coin_metrics", "mempool_space", "fear_greed", "fred")
    assert states == {s: "configured" if s in simulated else "not configured" for s in SOURCES}
    assert metadata(result, "vix")["missing"] == "no file of vix is set"
    facts = market.home.facts.read(facts_offered(market))
    assert_honest(facts.sort("known_at"))
    assert set(facts["name"]) == set(facts_offered(market))
    assert facts["source"].str.starts_with("simulated ").all()
    assert facts["event_time"].max() < START
    assert {"freshness", "preview", "plot", "added_rows"} < set(metadata(result, "fred"))
    recipes = {name: recipe(market) for name, recipe in RECIPES.items()}
    recorded = {name: recorded_fingerprints(instance, name).get("", "") for name in recipes}
    assert out_of_date(recipes, recorded) == []


def test_what_is_published_while_we_are_there_is_known_from_when_it_was_fetched(
    instance: dg.DagsterInstance, market: MarketResource, world: World
) -> None:
    run(instance, market, "fear_greed")
    before = market.home.facts.read(["fear_and_greed"])
    world.time += 3 * DAY
    result = run(instance, market, "fear_greed")
    after = market.home.facts.read(["fear_and_greed"])
    assert metadata(result, "fear_greed")["added_rows"] == after.height - before.height == 3
    assert after.join(before, on=after.columns, how="semi", nulls_equal=True).equals(before)
    assert after.filter(pl.col("event_time") > START)["known_at"].unique().to_list() == [world.time]


def test_revision_is_kept_beside_the_first_version(
    instance: dg.DagsterInstance, market: MarketResource, world: World
) -> None:
    run(instance, market, "coin_metrics")
    first = market.home.facts.read(METRICS)
    world.time += 10 * DAY
    run(instance, market, "coin_metrics")
    both = market.home.facts.read(METRICS)
    assert both.join(first, on=both.columns, nulls_equal=True, how="semi").height == first.height
    added = both.join(first, on=both.columns, nulls_equal=True, how="anti")
    revised = added.join(first, on=["name", "symbol", "event_time"], how="semi")
    assert revised.height > 0
    assert (revised["known_at"] == world.time).all()


def test_source_that_fails_fails_its_run_and_leaves_the_others(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    lost = resource(market.root, market.sandbox, addresses={"fear_greed": f"{market.sandbox}/nowhere"})
    result = run(instance, lost, "fear_greed", "mempool_space")
    assert not result.success
    assert metadata(result, "mempool_space")["state"] == "configured"
    assert str(unanswered("fear_greed_facts", result)).startswith("simulated Fear & Greed answered")
    assert unanswered("raw_candles", result) is None
    context = dg.build_sensor_context(instance, resources={"market": lost, "alerts": AlertsResource()})
    failed_runs_are_told(context)
    [alert] = Outbox(lost.home.alerts_database).undelivered("log")
    assert "Fear & Greed answered" in str(alert)


def test_stale_source_reaches_the_outbox(
    instance: dg.DagsterInstance, market: MarketResource, tmp_path: Path
) -> None:
    (tmp_path / "vix.csv").write_text("timestamp,close\n1561987800,14.5\n1562074200,15.5\n")
    old = resource(market.root, market.sandbox, files=str(tmp_path))
    result = run(instance, old, "vix")
    assert failing(result) == {("vix_facts", "facts_are_fresh")}
    context = dg.build_sensor_context(instance, resources={"market": old, "alerts": AlertsResource()})
    failed_checks_are_told(context)
    [alert] = Outbox(old.home.alerts_database).undelivered("log")
    assert "vix is 60 days old" in str(alert)


def test_series_that_another_source_gives_is_an_error_and_named(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    assert failing(run(instance, market, "fear_greed")) == set()
    newest = market.home.facts.read(["fear_and_greed"]).tail(1)
    another = newest.with_columns(
        pl.col("event_time", "known_at") + timedelta(hours=1), source=pl.lit("a daily file")
    )
    market.home.facts.append(another, fetched_at=START)
    result = run(instance, market, "fear_greed")
    assert failing(result) == {("fear_greed_facts", "facts_keep_their_source")}
    [found] = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert "fear_and_greed: a daily file since" in str(found.description)
    assert "simulated Fear & Greed before" in str(found.description)


def test_interpolated_file_stops_what_is_downstream(
    instance: dg.DagsterInstance, market: MarketResource, tmp_path: Path
) -> None:
    opens = [int((START - DAY * days).timestamp()) for days in range(84, 0, -1)]
    weekly = np.random.default_rng(3).normal(2_900, 40, 13)  # a line from week to week, day by day
    values = np.interp(np.arange(84) / 7, np.arange(13), weekly)
    lines = [f"{at},{value}" for at, value in zip(opens, values, strict=True)]
    (tmp_path / "sp500.csv").write_text("\n".join(["timestamp,close", *lines]))
    result = run(instance, resource(market.root, market.sandbox, files=str(tmp_path)), "sp500")
    assert ("sp500_facts", "facts_are_not_interpolated") in failing(result)
    [found] = [
        e for e in result.get_asset_check_evaluations() if e.check_name == "facts_are_not_interpolated"
    ]
    assert found.blocking
    assert unanswered("sp500_facts", result) is None


def test_key_that_is_not_set_is_told_and_nothing_depends_on_it(tmp_path: Path) -> None:
    live = MarketResource(name="live", root=str(tmp_path), fred_key_variable="CRYPTOAI_NO_SUCH_KEY")
    assert missing(live, "fred") == "no API key of FRED is set"
    assert missing(live, "coin_metrics") is None
    assert not {"VIXCLS", "SP500"} & set(facts_offered(live))
    assert "fear_and_greed" in facts_offered(live)
    assert facts_offered(MarketResource(name="sample", root=str(tmp_path))) == ()


def test_run_that_goes_on_is_not_overtaken_by_the_schedule(
    tmp_path: Path,
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def asked(name: str) -> dg.RunRequest | dg.SkipReason:
            there = MarketResource(name=name, root=str(tmp_path))
            found = facts_every_day(dg.build_schedule_context(instance, resources={"market": there}))
            assert isinstance(found, dg.RunRequest | dg.SkipReason)
            return found

        assert isinstance(asked("live"), dg.RunRequest)
        assert isinstance(asked("sample"), dg.SkipReason)
        instance.create_run_for_job(
            dg.job(name="refreshed_facts")(lambda: None), status=dg.DagsterRunStatus.STARTED
        )
        assert isinstance(asked("live"), dg.SkipReason)
