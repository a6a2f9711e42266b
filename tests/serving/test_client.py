"""The Python client against the real service, and against servers that are busy, gone or something else."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from fakes.api_keys import made_key
from fakes.bento_process import free_port
from fakes.loopback_app import serving
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cryptoai_serving.app import create_app
from cryptoai_serving.bars import BarStore
from cryptoai_serving.client import (
    ForecastClient,
    RequestRejectedError,
    ServiceBusyError,
    StrangeAnswerError,
    UnreachableError,
)
from cryptoai_serving.messages import ErrorAnswer
from cryptoai_serving.settings import ServingSettings
from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=60, interval="30m", seed=3)
MODEL = "cryptoai-forecaster-sample"
BUSY = ErrorAnswer(code="no_model", problem="p", where=None, cure="c", request_id="r").model_dump()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[ForecastClient]:
    place = ServingSettings.inside(root)
    release_tiny_bundle(place.releases, version=3, seed=1)
    with BarStore(place.bars) as store:
        store.write_bars(CANDLES)
    key = made_key(place.keys)
    with (
        serving(create_app(place), lifespan="on") as loopback,
        ForecastClient(loopback.http, key=key, user_id="user-1") as opened,
    ):
        yield opened


def test_every_question_has_its_typed_answer(client: ForecastClient) -> None:
    assert client.readiness().ready
    assert client.status().bars[0].symbol == "BTCUSD"
    assert client.models().models[0].version == 3
    assert client.forecast("BTCUSD").forecasts[0].symbol == "BTCUSD"
    assert client.insights("BTCUSD").symbol == client.patterns("BTCUSD").symbol == "BTCUSD"
    assert client.bars("BTCUSD", 5).known_at == client.insights("BTCUSD").known_at
    assert client.price_prediction("ETHUSD").prediction.symbol == "ETHUSD"
    assert len(client.signals("ETHUSD").signals) == 3
    batch = client.forecasts(["BTCUSD", "XRPUSD"])
    assert [one.error and one.error.code for one in batch.answers] == [None, "unknown_symbol"]
    assert client.releases(MODEL).releases[0].version == 3
    filed = client.ask_for("rollback", MODEL, version=1, reason="it fell")
    assert (filed.kind, filed.version) == ("rollback", 1)


def test_candles_that_are_sent_give_the_forecast_of_the_bundle_itself(
    client: ForecastClient, root: Path
) -> None:
    answer = client.forecast_from(CANDLES)
    bundle = Forecaster.load(root / "releases" / MODEL / "versions" / "3")
    expected = bundle.forecast(MarketWindow(CANDLES))
    assert tuple(Forecast.from_dict(one.model_dump(mode="json")) for one in answer.forecasts) == expected


@pytest.mark.parametrize("symbol", ["XRPUSD", "../models", "a/b?c=d#e", "", "%2e%2e"])
def test_refusal_is_an_error_with_what_is_wrong_and_what_to_do(client: ForecastClient, symbol: str) -> None:
    with pytest.raises(RequestRejectedError) as refused:
        client.forecast(symbol)
    assert refused.value.status in (404, 422)
    assert refused.value.answer.cure in str(refused.value)
    assert not isinstance(refused.value, ServiceBusyError)


def answering(*answers: Response) -> tuple[Starlette, list[str]]:
    """Application that gives answers in turn, the last one for ever; and what it was asked."""
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        asked.append(request.method)
        return answers[min(len(asked), len(answers)) - 1]

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]), asked


def busy(retry_after: str | None, status: int = 503) -> Response:
    return JSONResponse(BUSY, status, headers={"retry-after": retry_after} if retry_after else None)


@pytest.mark.parametrize(
    ("retry_after", "waited"),
    [
        ("7", [7.0]),
        (format_datetime(NOW + timedelta(seconds=9), usegmt=True), [9.0]),
        (format_datetime(NOW - timedelta(seconds=9), usegmt=True), [0.2]),
        (None, [0.2]),
        ("soon", [0.2]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_is_asked_again_when_it_says(
    retry_after: str | None, waited: list[float], status: int
) -> None:
    pauses: list[float] = []
    ready = JSONResponse({"models": [], "refused": None, "request_id": "r"})
    app, asked = answering(busy(retry_after, status), ready)
    with (
        serving(app) as loopback,
        ForecastClient(loopback.http, sleep=pauses.append, clock=lambda: NOW) as client,
    ):
        assert client.models().request_id == "r"
    assert (pauses, asked) == (waited, ["GET", "GET"])


def test_service_that_stays_busy_is_an_error_after_all_attempts() -> None:
    pauses: list[float] = []
    app, asked = answering(busy(None))
    with serving(app) as loopback, ForecastClient(loopback.http, sleep=pauses.append) as client:
        with pytest.raises(ServiceBusyError) as refused:
            client.models()
        assert (refused.value.answer.code, len(asked), pauses) == ("no_model", 4, [0.2, 0.4, 0.8])
        assert len(asked) == 4


def test_wait_that_is_too_long_is_an_error_at_once() -> None:
    app, asked = answering(busy("3600"))
    with serving(app) as loopback, ForecastClient(loopback.http) as client, pytest.raises(ServiceBusyError):
        client.models()
    assert asked == ["GET"]


def test_service_that_is_not_there_is_an_error_after_all_attempts() -> None:
    pauses: list[float] = []
    nowhere = ForecastClient(f"http://127.0.0.1:{free_port()}", sleep=pauses.append)
    with nowhere as client, pytest.raises(UnreachableError):
        client.models()
    assert pauses == [0.2, 0.4, 0.8]


def test_request_that_may_have_arrived_is_not_filed_twice() -> None:
    sent: list[str] = []

    class Cut(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request.url.path)
            raise httpx.ReadError("cut", request=request)

    with ForecastClient(transport=Cut(), sleep=lambda _: None) as client:
        with pytest.raises(UnreachableError):
            client.ask_for("promotion", MODEL, version=2, reason="r")
        assert len(sent) == 1
        with pytest.raises(UnreachableError):
            client.models()
    assert len(sent) == 1 + 4


@pytest.mark.parametrize(
    "answer", [PlainTextResponse("hello"), PlainTextResponse("oops", 500)], ids=["no JSON", "a fault"]
)
def test_answer_of_something_else_is_told(answer: Response) -> None:
    app, _ = answering(answer)
    with serving(app) as loopback, ForecastClient(loopback.http) as client, pytest.raises(StrangeAnswerError):
        client.models()


def test_service_that_is_not_ready_says_why(tmp_path: Path) -> None:
    app = create_app(ServingSettings.inside(tmp_path))
    with serving(app, lifespan="on") as loopback, ForecastClient(loopback.http) as client:
        found = client.readiness()
    assert (found.ready, "no champion" in found.reason) == (False, True)
