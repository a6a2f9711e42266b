"""The rooms: what changes outside is taken while the service runs, and a person is told of what stays out."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest
from fakes.asgi_client import client_of
from fakes.chart_detector import written_detector
from fakes.forecast_service import service_in
from fakes.releases import name_champion, release_tiny_bundle
from fakes.tiny_bundle import write_tiny_bundle
from fakes.waiting import wait_until

from cryptoai_serving.app import create_app, utc_now
from cryptoai_serving.chart_desk import CHART_MODEL
from cryptoai_serving.keys import add_key, new_key, revoke_key
from cryptoai_serving.settings import ServingSettings
from edge_bundle.alerts import Outbox
from edge_bundle.manifest import GRAPH_NAME, MANIFEST_NAME, bundle_digest
from edge_bundle.releases import ReleasedVersion, channel_path, release_folder

MODEL = "cryptoai-forecaster-sample"


def test_version_that_stays_out_is_an_alert_once_and_the_old_one_answers(tmp_path: Path) -> None:
    place = ServingSettings.inside(tmp_path)
    release_tiny_bundle(place.releases, version=1, seed=1)
    with service_in(tmp_path, poll_seconds=0.01) as (client, _):
        # It is broken before it is named: the service looks all the time.
        folder = write_tiny_bundle(release_folder(place.releases, MODEL, 2), seed=2)
        released = ReleasedVersion(2, bundle_digest(folder))
        (folder / GRAPH_NAME).unlink()
        name_champion(place.releases, MODEL, released)
        wait_until(lambda: client.get("/models").json()["refused"] is not None, "version 2 is refused")
        wait_until(lambda: bool(Outbox(place.alerts).alerts()), "the alert is in the outbox")
        # As a whole: half of what is written would be one more thing that is broken.
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "broken.json").replace(channel_path(place.releases, MODEL))
        wait_until(lambda: len(Outbox(place.alerts).alerts()) == 2, "the broken channel is an alert too")
        assert client.get("/models").json()["models"][0]["version"] == 1
    first, second = Outbox(place.alerts).alerts()
    assert first.title == f"Version 2 of {MODEL} stays out of service"
    assert "lacks model.onnx" in first.summary
    assert first.facts == (("answers meanwhile", "version 1"),)
    assert second.title == f"The release channel of {MODEL} stays out of service"


def test_outbox_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    place = ServingSettings.inside(tmp_path)
    (release_tiny_bundle(place.releases, version=1, seed=1) / GRAPH_NAME).unlink()
    place.alerts.mkdir(parents=True)
    with service_in(tmp_path, poll_seconds=0.01) as (client, _):
        assert client.get("/readyz").status_code == 503
        release_tiny_bundle(place.releases, version=2, seed=2)
        wait_until(lambda: client.get("/readyz").json()["version"] == 2, "version 2 is loaded")


def name_chart_of_an_unknown_precision(root: Path) -> None:
    """Make a chart bundle the champion that only newer code could load."""
    folder = written_detector(release_folder(root, CHART_MODEL, 1))
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["quantization"]["precision"] = "fp16"
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    name_champion(root, CHART_MODEL, ReleasedVersion(1, bundle_digest(folder)))


def test_chart_release_that_nobody_can_load_keeps_no_key_valid_and_no_champion_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ServingSettings.inside(tmp_path)
    token, key = new_key(label="", scopes=["read"], created_at=datetime.now(UTC), requests_a_minute=None)
    add_key(place.keys, key)
    name_chart_of_an_unknown_precision(place.releases)
    with service_in(tmp_path, poll_seconds=0.01) as (client, _):
        release_tiny_bundle(place.releases, version=1, seed=1)
        wait_until(lambda: client.get("/readyz").json()["version"] == 1, "version 1 is loaded")
        headers = {"authorization": f"Bearer {token}"}
        told = client.post("/analyze-chart", json={"picture": ""}, headers=headers).json()
        assert (told["code"], told["problem"]) == ("no_model", "KeyError: 'fp16'")
        revoke_key(place.keys, key.id)
        wait_until(lambda: client.get("/models", headers=headers).status_code == 401, "the key is revoked")
    assert capsys.readouterr().err.count("the chart network stays out: KeyError: 'fp16'") == 1


def heard(capsys: pytest.CaptureFixture[str], before: list[str]) -> str:
    """All that was logged, what was heard before included."""
    before.append(capsys.readouterr().err)
    return "".join(before)


def test_look_that_fails_is_logged_once_and_the_next_one_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, stopped, log = replace(ServingSettings.inside(tmp_path), poll_seconds=0.01), Event(), list[str]()

    def clock() -> datetime:
        if stopped.is_set():
            raise OSError("the clock tells nothing")
        return utc_now()

    release_tiny_bundle(place.releases, version=1, seed=1)
    with client_of(create_app(place, clock=clock)) as client:
        stopped.set()
        release_tiny_bundle(place.releases, version=2, seed=2)
        wait_until(lambda: "the clock tells nothing" in heard(capsys, log), "the failure is logged")
        stopped.clear()
        wait_until(lambda: client.get("/readyz").json()["version"] == 2, "version 2 is loaded")
    assert heard(capsys, log).count("what changed outside was not followed") == 1
