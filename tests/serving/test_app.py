"""The HTTP application: what it answers, what it refuses and how it says so."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.asgi_client import client_of
from fakes.forecast_service import Json, columns, rows, service_in
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import START, walk_candles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoai_serving.app import ForecastApplication, create_app
from cryptoai_serving.bars import no_trade_facts
from cryptoai_serving.forecast_desk import LONGEST_SPAN_BARS
from cryptoai_serving.forecast_log import ForecastLog
from cryptoai_serving.messages import DISCLAIMER, ErrorAnswer
from cryptoai_serving.routes.pages import FILES
from cryptoai_serving.settings import ServingSettings
from edge_bundle.facts import FACT_SCHEMA
from edge_bundle.forecast import Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.windows import MarketWindow

BARS = 30
NEEDED = 16
CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=BARS, interval="30m", seed=3)
ONE = CANDLES.filter(pl.col("symbol") == "BTCUSD")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release_tiny_bundle(tmp_path_factory.mktemp("root") / "releases", version=3, seed=1)


@pytest.fixture(scope="module")
def served(bundle: Path) -> Iterator[tuple[httpx.Client, ForecastApplication]]:
    with service_in(bundle.parents[3]) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(served: tuple[httpx.Client, ForecastApplication]) -> httpx.Client:
    return served[0]


def refused(client: httpx.Client, body: object, *, status: int = 422) -> ErrorAnswer:
    response = client.post("/forecast", json=body)
    assert response.status_code == status, response.text
    return ErrorAnswer.model_validate(response.json())


def test_answer_is_the_devices_own_bit_for_bit(client: httpx.Client, bundle: Path) -> None:
    answer = client.post("/forecast", json={"candles": columns(CANDLES)}).json()
    expected = Forecaster.load(bundle).forecast(MarketWindow(CANDLES))
    assert tuple(Forecast.from_dict(record) for record in answer["forecasts"]) == expected
    assert answer["model_version"] == 3
    assert answer["disclaimer"] == DISCLAIMER


def test_bundle_that_compares_symbols_gets_all_of_them_from_the_store(tmp_path: Path) -> None:
    names = ("log_return_1", "return_rank_60")
    folder = release_tiny_bundle(tmp_path / "releases", version=1, seed=1, features=names)
    candles = walk_candles(("BTCUSD", "ETHUSD"), bars=80, interval="30m", seed=3)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(candles)
        [stored] = client.get("/forecast/ETHUSD").json()["forecasts"]
        [alone] = client.post("/forecast", json={"candles": columns(candles.filter(symbol="ETHUSD"))}).json()[
            "forecasts"
        ]
    assert Forecast.from_dict(stored) == Forecaster.load(folder).forecast(MarketWindow(candles))[1]
    assert stored["abstention"] is None
    assert alone["abstention"]["reason"] == "missing_facts"
    assert alone["abstention"]["detail"].startswith("bars of BTCUSD are absent")


def test_bundle_that_reads_facts_gets_them_from_the_store(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, facts={"VIXCLS": 86_400})
    at = CANDLES["open_time"][0]
    fact = pl.DataFrame([(None, at, at, "FRED", "VIXCLS", 14.5)], schema=FACT_SCHEMA, orient="row")
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        [without] = client.get("/forecast/BTCUSD").json()["forecasts"]
        app.rooms.bars.write_facts(fact)
        [stored] = client.get("/forecast/BTCUSD").json()["forecasts"]
        [posted] = client.post("/forecast", json={"candles": columns(ONE)}).json()["forecasts"]
    assert without["abstention"]["detail"] == "facts that the bundle requires are absent: VIXCLS"
    assert stored == posted
    assert stored["abstention"] is None


def test_columns_rows_and_any_order_give_one_answer(client: httpx.Client) -> None:
    bodies = [
        {"candles": columns(CANDLES)},
        {"candles": rows(CANDLES)},
        {"candles": rows(CANDLES)[::-1]},
    ]
    answers = [client.post("/forecast", json=body).json()["forecasts"] for body in bodies]
    assert answers[0] == answers[1] == answers[2]


def test_symbol_may_be_named_once(client: httpx.Client) -> None:
    body = {"candles": columns(ONE.drop("symbol")), "symbol": "BTCUSD"}
    answer = client.post("/forecast", json=body).json()
    assert answer["forecasts"] == client.post("/forecast", json={"candles": rows(ONE)}).json()["forecasts"]


def test_no_trade_bars_of_a_request_are_bars(client: httpx.Client) -> None:
    gapped = ONE.gather([*range(20), *range(25, BARS)])
    quiet = ONE["open_time"][20:25].dt.epoch("ms").to_list()
    abstained = client.post("/forecast", json={"candles": columns(gapped)}).json()["forecasts"][0]
    assert abstained["abstention"]["reason"] == "too_many_gaps"
    body = {"candles": columns(gapped), "no_trade": {"BTCUSD": quiet}}
    answered = client.post("/forecast", json=body).json()["forecasts"][0]
    assert answered["abstention"] is None


def test_too_few_bars_are_refused_with_both_numbers(client: httpx.Client) -> None:
    error = refused(client, {"candles": rows(ONE.head(NEEDED - 1))})
    assert error.code == "too_few_bars"
    assert error.problem == f"BTCUSD: {NEEDED - 1} bars given, {NEEDED} needed"
    assert str(NEEDED) in error.cure


def test_documentation_names_the_bars_needed(client: httpx.Client) -> None:
    document = client.get("/api/openapi.json").json()
    description = document["paths"]["/forecast"]["post"]["description"]
    assert f"bars_needed = {NEEDED} closed bars of 30m" in description
    assert DISCLAIMER in document["info"]["description"]
    assert client.get("/api/docs").status_code == 200


def changed(name: str, value: object, row: int = 17) -> Json:
    candles = columns(ONE)
    candles[name][row] = value
    return {"candles": candles}


@pytest.mark.parametrize(
    ("body", "where", "problem"),
    [
        (changed("close", "x"), "candles.close.17", "'x'"),
        (changed("close", -1.0), "candles.close.17", "-1.0: Input should be greater than 0"),
        (changed("volume", None), "candles.volume.17", "None"),
        (changed("open_time", "yesterday"), "candles.open_time.17", "'yesterday'"),
        (changed("open_time", 1e300), "candles.open_time.17", "1e+300"),
        (changed("open_time", True), "candles.open_time.17", "True"),
        (changed("symbol", "btc/usd"), "candles.symbol.17", "'btc/usd'"),
        ({"candles": [*rows(ONE)[:17], {"close": 1.0}]}, "candles.17.open_time", "required"),
        ({"candles": columns(ONE) | {"low": [1.0]}}, "candles", "low has 1 values, open_time has 30"),
        ({"candles": columns(ONE.drop("symbol"))}, "body", "no symbol"),
        ({"candles": columns(ONE), "symbol": "BTCUSD"}, "body", "two symbols"),
        ({"candles": rows(ONE), "candels": 1}, "candels", "1: Extra"),
        (changed("open_time", "2019-01-01T08:30:00Z"), "body", "mixes text and numbers"),
        (changed("high", 1.0), "candles", "BTCUSD at 2019-01-01 08:30:00 UTC has a high below"),
        (changed("open_time", 1546331400001), "candles", "does not open on the 30m grid"),
        ({"candles": rows(ONE) + rows(ONE.tail(1))}, "candles", "is given twice"),
        ({"candles": []}, "candles", "at least 1 item"),
        ({"candles": rows(ONE[::2])}, "candles", "this bundle reads 30m bars"),
        ([], "body", "valid dictionary"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(
    client: httpx.Client, body: object, where: str, problem: str
) -> None:
    error = refused(client, body)
    assert error.where == where
    assert problem in error.problem
    assert error.cure


@pytest.mark.parametrize(
    ("time", "where"),
    [
        ("0000-01-01T00:00:00Z", "candles.open_time.0"),
        ("9999-12-31T23:30:00Z", "candles.open_time.0"),
        (2**62, "candles.open_time.0"),
        ("2019-02-30T00:00:00Z", "candles"),
    ],
)
def test_time_that_is_no_date_is_refused(client: httpx.Client, time: object, where: str) -> None:
    error = refused(client, {"candles": columns(ONE.head(1)) | {"open_time": [time]}})
    assert error.where == where
    assert str(time) in error.problem


def test_body_that_is_no_json_is_refused(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/forecast", content=b'{"candles": [', headers=headers)
    assert response.status_code == 422
    assert "not JSON" in response.json()["problem"]
    assert "content-type" in client.post("/forecast", content=b"{}").json()["problem"]


def test_bars_that_span_more_than_is_read_are_refused(client: httpx.Client) -> None:
    late = ONE.with_columns(pl.col("open_time") + timedelta(minutes=30) * (LONGEST_SPAN_BARS + 1))
    error = refused(client, {"candles": rows(pl.concat([ONE, late]))})
    assert f"at most {LONGEST_SPAN_BARS}" in error.problem
    far = {"candles": rows(ONE), "no_trade": {"BTCUSD": ["2199-01-01T00:00:00Z"]}}
    assert f"at most {LONGEST_SPAN_BARS}" in refused(client, far).problem


def test_unknown_symbol_is_not_found_and_the_known_ones_are_listed(client: httpx.Client) -> None:
    response = client.get("/forecast/DOGEUSD")
    assert response.status_code == 404
    assert response.json()["code"] == "unknown_symbol"
    assert response.json()["cure"] == "ask for one of BTCUSD, ETHUSD"
    error = refused(client, {"candles": columns(ONE.drop("symbol")), "symbol": "DOGEUSD"}, status=404)
    assert error.code == "unknown_symbol"


def test_unknown_address_and_method_have_the_same_error_shape(client: httpx.Client) -> None:
    for response in (client.get("/nothing"), client.put("/forecast")):
        assert response.status_code in (404, 405)
        assert ErrorAnswer.model_validate(response.json()).cure


def test_latest_bars_of_the_store_give_the_same_answer_as_in_a_request(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        unavailable = client.get("/forecast/ETHUSD")
        assert (unavailable.status_code, unavailable.json()["code"]) == (503, "no_bars")
        app.rooms.bars.write_bars(CANDLES)
        stored = client.get("/forecast/ETHUSD").json()["forecasts"]
        sent = client.post("/forecast", json={"candles": columns(CANDLES)}).json()["forecasts"]
        assert stored == [sent[1]]


def test_no_trade_slots_of_the_store_are_bars(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(ONE.gather([*range(20), *range(25, BARS)]))
        reason = client.get("/forecast/BTCUSD").json()["forecasts"][0]["abstention"]["reason"]
        assert reason == "too_many_gaps"
        app.rooms.bars.write_no_trade(no_trade_facts(ONE[20:25], interval="30m", source="s"))
        assert client.get("/forecast/BTCUSD").json()["forecasts"][0]["abstention"] is None


def test_too_few_bars_in_the_store_are_an_abstention(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        app.rooms.bars.write_bars(ONE.tail(5))
        response = client.get("/forecast/BTCUSD")
    assert response.status_code == 200
    assert response.json()["forecasts"][0]["abstention"]["reason"] == "too_few_bars"


def test_live_market_is_asked_by_the_clock(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="live", live=True)
    close = START + BARS * timedelta(minutes=30)
    with service_in(tmp_path, market="live", now=close + timedelta(minutes=5)) as (client, _):
        fresh = client.post("/forecast", json={"candles": columns(ONE)})
        assert fresh.json()["forecasts"][0]["abstention"] is None
        body = {"candles": columns(ONE), "no_trade": {"BTCUSD": [close.isoformat()]}}
        assert "has not closed" in refused(client, body).problem
    with service_in(tmp_path, market="live", now=close + timedelta(minutes=61)) as (client, _):
        stale = client.post("/forecast", json={"candles": columns(ONE)})
        assert stale.status_code == 200
        assert stale.json()["forecasts"][0]["abstention"]["reason"] == "stale_data"
        assert stale.json()["forecasts"][0]["horizons"][0]["probability_up"] is None
    with service_in(tmp_path, market="live", now=close - timedelta(minutes=1)) as (client, _):
        assert "send closed bars only" in refused(client, {"candles": columns(ONE)}).problem


def test_service_without_a_release_is_alive_and_not_ready_and_says_why(tmp_path: Path) -> None:
    with service_in(tmp_path) as (client, _):
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reason"] == "no champion of cryptoai-forecaster-sample is released"
        assert client.get("/models").json()["models"] == []
        error = refused(client, {"candles": columns(ONE)}, status=503)
        assert error.code == "no_model"
        assert "cryptoai_ready 0.0" in client.get("/metrics").text


def test_refused_release_is_told_by_readiness_models_and_metrics(tmp_path: Path) -> None:
    (release_tiny_bundle(tmp_path / "releases", version=2, seed=1) / GRAPH_NAME).unlink()
    with service_in(tmp_path) as (client, _):
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "lacks model.onnx" in ready.json()["reason"]
        assert client.get("/models").json()["refused"]["version"] == 2
        assert "cryptoai_release_refused 1.0" in client.get("/metrics").text


def test_models_say_what_they_need(client: httpx.Client) -> None:
    (model,) = client.get("/models").json()["models"]
    assert (model["version"], model["bars_needed"], model["role"]) == (3, NEEDED, "champion")
    assert model["symbols"] == ["BTCUSD", "ETHUSD"]


def test_front_page_needs_no_other_server_and_carries_the_disclaimer(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert DISCLAIMER in page.text
    assert "//" not in page.text
    for name in re.findall(r'(?:href|src)="(page/[^"]+)"', page.text):
        assert client.get(f"/{name}").content == FILES[name.removeprefix("page/")].read_bytes()
    assert client.get("/page/../app.py").status_code == client.get("/page/index.html").status_code == 404


def test_metrics_name_routes_and_never_what_a_client_made_up(client: httpx.Client) -> None:
    client.get("/forecast/MADEUP")
    client.get("/made/up")
    client.request("MADEUP", "/models")
    text = client.get("/metrics").text
    assert 'route="/forecast/{symbol}",status="404"' in text
    assert 'method="other"' in text
    assert not re.search("made.?up", text, re.IGNORECASE)


def test_every_answer_carries_a_request_id_and_a_clients_own_is_kept(client: httpx.Client) -> None:
    own = client.get("/models", headers={"x-request-id": "my-request-1"})
    assert own.headers["x-request-id"] == own.json()["request_id"] == "my-request-1"
    made = client.get("/nothing", headers={"x-request-id": "<script>"})
    assert re.fullmatch("[0-9a-f]{16}", made.json()["request_id"])
    assert made.headers["x-request-id"] == made.json()["request_id"]


def test_body_over_the_limit_is_refused_declared_or_not(client: httpx.Client) -> None:
    limit = ServingSettings.inside(Path()).max_body_bytes
    headers = {"content-type": "application/json"}
    declared = client.post("/forecast", content=b" " * (limit + 1), headers=headers)
    streamed = client.post("/forecast", content=iter([b" " * 2**20] * 9), headers=headers)
    for response in (declared, streamed):
        assert response.status_code == 413
        assert ErrorAnswer.model_validate(response.json()).problem == f"Body over {limit} bytes"


def test_every_forecast_is_logged_and_refusals_are_not(tmp_path: Path) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    with service_in(tmp_path) as (client, app):
        answer = client.post("/forecast", json={"candles": columns(CANDLES)}).json()
        refused(client, {"candles": rows(ONE.head(3))})
        model = app.rooms.settings.model
    with ForecastLog(ServingSettings.inside(tmp_path).forecast_log) as log:
        frame = log.read(model=model)
    assert frame.select("symbol", "horizon_bars").rows() == [
        (symbol, horizon) for symbol in ("BTCUSD", "ETHUSD") for horizon in (1, 2, 6)
    ]
    assert set(frame["request_id"]) == {answer["request_id"]}
    assert set(frame["origin"]) == {"request"}


def test_unforeseen_failure_is_an_error_of_the_same_shape_without_a_trace(tmp_path: Path) -> None:
    def broken_clock() -> datetime:
        if (tmp_path / "break").exists():
            raise ZeroDivisionError("secret detail")
        return datetime(2026, 1, 1, tzinfo=UTC)

    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    app = create_app(ServingSettings.inside(tmp_path, poll_seconds=3600), clock=broken_clock)
    with client_of(app) as client:
        (tmp_path / "break").touch()
        response = client.post("/forecast", json={"candles": columns(ONE)})
    assert response.status_code == 500
    assert ErrorAnswer.model_validate(response.json()).code == "internal"
    assert "secret" not in response.text


numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([0, -1, 1e308, 10**400, 2**63, True, None, "1", "2019-01-01T00:00:00Z", "\ud800", ""]),
)
times = st.one_of(
    st.sampled_from(columns(ONE)["open_time"]),
    st.integers(-(2**63), 2**63),
    st.sampled_from(["2019-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "2199-12-31T23:30:00Z", "2019-01-01"]),
    numbers,
)
junk = st.recursive(
    st.one_of(numbers, st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def almost_requests(draw: st.DrawFn) -> object:
    """A request that fits, with a few of its places changed."""
    candles = columns(ONE)
    if draw(st.booleans()):
        candles["open_time"] = [row["open_time"] for row in rows(ONE)]
    if draw(st.booleans()):
        candles = {name: values[:1] for name, values in candles.items()}
    body: Json = {"candles": candles}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(CANDLES.columns))
        value = draw(times if name == "open_time" else numbers)
        column = body["candles"].get(name)
        match draw(st.sampled_from(["value", "column", "top", "quiet"])):
            case "value" if isinstance(column, list) and column:
                column[draw(st.integers(0, len(column) - 1))] = value
            case "column":
                body["candles"][name] = draw(junk)
            case "quiet":
                body["no_trade"] = draw(
                    st.one_of(junk, st.builds(lambda t: {"BTCUSD": [t]}, times), st.just({"\ud800": [0]}))
                )
            case _:
                body[draw(st.sampled_from(["candles", "symbol", "x", "\ud800"]))] = draw(junk)
                if not isinstance(body["candles"], dict):
                    break
    return body


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(junk, almost_requests()))
def test_no_body_brings_the_service_down(client: httpx.Client, body: object) -> None:
    content = json.dumps(body).encode()
    response = client.post("/forecast", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 404, 422), response.text
    if response.status_code != 200:
        ErrorAnswer.model_validate(response.json())


@settings(max_examples=50)
@given(content=st.binary(max_size=200))
def test_no_bytes_bring_the_service_down(client: httpx.Client, content: bytes) -> None:
    for kind in ("application/json", "application/octet-stream", "multipart/form-data; boundary=x"):
        response = client.post("/forecast", content=content, headers={"content-type": kind})
        assert response.status_code in (400, 422)
        ErrorAnswer.model_validate(response.json())
