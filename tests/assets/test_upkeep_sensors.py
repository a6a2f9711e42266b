"""The platform's own state: its heart beats, who was not evaluated is named, and what runs cost is kept."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickStatus,
)
from fakes.dagster_daemon import evaluate
from fakes.release_platform import platform_service
from fakes.waiting import wait_until

from cryptoai_assets.defs.news.sources import news_sources
from cryptoai_assets.defs.resources import AlertsResource, MarketResource, UpkeepResource
from cryptoai_assets.defs.upkeep.sensors import heart_beats, platform_keeps_its_limits
from cryptoai_assets.lib.expenses import Expenses
from cryptoai_assets.lib.trouble import LEAST_ANSWERS
from edge_bundle.alerts import Outbox
from edge_bundle.heartbeat import HEARTBEAT_NAME, Heartbeat

LOCATION = """
import dagster as dg

@dg.sensor(target=None, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def watched():
    return dg.SkipReason("all is well")

defs = dg.Definitions(sensors=[watched])
"""
NOON = datetime(2019, 10, 1, 12, tzinfo=UTC)
QUEUED = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def beat(instance: dg.DagsterInstance, root: Path, now: datetime) -> Heartbeat | None:
    market = MarketResource(name="sample", root=str(root), time=now.isoformat())
    resources = {"market": market, "alerts": AlertsResource()}
    heart_beats(dg.build_sensor_context(instance=instance, resources=resources))
    return Heartbeat.read(market.home.data / HEARTBEAT_NAME)


def test_heart_beats_and_a_sensor_that_is_never_evaluated_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=QUEUED) as instance:
        evaluate(tmp_path, instance, LOCATION)
        [state] = [one for one in instance.all_instigator_state() if one.instigator_name == "watched"]
        [tick] = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert tick.status is TickStatus.SKIPPED
        ticked = datetime.fromtimestamp(tick.timestamp, UTC)
        well, late = ticked + timedelta(minutes=15), ticked + timedelta(minutes=16)
        # The daemon was away: nobody can have been evaluated meanwhile.
        assert beat(instance, tmp_path, late) == Heartbeat(late, late, ())
        assert beat(instance, tmp_path, ticked) == Heartbeat(ticked, late, ())
        shutil.rmtree(tmp_path / "data")
        beat(instance, tmp_path, ticked)
        assert beat(instance, tmp_path, well) == Heartbeat(well, ticked, ())
        assert beat(instance, tmp_path, late) == Heartbeat(late, ticked, ("watched",))
        beat(instance, tmp_path, late + timedelta(minutes=1))
        beat(instance, tmp_path, well)
        # The same ticks as those of a schedule, which is due at each full hour.
        instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
        hourly = ScheduleInstigatorData("0 * * * *", ticked.timestamp())
        instance.add_instigator_state(
            InstigatorState(state.origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, hourly)
        )
        due = ticked.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        for minutes, silent in ((14, ()), (16, ("watched",))):
            now = due + timedelta(minutes=minutes)
            Heartbeat(now, ticked, ()).write(tmp_path / "data" / "sample" / HEARTBEAT_NAME)
            assert beat(instance, tmp_path, now) == Heartbeat(now, ticked, silent)
    home = MarketResource(name="sample", root=str(tmp_path)).home
    kept, _ = Outbox(home.alerts_database).kept()
    assert (kept.alert.about, kept.alert.severity, kept.state) == (("watched",), "critical", "resolved")


def limits_kept(
    instance: dg.DagsterInstance, market: MarketResource, alerts: AlertsResource, cursor: str | None = None
) -> dg.SensorResult:
    """What the sensor says, with nothing that the machine itself could be short of."""
    resources = {"market": market, "alerts": alerts, "upkeep": UpkeepResource(least_free_gigabytes=0.0)}
    result = platform_keeps_its_limits(
        dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
    )
    assert isinstance(result, dg.SensorResult)
    return result


def said(result: dg.SensorResult) -> str | None:
    assert result.skip_reason is not None
    return result.skip_reason.skip_message


def at(root: Path, hours: float = 0.0, market: str = "sample") -> MarketResource:
    return MarketResource(name=market, root=str(root), time=(NOON + timedelta(hours=hours)).isoformat())


def test_service_that_fails_is_told_once_and_one_that_is_away_is_not_its_own_alert(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    minutes = itertools.count(1)
    with platform_service(tmp_path / "service") as url:
        alerts = AlertsResource(serving_address=url)
        assert said(limits_kept(instance, at(tmp_path), alerts)) == "told: nothing new"
        with httpx.Client(base_url=url, timeout=30.0) as client:
            # Nothing is released there.
            assert {client.get("/forecast/BTCUSDT").status_code for _ in range(LEAST_ANSWERS)} == {503}

        def looked() -> str | None:
            return said(limits_kept(instance, at(tmp_path, next(minutes) / 60), alerts))

        # An answer is counted after it went out.
        wait_until(lambda: looked() == "told: errors", "the errors are told")
        assert looked() == "told: nothing new"
    [alert] = Outbox(at(tmp_path).home.alerts_database).alerts()
    assert (alert.severity, alert.about) == ("critical", ("errors",))
    assert "100.0% of 100 answers of an hour had a status from 500 on" in str(alert)
    assert looked() == "told: nothing new"


def test_silent_source_of_news_is_told_by_name_once_the_daemon_has_run_for_an_hour(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    silent = 97.0
    home = at(tmp_path, market="sandbox").home
    feed, *_ = news_sources(at(tmp_path, market="sandbox"))
    home.news.visit(replace(feed, address="http://127.0.0.1:9/rss"), start=NOON, clock=lambda: NOON)
    alerts = AlertsResource(serving_address="http://127.0.0.1:9")

    def told(hours: float) -> str | None:
        return said(limits_kept(instance, at(tmp_path, hours, "sandbox"), alerts))

    assert told(silent) == "told: nothing new"
    began = NOON + timedelta(hours=silent)
    Heartbeat(began, began, ()).write(home.data / HEARTBEAT_NAME)
    assert told(silent + 0.9) == "told: nothing new"
    assert told(silent + 1) == f"told: {feed.name}"
    [alert] = Outbox(home.alerts_database).alerts()
    assert "brought nothing new since 2019-10-01 12:00 UTC" in str(alert)


@dg.op
def think() -> None: ...


@dg.job
def thoughts() -> None:
    think()


def test_run_times_are_kept_once_and_a_budget_that_they_pass_is_told(tmp_path: Path) -> None:
    market = MarketResource(name="sample", root=str(tmp_path / "root"))
    upkeep = UpkeepResource(least_free_gigabytes=0.0, price_a_minute=1e9, monthly_budget=1.0, run_budget=1e12)
    (tmp_path / "root").mkdir()
    cursor: str | None = None
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        ids = {thoughts.execute_in_process(instance=instance).run_id for _ in range(2)}
        for _ in range(3):
            context = dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                resources={"market": market, "alerts": AlertsResource(), "upkeep": upkeep},
            )
            result = platform_keeps_its_limits(context)
            assert isinstance(result, dg.SensorResult)
            cursor = result.cursor
    now = datetime.now(UTC)
    runs = Expenses(market.home.expenses).between(now - timedelta(hours=1), now)
    assert {run.run_id for run in runs} == ids
    assert all(run.minutes > 0 for run in runs)
    [alert] = Outbox(market.home.alerts_database).alerts()
    assert alert.about == (f"budget of {now:%Y-%m}",)
