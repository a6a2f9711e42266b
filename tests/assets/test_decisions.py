"""Decisions: each line of the ledger is told once, and what the gate admits waits where a person decides."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import dagster as dg
import pytest
from fakes.forecast_service import service_in
from fakes.mortal_desk import MLFLOW_WARNINGS, MODEL, desk_at, tracking_at
from fakes.slack_api import slack_api

from cryptoai_assets.defs.monitoring.sensors import decisions_are_told
from cryptoai_assets.defs.release.assets import released_bundle
from cryptoai_assets.defs.release.sensors import releases_follow_requests
from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.lib.decisions import note_retraining
from cryptoai_assets.lib.requested_releases import ADMITTED_TAG
from cryptoai_serving.keys import add_key, new_key
from cryptoai_serving.settings import ServingSettings
from edge_bundle.alerts import Alert, KeptAlert, Outbox
from edge_bundle.releases import read_channel

pytestmark = MLFLOW_WARNINGS
PROJECT = Path(__file__).parents[2]
NOW = datetime(2019, 10, 3, 12, tzinfo=UTC)
ALERTS = AlertsResource(dagster_address="http://dagster.example", mlflow_address="http://mlflow.example")
# As the gate writes one: the difference of losses, and what it must exceed.
TEST = {"against": "champion", "margin": -0.005, "interval": {"mean": 0.01, "lower": 0.002, "upper": 0.02}}


class Teller:
    """The sensor of decisions, look after look."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.market = MarketResource(name="sample", root=str(root), time=NOW.isoformat(), **settings)
        self.cursor: str | None = None

    def look(self) -> str | None:
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor=self.cursor, resources={"market": self.market, "alerts": ALERTS}
            )
            result = decisions_are_told(context)
        assert isinstance(result, dg.SensorResult)
        assert result.skip_reason is not None
        self.cursor = result.cursor
        return result.skip_reason.skip_message

    @property
    def kept(self) -> list[KeptAlert]:
        return Outbox(self.market.home.alerts_database).kept()

    @property
    def alerts(self) -> list[Alert]:
        return [kept.alert for kept in self.kept]


@pytest.fixture
def root(copied_registry: Callable[[], Path]) -> Path:
    return copied_registry()


@pytest.fixture
def teller(root: Path) -> Teller:
    return Teller(root)


def test_promotion_refusal_and_rollback_are_told_once_with_who_why_and_where_to_compare(
    teller: Teller, root: Path
) -> None:
    assert teller.look() == "decisions told: 0"  # what is older than a day is no news
    desk, home = desk_at(root), teller.market.home
    desk.promote(MODEL, 2, actor="gate", reason="better", numbers={"tests": [TEST]}, at=NOW)
    home.ledger.append(
        "refusal",
        model=MODEL,
        version=3,
        actor="gate",
        reason="not better",
        at=NOW,
        numbers={"tests": [TEST]},
    )
    desk.promote(MODEL, 1, actor="Ada", reason="it fell", numbers={}, at=NOW, kind="rollback")
    assert [teller.look() for _ in range(2)] == ["decisions told: 3", "decisions told: 0"]
    teller.cursor = None
    assert teller.look() == "decisions told: 0"  # the outbox knows them
    told = {alert.title: alert for alert in teller.alerts}
    assert list(told) == [
        f"{MODEL}: version 2 is champion",
        f"{MODEL}: version 3 was refused",
        f"{MODEL}: rolled back to version 1",
    ]
    promoted, refused, rolled_back = told.values()
    assert promoted.facts[:1] == (("who", "gate"),)
    assert ("champion before", "version 1") in promoted.facts
    difference = ("against champion", "loss lower by 0.01, from 0.002 to 0.02; over -0.005 needed")
    assert difference in promoted.facts
    assert difference in refused.facts
    assert [alert.severity for alert in told.values()] == ["info", "info", "warning"]
    assert rolled_back.summary == "it fell"
    runs = {tracking_at(root).version(MODEL, version).run_id: str(version) for version in (1, 2)}
    compared = unquote(unquote(dict(promoted.links)["MLflow comparison"]))
    assert compared.startswith(f'http://mlflow.example/#/compare-model-versions?name="{MODEL}"&runs=')
    assert json.loads(compared.partition("&runs=")[2]) == runs


def test_leak_alarm_stays_open_until_somebody_answers(teller: Teller) -> None:
    alarms = {"alarms": ["h1/accuracy is at least 0.610"]}
    teller.market.home.ledger.append(
        "refusal", model=MODEL, version=3, actor="gate", reason="leak alarm", at=NOW, numbers=alarms
    )
    teller.look()
    [kept] = teller.kept
    assert (kept.state, kept.alert.severity) == ("open", "warning")
    assert ("leak alarm", "h1/accuracy is at least 0.610") in kept.alert.facts
    teller.market.home.ledger.append(
        "acknowledgement", model=MODEL, version=3, actor="Ada", reason="it is honest", at=NOW, numbers={}
    )
    assert teller.look() == "decisions told: 0"
    assert [kept.state for kept in teller.kept] == ["resolved"]


def test_stop_is_grave_and_open_until_another_version_is_released(teller: Teller, root: Path) -> None:
    home = teller.market.home
    assert home.release_desk.stop(MODEL, 1, actor="monitoring", reason="harmful", numbers={}, at=NOW)
    teller.look()
    [kept] = teller.kept
    assert (kept.alert.title, kept.state) == (f"{MODEL}: version 1 is stopped and abstains", "open")
    assert (kept.alert.severity, kept.alert.summary) == ("critical", "harmful")
    desk_at(root).promote(MODEL, 2, actor="gate", reason="better", numbers={}, at=NOW)
    teller.look()
    assert [one.state for one in teller.kept] == ["resolved", "resolved"]


def test_training_is_one_line_a_cause_however_often_it_is_noted(teller: Teller) -> None:
    home = teller.market.home
    noted = [note_retraining(home, cause="retrain:1", reason="drift", at=NOW) for _ in range(3)]
    assert noted == [True, False, False]
    assert note_retraining(home, cause="retrain:2", reason="drift", at=NOW + timedelta(days=7))
    teller.look()
    assert [alert.title for alert in teller.alerts] == [f"{MODEL}: a training was asked for"] * 2


def champion(root: Path) -> int | None:
    channel = read_channel(root / "releases", MODEL)
    return channel.champion.version if channel and channel.champion else None


def test_version_that_waits_for_a_person_is_told_and_released_by_the_admin_s_word(root: Path) -> None:
    teller = Teller(root, approval="manual")
    market = teller.market
    tracking_at(root).tag_version(MODEL, 2, {ADMITTED_TAG: "True"})
    market.home.candidate.mkdir(parents=True)
    decision = {"promote": True, "model": MODEL, "version": 2, "reasons": ["better"], "tests": [TEST]}
    (market.home.candidate / "decision.json").write_text(json.dumps(decision))
    for _ in range(2):
        with dg.DagsterInstance.ephemeral() as instance:
            made = dg.materialize([released_bundle], resources={"market": market}, instance=instance)
        [event] = made.asset_materializations_for_node("released_bundle")
        assert event.metadata["waits"].value == "for your approval"
        teller.look()
    assert champion(root) == 1
    [waiting] = teller.kept
    assert (waiting.alert.title, waiting.state) == (f"{MODEL}: version 2 waits for your approval", "open")
    address = dict(waiting.alert.links)["POST here to approve"]
    place = replace(ServingSettings.inside(root), requests=market.home.requests_database)
    token, key = new_key(label="admin", scopes=("admin",), created_at=NOW, requests_a_minute=None)
    add_key(place.keys, key)
    with service_in(root, requests=place.requests) as (client, _):
        asked = client.post(
            address.removeprefix(ALERTS.serving_address),
            json={"version": 2, "reason": "looks right"},
            headers={"authorization": f"Bearer {token}"},
        )
        assert asked.status_code == 202
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"market": market})
        releases_follow_requests(context)
    assert champion(root) == 2
    teller.look()
    assert Outbox(market.home.alerts_database).one(waiting.alert.id).state == "resolved"
    line = market.home.ledger.entries(MODEL)[-1]
    assert (line.kind, line.actor) == ("promotion", f"key {key.id}")


def test_approval_of_any_other_word_is_refused_by_the_name_of_its_setting() -> None:
    with pytest.raises(ValueError, match="set CRYPTOAI_APPROVAL to automatic or manual or split or shadow"):
        _ = MarketResource(name="sample", approval="perhaps").asks_a_person


def test_decision_that_is_killed_at_any_step_is_one_line_and_one_message(tmp_path: Path) -> None:
    with slack_api() as slack:
        done = subprocess.run(
            [sys.executable, str(PROJECT / "tests/fakes/mortal_teller.py"), str(tmp_path), slack.url],
            env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        causes = [message["metadata"]["event_payload"]["causes"] for message in slack.posted]
    # Ledger, outbox, the claim, Slack's answer, the delivery's record: each was a last step once.
    assert told["deaths"] >= 8
    assert told["status"] == 0
    assert set(map(tuple, told["lines"].values())) == {("retraining",)}
    assert sorted(causes) == sorted([f"{home}:ledger:1"] for home in told["lines"])
