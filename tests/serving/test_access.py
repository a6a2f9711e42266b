"""Access: who may ask what, how often, and what an answer tells about it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fakes.asgi_client import client_of
from fakes.forecast_service import service_in
from fakes.waiting import wait_until

from cryptoai_serving.access import STRANGERS_A_MINUTE
from cryptoai_serving.app import create_app
from cryptoai_serving.keys import main
from cryptoai_serving.messages import ErrorAnswer
from cryptoai_serving.settings import ServingSettings

PUBLIC = ("/", "/livez", "/readyz", "/api/docs", "/api/openapi.json")
NEEDS_READ = ("/models", "/metrics", "/forecast/BTCUSD", "/api/ml/status", "/api/ml/insights/BTCUSD")
NEEDS_DEVICE = ("/releases/m", "/releases/m/1/model.onnx")


def key(folder: Path, *scopes: str, a_minute: int | None = None) -> str:
    told: list[str] = []
    words = [word for scope in scopes for word in ("--scope", scope)]
    limit = ["--requests-a-minute", str(a_minute)] if a_minute else []
    keys = ServingSettings.inside(folder).keys
    assert main(["make", "--label", "test", *words, *limit], path=keys, tell=told.append) == 0
    return told[0].splitlines()[0]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def refusal(response: httpx.Response, status: int) -> ErrorAnswer:
    assert response.status_code == status, response.text
    return ErrorAnswer.model_validate(response.json())


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("root")
    tokens = {scope: key(folder, scope) for scope in ("read", "device", "admin")}
    with service_in(folder) as (client, _):
        yield client, tokens


@pytest.mark.parametrize("address", PUBLIC)
def test_whoever_watches_over_the_service_needs_no_key(
    keyed: tuple[httpx.Client, dict[str, str]], address: str
) -> None:
    assert keyed[0].get(address).status_code in (200, 503)


@pytest.mark.parametrize(
    ("scope", "address"),
    [*(("read", address) for address in NEEDS_READ), *(("device", address) for address in NEEDS_DEVICE)],
)
def test_address_opens_to_its_scope_alone(
    keyed: tuple[httpx.Client, dict[str, str]], scope: str, address: str
) -> None:
    client, tokens = keyed
    for other, token in tokens.items():
        response = client.get(address, headers=bearer(token))
        if other == scope:
            assert response.status_code not in (401, 403)
        else:
            error = refusal(response, 403)
            assert error.problem == f"this address needs the scope {scope}, the key opens {other}"


def test_request_without_a_valid_key_is_told_how_to_get_one(
    keyed: tuple[httpx.Client, dict[str, str]],
) -> None:
    client, tokens = keyed
    read = tokens["read"]
    for headers in ({}, bearer("cai_x"), bearer(read[:-1]), {"authorization": read}):
        response = client.get("/models", headers=headers)
        assert response.headers["www-authenticate"] == "Bearer"
        assert "cryptoai_serving.keys" in refusal(response, 401).cure
    assert client.get("/models", headers={"authorization": f"bearer {read}"}).status_code == 200


def test_key_is_asked_for_before_the_body_is_read(keyed: tuple[httpx.Client, dict[str, str]]) -> None:
    response = keyed[0].post("/forecast", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 401


def test_without_keys_this_machine_alone_may_ask(tmp_path: Path) -> None:
    with service_in(tmp_path) as (client, _):
        assert client.get("/models").status_code == 200
        assert client.get("/releases/m").status_code == 404
        for name in ("x-forwarded-for", "forwarded", "x-real-ip"):
            refusal(client.get("/models", headers={name: "127.0.0.1"}), 401)
        refusal(client.get("/models", headers=bearer("cai_x")), 401)


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.2", 200), ("::1", 200), ("192.0.2.7", 401), ("", 401), ("testclient", 401)],
)
def test_this_machine_is_known_by_its_address(tmp_path: Path, host: str, status: int) -> None:
    with client_of(create_app(ServingSettings.inside(tmp_path)), host=host) as client:
        assert client.get("/models").status_code == status


OWN_HOSTS = ("127.0.0.1:3600", "127.0.0.2", "localhost", "LocalHost:8080", "[::1]:3600")
OTHER_HOSTS = (
    "evil.example:3600",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "192.0.2.7",
    "localhost@evil.example",
    "localhost:evil.example",
    "[[",
    "",
)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_without_keys_the_service_goes_by_the_names_of_its_own_machine(tmp_path: Path, host: str) -> None:
    with service_in(tmp_path) as (client, _):
        assert client.get("/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_page_whose_name_leads_to_this_machine_gets_nothing_without_a_key(tmp_path: Path, host: str) -> None:
    with service_in(tmp_path, poll_seconds=0.01) as (client, _):
        for answer in (
            client.get("/models", headers={"host": host}),
            client.get("/releases/m", headers={"host": host}),
            client.post("/ingest/candles?day=2026-11-20", headers={"host": host}),
        ):
            error = refusal(answer, 403)
            assert (error.code, error.where) == ("host_refused", "host")
        assert "CRYPTOAI_HOSTS" in error.cure
        assert client.get("/livez", headers={"host": host}).status_code == 200
        token = key(tmp_path, "read")
        read = {"host": host, **bearer(token)}
        wait_until(lambda: client.get("/models", headers=read).status_code == 200, "a key opens any name")


def test_host_that_a_setting_names_is_its_own(tmp_path: Path) -> None:
    with service_in(tmp_path, hosts=("desk.example",)) as (client, _):
        assert client.get("/models", headers={"host": "Desk.Example:3600"}).status_code == 200
        assert client.get("/models", headers={"host": "localhost"}).status_code == 200
        refusal(client.get("/models", headers={"host": "example"}), 403)


def test_page_of_another_name_may_knock_only_so_often(tmp_path: Path) -> None:
    with service_in(tmp_path) as (client, _):
        knocks = [
            client.get("/models", headers={"host": "evil.example"}) for _ in range(STRANGERS_A_MINUTE + 5)
        ]
        assert client.get("/models").status_code == 200
    assert {knock.status_code for knock in knocks[:STRANGERS_A_MINUTE]} == {403}
    assert knocks[-1].status_code == 429


def test_key_is_valid_and_revoked_while_the_service_runs(tmp_path: Path) -> None:
    settings = replace(ServingSettings.inside(tmp_path), poll_seconds=0.01)
    with client_of(create_app(settings)) as client:
        assert client.get("/models").status_code == 200
        token = key(tmp_path, "read")
        wait_until(lambda: client.get("/models").status_code == 401, "the first key closes what was open")
        assert client.get("/models", headers=bearer(token)).status_code == 200
        main(["revoke", token.split("_")[1]], path=settings.keys, tell=lambda _: None)
        wait_until(
            lambda: client.get("/models", headers=bearer(token)).status_code == 401,
            "the revoked key opens nothing",
        )
        assert client.get("/models").status_code == 401


def test_key_file_that_cannot_be_read_closes_and_says_so(tmp_path: Path) -> None:
    settings = ServingSettings.inside(tmp_path)
    settings.keys.parent.mkdir(parents=True)
    settings.keys.write_text("{")
    with client_of(create_app(settings)) as client:
        assert refusal(client.get("/models"), 503).code == "key_file"
        assert client.get("/livez").status_code == 200


def test_each_key_has_its_own_limit_and_headers_tell_it(tmp_path: Path) -> None:
    few, many = key(tmp_path, "read", a_minute=2), key(tmp_path, "read")
    with service_in(tmp_path) as (client, _):
        first, second, third = (client.get("/models", headers=bearer(few)) for _ in range(3))
        other = client.get("/models", headers=bearer(many))
    told = [response.headers["ratelimit-remaining"] for response in (first, second, third)]
    assert told == ["1", "0", "0"]
    assert {response.headers["ratelimit-limit"] for response in (first, second, third)} == {"2"}
    assert 0 < int(third.headers["retry-after"]) <= 30
    assert int(first.headers["ratelimit-reset"]) == 30
    assert refusal(third, 429).problem == "over 2 requests a minute"
    assert other.status_code == 200
    assert other.headers["ratelimit-limit"] == "12000"


def test_strangers_may_knock_only_so_often(tmp_path: Path) -> None:
    token = key(tmp_path, "read")
    with service_in(tmp_path) as (client, _):
        statuses = [client.get("/models").status_code for _ in range(STRANGERS_A_MINUTE + 5)]
        assert client.get("/models", headers=bearer(token)).status_code == 200
    assert set(statuses[:STRANGERS_A_MINUTE]) == {401}
    assert set(statuses[-3:]) == {429}


def test_limit_holds_this_machine_too(tmp_path: Path) -> None:
    with service_in(tmp_path, requests_a_minute=1) as (client, _):
        assert client.get("/models").status_code == 200
        refusal(client.get("/models"), 429)
        assert client.get("/livez").status_code == 200
