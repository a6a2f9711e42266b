"""The sensors: one training per cause, whatever restarts; releases after aliases; every failure is told."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from fakes.dagster_daemon import evaluate
from fakes.forecast_service import service_in
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, tracking_at
from fakes.slack_server import Answer, SlackServer, slack_server
from fakes.waiting import wait_until

from cryptoai_assets.definitions import defs
from cryptoai_assets.defs.monitoring.sensors import (
    CAUSE_TAG,
    RETRY_TAG,
    drift_asks_for_training,
    failed_checks_are_told,
    failed_runs_are_told,
    failed_ticks_are_told,
    outbox_is_delivered,
    training_config,
)
from cryptoai_assets.defs.release.assets import note_decision, released_bundle
from cryptoai_assets.defs.release.sensors import releases_follow_aliases
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.decisions import retrainings
from cryptoai_assets.lib.gate import Decision
from cryptoai_assets.lib.tracking import CHAMPION
from cryptoai_assets.lib.watch import VERDICT_NAME, act
from cryptoai_monitoring.verdict import Evidence, Verdict
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.releases import read_channel

pytestmark = MLFLOW_WARNINGS
NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
RETRAIN = Verdict(
    action="retrain",
    reason="2 of 40 features drifted, for 3 windows in a row",
    cause=f"retrain:{MODEL}:2019-09-30T00:00",
    evidence=Evidence(
        window_end=datetime(2019, 9, 30, tzinfo=UTC),
        champion="f" * 64,
        trained_at=datetime(2019, 9, 20, tzinfo=UTC),
        drifted=("return_1", "volume_ratio"),
        excess=2.0,
        watched=40,
        standing="unknown",
        worse_than=None,
        harmful=False,
    ),
    drifting=True,
    trains=True,
)
# Loaded once, while no instance of another test is around.
WHOLE = defs()
QUEUED = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}}


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    return MarketResource(name="sample", root=str(tmp_path), time=NOW.isoformat())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def instance_on_disk(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """One that keeps the events of each run in a file of its own, as the project's does."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


def conclude(market: MarketResource, verdict: Verdict) -> None:
    market.home.monitoring.mkdir(parents=True, exist_ok=True)
    (market.home.monitoring / VERDICT_NAME).write_text(json.dumps(verdict.to_dict()))


def asked(market: MarketResource, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """Requests of one evaluation; none when the sensor skips."""
    context = dg.build_sensor_context(instance=instance, resources={"market": market})
    result = drift_asks_for_training(context)
    if isinstance(result, dg.SkipReason):
        return []
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or [])


def test_no_training_before_the_first_verdict_nor_for_one_that_is_watched(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    assert asked(market, instance) == []
    for action in ("keep", "watch", "stop"):
        conclude(market, replace(RETRAIN, action=action, trains=False))
        assert asked(market, instance) == []


def test_training_is_asked_for_with_the_cause_as_key_tag_and_configuration(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    conclude(market, RETRAIN)
    [request], [again] = asked(market, instance), asked(market, instance)
    assert request.run_key == again.run_key == RETRAIN.cause
    assert request.tags == {CAUSE_TAG: RETRAIN.cause}
    assert request.run_config == training_config(RETRAIN.cause)


def test_training_that_may_replace_a_silenced_champion_is_asked_for_once(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    stop = replace(RETRAIN, action="stop", cause=f"stop:{MODEL}:2019-09-30T00:00")
    conclude(market, stop)
    [request], [again] = asked(market, instance), asked(market, instance)
    assert request.run_key == again.run_key == stop.cause
    assert [entry.numbers["cause"] for entry in retrainings(market.home.ledger, MODEL)] == [stop.cause]


def test_configuration_of_a_training_is_valid_for_its_job_and_reaches_every_step_that_trains() -> None:
    job = WHOLE.resolve_job_def("retraining")
    resolved = dg.validate_run_config(job, training_config("a cause"))
    causes = {
        name: config["config"]["cause"]
        for name, config in resolved["ops"].items()
        if "cause" in (config.get("config") or {})
    }
    assert {"version_scores", "backtest", "model_card", "gate_decision"} <= set(resolved["ops"])
    assert causes == dict.fromkeys(("model_settings", "walk_forward_scores", "trained_forecaster"), "a cause")
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {"ops": {"trained_forecaster": {"config": {"reason": "a cause"}}}})


def ran(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """Run of the training's job for the cause, as the daemon leaves it."""
    run = dg.DagsterRun(
        job_name="retraining", run_id=str(uuid4()), status=status, tags={CAUSE_TAG: RETRAIN.cause, **tags}
    )
    return instance.add_run(run)


RUNNING, FAILED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


def test_cause_that_comes_while_a_training_runs_is_merged_with_it_for_good(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    run = ran(instance, RUNNING)
    later = replace(RETRAIN, cause=f"retrain:{MODEL}:2019-10-07T00:00")
    conclude(market, later)
    assert asked(market, instance) == []
    merged = instance.get_run_by_id(run.run_id)
    assert merged is not None
    assert later.cause in merged.tags.values()
    instance.report_run_canceled(merged)
    assert asked(market, instance) == []
    conclude(market, replace(RETRAIN, cause=f"retrain:{MODEL}:2019-10-14T00:00"))
    assert len(asked(market, instance)) == 1
    causes = [line.numbers["cause"] for line in market.home.ledger.entries(MODEL)]
    assert causes == [later.cause, f"retrain:{MODEL}:2019-10-14T00:00"]


def test_training_of_the_same_cause_that_runs_already_is_asked_for_by_its_key_alone(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    ran(instance, RUNNING)
    conclude(market, RETRAIN)
    assert [request.run_key for request in asked(market, instance)] == [RETRAIN.cause]


def test_training_that_failed_is_tried_once_more_and_then_no_more(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    # Runs bear the time of the clock.
    market = MarketResource(name="sample", root=str(tmp_path))
    conclude(market, replace(RETRAIN, action="watch", trains=False))
    first = ran(instance, FAILED)
    [again] = asked(market, instance)
    assert again.run_key == f"{RETRAIN.cause}#2"
    assert again.tags == {CAUSE_TAG: RETRAIN.cause, RETRY_TAG: first.run_id}
    assert again.run_config == training_config(RETRAIN.cause)
    ran(instance, FAILED, **{RETRY_TAG: first.run_id})
    assert asked(market, instance) == []


@pytest.mark.parametrize("tags", [{"dagster/will_retry": "true"}, {CAUSE_TAG: ""}])
def test_training_that_dagster_retries_or_that_had_no_cause_is_left_alone(
    instance: dg.DagsterInstance, tmp_path: Path, tags: dict[str, str]
) -> None:
    market = MarketResource(name="sample", root=str(tmp_path))
    run = dg.DagsterRun(
        job_name="retraining", run_id=str(uuid4()), status=FAILED, tags={CAUSE_TAG: "x"} | tags
    )
    if not tags.get(CAUSE_TAG, "x"):
        run = dg.DagsterRun(job_name="retraining", run_id=run.run_id, status=FAILED)
    instance.add_run(run)
    assert asked(market, instance) == []


def test_release_follows_the_alias_that_a_person_moved_and_is_quiet_after(
    copied_registry: Callable[[], Path], instance: dg.DagsterInstance
) -> None:
    root = copied_registry()
    market = MarketResource(name="sample", root=str(root), time=NOW.isoformat())

    def evaluated() -> str | None:
        context = dg.build_sensor_context(instance=instance, resources={"market": market})
        result = releases_follow_aliases(context)
        assert isinstance(result, dg.SkipReason)
        return result.skip_message

    def released() -> int | None:
        channel = read_channel(root / "releases", MODEL)
        return channel.champion.version if channel and channel.champion else None

    assert evaluated() == "alias and channel agree"
    tracking_at(root).set_alias(MODEL, CHAMPION, 3)
    assert evaluated() == f"version 3 of {MODEL} is released, as MLflow's alias says"
    assert released() == 3
    entries = len(market.home.ledger.entries(MODEL))
    assert evaluated() == "alias and channel agree"
    assert len(market.home.ledger.entries(MODEL)) == entries


def test_alias_of_a_version_that_may_not_be_released_is_moved_back(
    copied_registry: Callable[[], Path], instance: dg.DagsterInstance
) -> None:
    root = copied_registry()
    market = MarketResource(name="sample", root=str(root), time=NOW.isoformat())
    tracking_at(root).tag_version(MODEL, 2, {"bundle_sha256": "f" * 64})
    tracking_at(root).set_alias(MODEL, CHAMPION, 2)
    context = dg.build_sensor_context(instance=instance, resources={"market": market})
    result = releases_follow_aliases(context)
    assert isinstance(result, dg.SkipReason)
    assert str(result.skip_message).startswith("the alias was moved back")
    holder = tracking_at(root).alias(MODEL, CHAMPION)
    assert holder is not None
    assert holder.version == 1


def delivered(market: MarketResource, slack: SlackServer) -> str | None:
    alerts = AlertsResource(slack_webhook=slack.url)
    with dg.build_sensor_context(resources={"market": market, "alerts": alerts}) as context:
        result = outbox_is_delivered(context)
    assert isinstance(result, dg.SkipReason)
    return result.skip_message


def test_outbox_is_delivered_once_and_says_why_it_waits(market: MarketResource, slack: SlackServer) -> None:
    assert delivered(market, slack) == "nothing waits"
    assert slack.requests == 0
    alert = Alert("outage:1", "warning", "No candles", "since noon", (), (), NOW)
    Outbox(market.home.alerts_database).add(alert)
    slack.will_answer(Answer(429, {"Retry-After": "60"}))
    assert delivered(market, slack) == "slack did not take outage:1: Slack answered 429: no"
    assert delivered(market, slack) == "1 messages wait for their next try"
    later = MarketResource(name="sample", root=market.root, time=(NOW + timedelta(seconds=60)).isoformat())
    assert [delivered(later, slack) for _ in range(2)] == ["nothing waits"] * 2
    assert len(slack.posted) == 1


@dg.asset
def tables() -> None: ...


def checks_of(passed: bool, severity: dg.AssetCheckSeverity) -> list[dg.AssetChecksDefinition]:
    @dg.asset_check(asset=tables)
    def rows_are_unique() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, severity=severity, metadata={"rows_against": 7})

    return [rows_are_unique]


class Looks:
    """A sensor of what failed, look after look."""

    def __init__(
        self,
        market: MarketResource,
        instance: dg.DagsterInstance,
        sensor: dg.SensorDefinition = failed_checks_are_told,
    ) -> None:
        self.market, self.instance, self.sensor, self.cursor = market, instance, sensor, ""

    def run(self, passed: bool, severity: dg.AssetCheckSeverity, month: str | None = None) -> str:
        """Run of an asset and its check, of one partition where a month is given."""
        tags = {"dagster/partition": month} if month else {}
        checks = checks_of(passed, severity)
        result = dg.materialize([tables, *checks], instance=self.instance, tags=tags)
        assert result.success
        return result.run_id

    def look(self) -> str | None:
        resources = {
            "market": self.market,
            "alerts": AlertsResource(dagster_address="http://dagster.example"),
        }
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor or None, resources=resources
        )
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        assert result.skip_reason is not None
        self.cursor = result.cursor or ""
        return result.skip_reason.skip_message

    @property
    def alerts(self) -> list[Alert]:
        return Outbox(self.market.home.alerts_database).alerts()


ERROR, WARNING = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
NOTHING_NEW = "no check fails that was not told"


def test_failed_check_of_a_run_that_succeeded_is_told_once_and_a_warning_or_success_never(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk)
    assert looks.look() == NOTHING_NEW
    run_ids = [looks.run(passed, severity) for passed, severity in ((True, ERROR), (False, WARNING))]
    run_ids.append(looks.run(False, ERROR))
    assert [looks.look() for _ in range(2)] == ["alerts about failed checks: 1", NOTHING_NEW]
    [alert] = looks.alerts
    assert alert.cause == f"failed-checks:{run_ids[2]}"
    assert alert.facts == (("tables: rows_are_unique", "rows against: 7"),)
    assert alert.links == (("Dagster run", f"http://dagster.example/runs/{run_ids[2]}"),)


def test_check_that_keeps_failing_is_told_once_a_day_and_again_when_it_fails_anew(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk)
    first = looks.run(False, ERROR)
    looks.look()
    for passed in (False, False, True):
        looks.run(passed, ERROR)
        assert [looks.look() for _ in range(2)] == [NOTHING_NEW] * 2
    looks.run(False, WARNING)
    anew = looks.run(False, ERROR)
    assert [looks.look() for _ in range(2)] == ["alerts about failed checks: 1", NOTHING_NEW]
    failures = [alert for alert in looks.alerts if alert.severity == "critical"]
    assert {alert.cause for alert in failures} == {f"failed-checks:{run}" for run in (first, anew)}


def test_run_that_was_looked_at_is_not_taken_for_a_new_failure_when_the_check_held_since(
    market: MarketResource, instance_on_disk: dg.DagsterInstance, tmp_path: Path
) -> None:
    before = Looks(market, instance_on_disk)
    before.run(False, ERROR)
    before.look()
    # An outbox that knows nothing of it, as of the later runs of a failure that was told long ago.
    since = Looks(MarketResource(name="sample", root=str(tmp_path / "other")), instance_on_disk)
    since.cursor = before.cursor
    since.run(True, ERROR)
    assert [since.look() for _ in range(2)] == [NOTHING_NEW] * 2
    assert [alert.severity for alert in since.alerts] == ["info"]


def test_check_that_holds_for_one_partition_still_fails_for_another(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk)
    for _ in range(2):
        looks.run(False, ERROR, "2019-07-01|BTCUSD")
        looks.run(True, ERROR, "2019-07-01|ETHUSD")
        looks.look()
    [alert] = looks.alerts
    assert alert.facts == (("tables: rows_are_unique of 2019-07-01|BTCUSD", "rows against: 7"),)


def test_cursor_that_is_lost_tells_nothing_again(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk)
    looks.run(False, ERROR)
    looks.look()
    for cursor in ("", "2019-10-01 12:00:00+00:00", "17"):
        looks.cursor = cursor
        assert looks.look() == NOTHING_NEW
    assert len(looks.alerts) == 1


def test_what_is_well_again_is_told_once_with_the_run_that_found_it(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk)
    looks.run(True, ERROR)
    looks.run(False, ERROR)
    looks.look()
    well = looks.run(True, ERROR)
    for _ in range(2):
        looks.run(True, ERROR)
        looks.look()
    _, alert = looks.alerts
    assert (alert.cause, alert.severity) == (f"recovered-check:{well}", "info")
    assert alert.summary == "well again: tables: rows_are_unique"
    assert alert.links == (("Dagster run", f"http://dagster.example/runs/{well}"),)


def test_run_that_a_blocking_check_stopped_is_told_by_its_check_alone(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    @dg.asset_check(asset=tables, blocking=True)
    def rows_are_whole() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="3 rows are cut")

    @dg.asset(deps=[tables])
    def sums() -> None: ...

    result = dg.materialize([tables, rows_are_whole, sums], instance=instance_on_disk, raise_on_error=False)
    assert not result.success
    runs = Looks(market, instance_on_disk, failed_runs_are_told)
    assert runs.look() == NO_RUN
    looks = Looks(market, instance_on_disk)
    looks.look()
    [alert] = looks.alerts
    assert alert.facts == (("tables: rows_are_whole", "3 rows are cut"),)


@dg.op(name="walk_forward_scores")
def scores(context: dg.OpExecutionContext) -> None:
    if context.has_tag("broken"):
        raise ZeroDivisionError("a month without a single trade\nand its details")


@dg.job
def hourly() -> None:
    scores()


NO_RUN = "no run fails that was not told"
RUN_TOLD = "alerts about failed runs: 1"


def run_hourly(instance: dg.DagsterInstance, *, broken: bool, **tags: str) -> str:
    """Run of a job of one step."""
    told = {**tags, "broken": "yes"} if broken else tags
    return hourly.execute_in_process(instance=instance, raise_on_error=False, tags=told).run_id


def test_failed_run_is_told_once_with_what_failed_why_it_ran_and_a_link(
    market: MarketResource, instance_on_disk: dg.DagsterInstance, slack: SlackServer
) -> None:
    looks = Looks(market, instance_on_disk, failed_runs_are_told)
    run_id = run_hourly(instance_on_disk, broken=True, **{CAUSE_TAG: RETRAIN.cause})
    assert [looks.look() for _ in range(2)] == [RUN_TOLD, NO_RUN]
    [alert] = looks.alerts
    assert alert.cause == f"failed:{run_id}"
    assert alert.severity == "critical"
    assert alert.facts == (
        ("walk_forward_scores", "ZeroDivisionError: a month without a single trade"),
        ("started because of", RETRAIN.cause),
    )
    assert alert.links == (("Dagster run", f"http://dagster.example/runs/{run_id}"),)
    assert delivered(market, slack) == "nothing waits"
    assert "walk_forward_scores" in json.dumps(slack.posted)


@dg.job(name="retraining")
def failing_training() -> None:
    scores()


def test_first_failure_of_a_training_is_not_told_and_the_second_with_a_link_to_the_first(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk, failed_runs_are_told)

    def train(**tags: str) -> str:
        told = {CAUSE_TAG: RETRAIN.cause, "broken": "yes", **tags}
        result = failing_training.execute_in_process(
            instance=instance_on_disk, raise_on_error=False, tags=told
        )
        return result.run_id

    first = train()
    assert looks.look() == NO_RUN
    second = train(**{RETRY_TAG: first})
    assert looks.look() == RUN_TOLD
    [alert] = looks.alerts
    assert alert.links == (
        ("Dagster run", f"http://dagster.example/runs/{second}"),
        ("its first try", f"http://dagster.example/runs/{first}"),
    )


def test_job_that_fails_hour_after_hour_is_one_alert_and_one_when_it_is_well_again(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk, failed_runs_are_told)
    first = run_hourly(instance_on_disk, broken=True)
    for _ in range(3):
        looks.look()
        run_hourly(instance_on_disk, broken=True)
    assert looks.look() == NO_RUN
    well = run_hourly(instance_on_disk, broken=False)
    looks.look()
    _, told_well = looks.alerts
    assert told_well.cause == f"recovered-run:{well}"
    assert told_well.summary == "well again: walk_forward_scores"
    anew = run_hourly(instance_on_disk, broken=True)
    assert [looks.look() for _ in range(2)] == [RUN_TOLD, NO_RUN]
    assert {alert.cause for alert in looks.alerts} == {
        f"failed:{first}",
        f"recovered-run:{well}",
        f"failed:{anew}",
    }


def test_step_that_fails_for_two_months_is_told_for_each_and_one_month_that_is_well_is_not_the_other(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk, failed_runs_are_told)
    for month in ("2019-07|BTCUSD", "2019-08|BTCUSD"):
        run_hourly(instance_on_disk, broken=True, **{"dagster/partition": month})
    run_hourly(instance_on_disk, broken=False, **{"dagster/partition": "2019-07|BTCUSD"})
    looks.look()
    assert {alert.summary for alert in looks.alerts} == {
        "failed: walk_forward_scores of 2019-07|BTCUSD",
        "failed: walk_forward_scores of 2019-08|BTCUSD",
        "well again: walk_forward_scores of 2019-07|BTCUSD",
    }


def test_run_that_failed_before_any_step_is_told_by_its_job(
    market: MarketResource, instance_on_disk: dg.DagsterInstance
) -> None:
    looks = Looks(market, instance_on_disk, failed_runs_are_told)
    canceled = instance_on_disk.create_run_for_job(hourly)
    instance_on_disk.report_run_canceled(canceled)
    assert looks.look() == NO_RUN
    run = instance_on_disk.create_run_for_job(hourly)
    instance_on_disk.report_run_failed(run, "the process was killed")
    assert looks.look() == RUN_TOLD
    [alert] = looks.alerts
    assert alert.facts == (("hourly", "the process was killed"),)
    well = run_hourly(instance_on_disk, broken=False)
    looks.look()
    assert {alert.cause for alert in looks.alerts} == {f"failed:{run.run_id}", f"recovered-run:{well}"}


FAILING_LOCATION = """
import dagster as dg

@dg.sensor(target=None, default_status=dg.DefaultSensorStatus.RUNNING)
def broken():
    raise ConnectionError("the store is away")

@dg.sensor(target=None, default_status=dg.DefaultSensorStatus.RUNNING)
def whole():
    return dg.SkipReason("all is well")

defs = dg.Definitions(sensors=[broken, whole])
"""


def test_failing_sensor_is_told_once_a_day_by_name(market: MarketResource, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=QUEUED) as instance:
        evaluate(tmp_path, instance, FAILING_LOCATION)
        resources = {"market": market, "alerts": AlertsResource()}
        for _ in range(2):
            result = failed_ticks_are_told(dg.build_sensor_context(instance=instance, resources=resources))
            assert isinstance(result, dg.SkipReason)
            assert result.skip_message == "failing: broken"
    [alert] = Outbox(market.home.alerts_database).alerts()
    assert alert.title == "Sensor failed in sample"
    assert alert.facts[0][0] == "broken"
    assert "the store is away" in alert.facts[0][1]


def test_every_sensor_runs_by_itself_once_the_platform_is_up() -> None:
    sensors = list(WHOLE.get_repository_def().sensor_defs)
    assert {sensor.name for sensor in sensors} >= {
        "drift_asks_for_training",
        "experiments_follow_requests",
        "failed_checks_are_told",
        "failed_runs_are_told",
        "failed_ticks_are_told",
        "outbox_is_delivered",
        "releases_follow_aliases",
        "releases_follow_requests",
    }
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in sensors)


LOOP = """
import dagster as dg
from cryptoai_assets import definitions
from cryptoai_assets.defs.monitoring.sensors import (
    decisions_are_told, drift_asks_for_training, outbox_is_delivered
)
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
whole = definitions.defs()
resources = {{
    "market": MarketResource(name="sample", root={root!r}, time={time!r}),
    "alerts": AlertsResource(slack_webhook={slack!r}),
}}
defs = dg.Definitions(
    assets=whole.assets,
    sensors=[drift_asks_for_training, decisions_are_told, outbox_is_delivered],
    resources={{**whole.resources, **resources}},
)
del whole
"""


def gate_says(market: MarketResource, version: int, *, promote: bool) -> None:
    """Let the gate's decision on a challenger be released, as the training's job does at its end."""
    reasons = ("better than the champion",) if promote else ("not shown to be better",)
    decision = Decision(promote, "superior", False, reasons, (), (), (), ())
    home = market.home
    note_decision(home, MODEL, version, decision, market.clock())
    home.candidate.mkdir(parents=True, exist_ok=True)
    record = decision.to_dict() | {"model": MODEL, "version": version}
    (home.candidate / "decision.json").write_text(json.dumps(record))
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([released_bundle], resources={"market": market}, instance=instance).success


def test_drift_ends_in_another_served_model_and_each_step_is_told_once(
    copied_registry: Callable[[], Path], slack: SlackServer, tmp_path: Path
) -> None:
    root = copied_registry()
    market = MarketResource(name="sample", root=str(root), time=(NOW + timedelta(days=2)).isoformat())
    (tmp_path / "dagster").mkdir()
    location = LOOP.format(root=str(root), time=market.time, slack=slack.url)
    trained: list[str] = []

    def daemon_evaluates(*, ended: bool = False) -> None:
        with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=QUEUED) as instance:
            # The sensors' memory is lost each time: nothing is asked or told twice all the same.
            for state in instance.all_instigator_state():
                instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
            for run in instance.get_runs() if ended else ():
                instance.report_run_canceled(run)
            evaluate(tmp_path, instance, location)
            trained[:] = [run.tags[CAUSE_TAG] for run in instance.get_runs()]

    with service_in(root, poll_seconds=0.05) as (client, _):

        def answers(version: int) -> bool:
            return bool(client.get("/readyz").json()["version"] == version)

        assert answers(1)
        conclude(market, RETRAIN)
        daemon_evaluates()
        assert trained == [RETRAIN.cause]
        gate_says(market, 2, promote=True)
        wait_until(lambda: answers(2), "the promoted challenger answers")
        gate_says(market, 3, promote=False)
        # It degraded: the verdict is carried out by the asset that came to it.
        worse = replace(RETRAIN.evidence, worse_than=1)
        fallen = replace(RETRAIN, action="roll_back", reason="version 1 is better", evidence=worse)
        for _ in range(2):
            act(market.home, fallen, version=2, at=market.clock())
        wait_until(lambda: answers(1), "the version before answers again")
        daemon_evaluates()
        assert trained == [RETRAIN.cause]
        later = replace(RETRAIN, cause=f"retrain:{MODEL}:2019-10-07T00:00")
        conclude(market, later)
        daemon_evaluates(ended=True)
    assert trained == [later.cause, RETRAIN.cause]
    lines = [line.kind for line in market.home.ledger.entries(MODEL)]
    # The first two are of the registry that was copied.
    expected = ["retraining", "intent", "promotion", "refusal", "intent", "rollback", "retraining"]
    assert lines[2:] == expected
    titles = [message["text"].partition(": ")[2].partition(": ")[0] for message in slack.posted]
    # The last evaluation may have told of the other training already.
    assert titles[:4] == [
        "a training was asked for",
        "version 2 is champion",
        "version 3 was refused",
        "rolled back to version 1",
    ]
