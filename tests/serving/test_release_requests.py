"""Requests for promotions: filed by an admin alone, kept in order until somebody settles them."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.forecast_service import service_in

from cryptoai_serving.keys import main
from cryptoai_serving.release_requests import ReleaseRequests
from cryptoai_serving.settings import ServingSettings

MODEL = "cryptoai-forecaster-sample"
BODY = {"version": 4, "reason": "better on the last week"}


def key(folder: Path, scope: str) -> dict[str, str]:
    told: list[str] = []
    arguments = ["make", "--scope", scope, "--label", "test"]
    assert main(arguments, path=ServingSettings.inside(folder).keys, tell=told.append) == 0
    return {"authorization": f"Bearer {told[0].splitlines()[0]}"}


def asked(client: httpx.Client, kind: str, body: object = BODY, **more: Any) -> httpx.Response:
    return client.post(f"/models/{MODEL}/{kind}", json=body, **more)


def test_admin_s_request_is_filed_and_nothing_is_released(tmp_path: Path) -> None:
    admin = key(tmp_path, "admin")
    with service_in(tmp_path) as (client, app):
        for kind in ("promote", "rollback"):
            response = asked(client, kind, headers=admin | {"x-request-id": "one-and-the-same"})
            assert response.status_code == 202
        place = app.rooms.settings
    with ReleaseRequests(place.requests) as requests:
        first, second = requests.waiting()
        assert (first.kind, first.model, first.version, first.reason) == (
            "promotion",
            MODEL,
            4,
            BODY["reason"],
        )
        assert first.actor == f"key {admin['authorization'].split('_')[1]}"
        assert (second.kind, second.id) == ("rollback", response.json()["id"])
        assert first.asked_at <= second.asked_at
        requests.settle(first, "released")
        assert requests.waiting() == [second]
        assert (requests.outcome(first.id), requests.outcome(second.id)) == ("released", None)
    assert not place.releases.exists()


def test_without_an_admin_s_key_nobody_may_ask(tmp_path: Path) -> None:
    with service_in(tmp_path) as (client, _):
        response = asked(client, "promote")
        assert (response.status_code, response.json()["code"]) == (403, "scope_needed")
        assert "--scope admin" in response.json()["cure"]
    read = key(tmp_path, "read")
    with service_in(tmp_path) as (client, app):
        assert asked(client, "promote", headers=read).status_code == 403
        assert asked(client, "promote").status_code == 401
        assert not app.rooms.settings.requests.exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": 4},
        BODY | {"version": 0},
        BODY | {"version": "4"},
        BODY | {"reason": ""},
        BODY | {"x": 1},
    ],
)
def test_request_that_is_none_is_refused(tmp_path: Path, body: object) -> None:
    admin = key(tmp_path, "admin")
    with service_in(tmp_path) as (client, app):
        assert asked(client, "promote", body, headers=admin).status_code == 422
        assert app.rooms.requests.waiting() == []


def test_model_that_is_not_served_cannot_be_promoted(tmp_path: Path) -> None:
    admin = key(tmp_path, "admin")
    with service_in(tmp_path) as (client, _):
        response = client.post("/models/other/promote", json=BODY, headers=admin)
    assert (response.status_code, response.json()["cure"]) == (404, f"ask about {MODEL}")
