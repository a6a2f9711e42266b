"""The loop as its users meet it: a drift goes in at the market's end, another model answers, all is told.

Dagster's own daemon and page, MLflow, the real service and a Slack on loopback. The daemon is killed twice,
once in the middle of the training that it began.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from fakes.bento_process import bento_service
from fakes.mortal_desk import MLFLOW_WARNINGS
from fakes.slack_api import SlackApi, slack_api
from fakes.telling_market import END, NAME, SYMBOL, against, candles, describe
from fakes.watched_platform import (
    ARCHIVE,
    DRIFTED,
    PROJECT,
    SCORED,
    Console,
    answers,
    console,
    daemon,
    drifting_market,
    environment,
    materialize,
    page,
    wait_patiently,
)

from cryptoai_assets.defs.monitoring.sensors import CAUSE_TAG
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.ledger import Entry
from cryptoai_assets.lib.requested_releases import ADMITTED_TAG
from cryptoai_assets.lib.tracking import CHAMPION
from cryptoai_serving.bars import BarStore

pytestmark = [*MLFLOW_WARNINGS, pytest.mark.timeout(1800)]
OTHER_SEED = 2
# Of which the first are abstained on: what was wild before them is still in the features.
ADVERSE_BARS = 180


@dataclass(slots=True)
class Client:
    """Somebody who keeps asking for a forecast."""

    statuses: set[int] = field(default_factory=set)
    versions: list[int] = field(default_factory=list)

    @contextmanager
    def asking(self, service: httpx.Client) -> Iterator[None]:
        enough = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=service.base_url, timeout=30) as client:
                while not enough.wait(0.2):
                    answer = client.get(f"/forecast/{SYMBOL}")
                    self.statuses.add(answer.status_code)
                    if answer.is_success:
                        self.versions.append(answer.json()["model_version"])

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()


@dataclass(slots=True)
class Watched:
    """What was seen of the loop.

    Parameters
    ----------
    served
        Version that the service names at each stage.
    alerts
        As the service's list tells them in the end.
    """

    home: Home
    slack: SlackApi
    begun: dict[str, Any]
    client: Client
    served: list[int] = field(default_factory=list)
    trainings: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        return [message["text"].partition("\n")[0] for message in self.slack.posted]

    def told(self, words: str) -> list[dict[str, Any]]:
        """Messages of which the title holds these words."""
        return [
            message for message, title in zip(self.slack.posted, self.titles, strict=True) if words in title
        ]

    @property
    def ledger(self) -> list[Entry]:
        return self.home.ledger.entries()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    root = tmp_path_factory.mktemp("watched")
    describe(root)
    shutil.copy(PROJECT / "dagster.yaml", root)
    drifting_market(DRIFTED).write_parquet(root / ARCHIVE)
    home = MarketResource(name=NAME, root=str(root), archive=str(root / ARCHIVE)).home
    with slack_api() as slack:
        given = environment(root, slack)
        settings = {name: value for name, value in given.items() if name.startswith("CRYPTOAI_")}
        with console(root, given) as person:
            person.ask("begin")
            with bento_service(root, settings=settings) as service:
                found = Watched(home, slack, person.answer(), Client())
                live_through(found, root, given, person, service)
                yield found


def live_through(
    found: Watched, root: Path, given: dict[str, str], person: Console, service: httpx.Client
) -> None:
    """Drift, retraining, kill, promotion, a bad challenger, a market that goes against it, rollback."""

    def version() -> int:
        said: int = service.get("/readyz").json()["version"]
        return said

    found.served.append(version())
    with found.client.asking(service):
        with daemon(root, given):
            wait_patiently(lambda: "stretch_use" in kinds(found), "the version is scored")
        with daemon(root, given):
            wait_patiently(lambda: version() == 2, "the challenger answers")
            wait_patiently(lambda: bool(found.told("version 2 is champion")), "its promotion is told")
            wait_patiently(lambda: person.does("runs")[-1]["status"] == "SUCCESS", "the training ends")
            found.served.append(version())
            found.trainings.extend(person.does("runs"))
            person.does("challenge")
            with page(root, given) as dagster:
                wait_patiently(lambda: answers(dagster), "Dagster's page answers")
                materialize(dagster, SCORED)
                wait_patiently(lambda: bool(found.told("version 3 was refused")), "the refusal is told")
    go_against(found.home, root, service)
    person.does("ingest")
    with daemon(root, given):
        wait_patiently(lambda: version() == 1, "the version before answers again")
        wait_patiently(lambda: bool(found.told("rolled back to version 1")), "the rollback is told")
    found.served.append(version())
    found.alerts.extend(service.get("/alerts").json()["alerts"])


def kinds(found: Watched) -> list[str]:
    return [entry.kind for entry in found.ledger]


def go_against(home: Home, root: Path, service: httpx.Client) -> None:
    """Let each new bar do the opposite of what is served for it, then have the archive hold them all."""
    like = candles(until=END, seed=OTHER_SEED, wilder_since=END, times=1.0)
    bars = drifting_market(DRIFTED)
    assert isinstance(home.bars_database, Path)
    with BarStore(home.bars_database) as store:
        for number in range(ADVERSE_BARS):
            [told] = service.get(f"/forecast/{SYMBOL}").json()["forecasts"]
            [ahead] = told["horizons"]
            after = against(bars.tail(1), ahead["probability_up"], like[number])
            store.write_bars(after)
            bars = pl.concat([bars, after])
    bars.write_parquet(root / ARCHIVE)


def test_drift_is_told_once_with_its_features_a_picture_and_where_to_look(watched: Watched) -> None:
    assert watched.begun["actions"] == ["watch", "watch"]
    [message] = watched.told(f"Drift in {NAME}")
    shown = str(message["blocks"])
    for part in ("retrain", "return_deviation_15", "threshold", "|Dagster run>", "|Evidently report>"):
        assert part in shown
    assert "|Acknowledge or snooze>" in shown
    thread = f"{watched.slack.posted.index(message) + 1}.000"
    assert watched.slack.pictures[thread].startswith(b"\x89PNG")


def test_drift_asks_for_one_training_which_outlives_the_kill_of_its_process(watched: Watched) -> None:
    [asked] = [entry for entry in watched.ledger if entry.kind == "retraining"]
    assert [run["status"] for run in watched.trainings] == ["FAILURE", "SUCCESS"]
    assert {run["tags"][CAUSE_TAG] for run in watched.trainings} == {asked.numbers["cause"]}
    versions = watched.home.tracking.versions(watched.home.market.model)
    assert [found.version for found in versions] == [1, 2, 3]
    assert len(watched.told("a training was asked for")) == 1


def test_client_gets_no_error_while_the_challenger_takes_over(watched: Watched) -> None:
    assert watched.client.statuses == {200}
    # Never the old one again, once the new one has answered.
    assert watched.client.versions == sorted(watched.client.versions)
    assert set(watched.client.versions) == {1, 2}
    assert watched.served == [1, 2, 1]


def test_bad_challenger_is_refused_and_the_one_that_degraded_rolled_back(watched: Watched) -> None:
    lines = [entry for entry in watched.ledger if entry.kind in ("promotion", "refusal", "rollback")]
    assert [(line.kind, line.version, line.actor) for line in lines] == [
        ("promotion", 1, "Ada"),
        ("promotion", 2, "gate"),
        ("refusal", 3, "gate"),
        ("rollback", 1, "monitoring"),
    ]
    assert "not shown to be better than zero" in lines[2].reason
    assert "version 1 scores higher on the same rows" in lines[3].reason
    tracking, model = watched.home.tracking, watched.home.market.model
    champion = tracking.alias(model, CHAMPION)
    assert champion is not None
    assert champion.version == 1
    assert [tracking.version(model, one).tags[ADMITTED_TAG] for one in (2, 3)] == ["True", "False"]


def test_no_message_is_sent_twice_for_one_cause_and_the_alerts_are_those_of_slack(watched: Watched) -> None:
    assert len(watched.titles) == len(set(watched.titles))
    for words in ("version 2 is champion", "version 3 was refused", "rolled back to version 1"):
        assert len(watched.told(words)) == 1, words
    told = {alert["title"] for alert in watched.alerts}
    assert all(any(title in text for text in watched.titles) for title in told)
