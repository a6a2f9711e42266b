"""The border: headers, origins and encodings, and a line in the log for each request without its secrets."""

import gzip
import io
import json
import pickle
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import httpx
import pytest
from fakes.forecast_service import service_in

from cryptoai_serving.messages import ErrorAnswer

PAGE = "https://example.org"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with service_in(tmp_path_factory.mktemp("root"), cors_origins=(PAGE,)) as (client, _):
        yield client


@pytest.mark.parametrize(
    "address", ["/livez", "/models", "/nothing", "/forecast/BTCUSD", "/api/openapi.json"]
)
def test_every_answer_is_data_to_a_browser_and_nothing_else(client: httpx.Client, address: str) -> None:
    headers = client.get(address).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_page_may_run_and_ask_what_is_the_services_own(client: httpx.Client) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self';" in policy
    assert "unsafe" not in policy
    docs = client.get("/api/docs").headers["content-security-policy"]
    assert "script-src" not in docs
    assert "default-src 'none'" in docs


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    asked = {"origin": origin, "access-control-request-method": "GET"}
    wanted = {"access-control-request-headers": "authorization"}
    return client.options("/forecast/BTCUSD", headers=asked | wanted)


def test_page_of_the_settings_may_ask_and_others_may_not(client: httpx.Client) -> None:
    allowed, other = preflight(client, PAGE), preflight(client, "https://other.example")
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-origin" not in other.headers
    answer = client.get("/models", headers={"origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_without_the_setting_no_page_may_ask(tmp_path: Path) -> None:
    with service_in(tmp_path) as (client, _):
        assert "access-control-allow-origin" not in client.get("/models", headers={"origin": PAGE}).headers


def test_compressed_body_is_refused_before_it_swells(client: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 2**24)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = client.post("/forecast", content=bomb, headers=headers)
    assert response.status_code == 415
    assert "gzip" in ErrorAnswer.model_validate(response.json()).problem


def test_pickle_is_never_read(client: httpx.Client) -> None:
    response = client.post("/forecast", content=pickle.dumps({"candles": []}))
    assert response.status_code == 422
    assert ErrorAnswer.model_validate(response.json()).code == "invalid_request"


def test_json_that_is_too_deep_is_refused(client: httpx.Client) -> None:
    content = b"[" * 100_000
    response = client.post("/forecast", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    ErrorAnswer.model_validate(response.json())


def test_request_is_a_line_of_the_log_without_key_address_or_body(tmp_path: Path) -> None:
    told = io.StringIO()
    with redirect_stderr(told), service_in(tmp_path) as (client, _):
        headers = {"authorization": "Bearer very-secret", "x-request-id": "my-request-1"}
        client.get("/forecast/BTCUSD?key=very-secret", headers=headers)
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (line,) = (line for line in lines if line.get("request_id") == "my-request-1")
    assert (line["route"], line["method"], line["status"]) == ("/forecast/{symbol}", "GET", 401)
    assert line["milliseconds"] > 0
    assert "very-secret" not in told.getvalue()
