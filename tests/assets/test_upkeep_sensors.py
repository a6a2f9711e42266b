"""The platform's own state: its heart beats, who was not evaluated is named, and what runs cost is kept."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickStatus,
)
from fakes.dagster_daemon import evaluate

from cryptoai_assets.defs.resources import AlertsResource, MarketResource, UpkeepResource
from cryptoai_assets.defs.upkeep.sensors import heart_beats, platform_keeps_its_limits
from cryptoai_assets.lib.expenses import Expenses
from edge_bundle.alerts import Outbox
from edge_bundle.heartbeat import HEARTBEAT_NAME, Heartbeat

LOCATION = """
import dagster as dg

@dg.sensor(target=None, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def watched():
    return dg.SkipReason("all is well")

defs = dg.Definitions(sensors=[watched])
"""
QUEUED = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}}


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
