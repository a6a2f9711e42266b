"""The OpenAPI document: its examples are answers, and whatever is asked is answered as it says."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fakes.api_keys import made_key
from fakes.asgi_client import client_of
from fakes.chart_detector import release_detector
from fakes.loopback_app import serving
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles
from fastapi.routing import APIRoute, APIRouter
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cryptoai_serving import (
    alert_messages,
    chart_messages,
    experiment_messages,
    explanation_messages,
    ingestion_messages,
    insight_messages,
    messages,
    release_messages,
    routes,
    sentiment_messages,
)
from cryptoai_serving.app import create_app
from cryptoai_serving.bars import BarStore
from cryptoai_serving.settings import ServingSettings
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.sentiment.outlook import OUTLOOK_NAME, Outlook, Outlooks

CASES = 12
SAID = Outlook({"sentiment_24h": None}, "HOLD", ("0 articles in a day, 5 needed",))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = create_app(ServingSettings.inside(Path("nowhere"))).openapi()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
# Those that leave anything to the client.
FREE = [
    (path, method)
    for path, method in OPERATIONS
    if {"parameters", "requestBody"} & set(DOCUMENT["paths"][path][method])
]
ALERT = Alert("outage:1", "warning", "No candles", "since noon", (), (), datetime(2026, 1, 1, tzinfo=UTC))
THERE = {
    "symbol": "BTCUSD",
    "model": "cryptoai-forecaster-sample",
    "version": 3,
    "file": "model.onnx",
    "name": "calmer-trees",
    "alert_id": ALERT.id,
}
EXAMPLES = {
    name: model
    for module in (
        messages,
        insight_messages,
        explanation_messages,
        release_messages,
        ingestion_messages,
        sentiment_messages,
        chart_messages,
        experiment_messages,
        alert_messages,
    )
    for name, model in vars(module).items()
    if isinstance(model, type)
    and issubclass(model, BaseModel)
    and model.model_config.get("json_schema_extra")
}


@dataclass(frozen=True, slots=True)
class Served:
    """Address of the service, and the headers that open all of it."""

    http: str
    key: dict[str, str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("root")
    place = ServingSettings.inside(folder)
    release_tiny_bundle(place.releases, version=3, seed=1)
    release_detector(place.releases, version=1)
    with BarStore(place.bars) as store:
        store.write_bars(walk_candles(("BTCUSD", "ETHUSD"), bars=60, interval="30m", seed=3))
    Outlooks("2019-10-01T00:00:00+00:00", False, "keywords", "1", {"BTCUSD": SAID}, SAID, ()).write(
        place.told / OUTLOOK_NAME
    )
    key = made_key(place.keys)
    Outbox(place.alerts).add(ALERT)
    with serving(create_app(place), lifespan="on") as loopback:
        yield Served(loopback.http, {"authorization": f"Bearer {key}"})


@pytest.fixture(scope="module")
def document(service: Served) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.http}/api/openapi.json").json()
    return found


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example_is_what_it_is_an_example_of(name: str) -> None:
    model = EXAMPLES[name]
    example = model.model_json_schema()["example"]
    told = model.model_validate(example).model_dump(mode="json")
    missing = set(told) - set(example) if model is not messages.ForecastRequest else set()
    assert missing == set()


def test_every_json_answer_has_an_example(document: dict[str, Any]) -> None:
    for path, method in OPERATIONS:
        for status, answer in document["paths"][path][method]["responses"].items():
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            assert not schema or "example" in document["components"]["schemas"][name], (path, status)


def test_every_field_has_its_unit_or_meaning_where_a_number_could_be_misread(
    document: dict[str, Any],
) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, told in schema.get("properties", {}).items():
            if field.endswith(("_bps", "_price", "_bars", "_up")):
                assert told.get("description"), f"{name}.{field}"


def test_what_needs_a_key_says_so_and_what_does_not_says_nothing(document: dict[str, Any]) -> None:
    open_to_all = {
        path
        for path, methods in document["paths"].items()
        if "security" not in methods.get("get", methods.get("post"))
    }
    assert open_to_all == {"/livez", "/readyz"}
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}


def test_document_is_made_anew_for_a_new_champion_only(tmp_path: Path) -> None:
    app = create_app(ServingSettings.inside(tmp_path))
    with client_of(app):
        assert app.openapi() is app.openapi()


def test_every_address_is_in_the_document_and_asked_below() -> None:
    modules = [import_module(found.name) for found in iter_modules(routes.__path__, f"{routes.__name__}.")]
    written = {
        (route.path, method.lower())
        for module in modules
        for router in vars(module).values()
        if isinstance(router, APIRouter)
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods
    }
    assert written == set(OPERATIONS)
    # Of these nothing is left to the client, so that a request about what is there is every request.
    assert {path for path, _ in set(OPERATIONS) - set(FREE)} == {
        "/livez",
        "/readyz",
        "/models",
        "/metrics",
        "/api/ml/status",
    }


def check(service: Served, document: dict[str, Any], operation: tuple[str, str], **generated: Any) -> None:
    path, method = operation
    cases = schemathesis.openapi.from_dict(document)[path][method].as_strategy(**generated)
    with requests.Session() as session:

        @settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
        @given(case=cases)
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=service.http, session=session, headers=service.key, checks=CHECKS)

        ask()


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_request_about_what_is_there_is_answered_as_documented(
    service: Served, document: dict[str, Any], operation: tuple[str, str]
) -> None:
    there = {name: value for name, value in THERE.items() if f"{{{name}}}" in operation[0]}
    check(service, document, operation, path_parameters=there)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", FREE, ids=" ".join)
def test_request_about_anything_gets_no_answer_that_is_not_documented(
    service: Served, document: dict[str, Any], operation: tuple[str, str], mode: GenerationMode
) -> None:
    check(service, document, operation, generation_mode=mode)
