"""The rooms: what changes outside is taken while the service runs, and a person is told of what stays out."""

from pathlib import Path

from fakes.bento_process import wait_until
from fakes.forecast_service import service_in
from fakes.releases import name_champion, release_tiny_bundle
from fakes.tiny_bundle import write_tiny_bundle

from cryptoai_serving.settings import ServingSettings
from edge_bundle.alerts import Outbox
from edge_bundle.manifest import GRAPH_NAME, bundle_digest
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
