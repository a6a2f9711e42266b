"""The HTTP client: what it asks again, how long it waits, what it gives up, and what it never shows."""

import itertools
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fakes.scripted_server import HANG_UP, SILENCE, Reply, ScriptedServer, reply, scripted_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.patience import Patience
from cryptoai_assets.lib.sources.web import WebClient

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRIES = 3
PROMPT = 0.2


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(server: ScriptedServer, waits: list[float]) -> WebClient:
    return web_client(server.url, waits)


def web_client(url: str, waits: list[float], **settings: object) -> WebClient:
    """A client that writes its waits down in place of waiting, on a watch that ticks one second a look."""
    patience = Patience(TRIES, first_seconds=1, longest_seconds=60, sleep=waits.append, jitter=lambda: 0.0)
    chosen = {
        "requests_per_second": 1e9,
        "timeout_seconds": 10.0,
        "clock": lambda: NOW,
        "stopwatch": itertools.count().__next__,
        **settings,
    }
    return WebClient("Test", url, patience=patience, **chosen)


def test_answer_is_parsed_and_the_question_carries_its_parameters(
    server: ScriptedServer, client: WebClient
) -> None:
    server.will_answer(reply('{"a": [1, 2.5, null]}'), reply("Day,value\n"))
    assert client.json("/v1/things", {"asset": "btc", "limit": 2}) == {"a": [1, 2.5, None]}
    assert client.text("/file", {}) == "Day,value\n"
    assert server.asked == ["/v1/things?asset=btc&limit=2", "/file"]


PASSING_FAULTS = {
    "status 429": reply(status=429),
    "status 408": reply(status=408),
    "status 500": reply(status=500),
    "status 503": reply("down", status=503),
    "dropped connection": HANG_UP,
    "truncated body": reply('{"a": 1}', lost=3),
    "truncated head": reply('{"a": 1}', lost=30),
    "truncated JSON in a whole answer": reply('{"a": [1, 2'),
    "no JSON": reply("<html>maintenance</html>"),
    "no number": reply('{"a": NaN}'),
    "no text": reply(b"\xff\xfe\x00"),
    "empty body": reply(""),
    "nested beyond reason": reply("[" * 100_000),
    "no HTTP": Reply(b"SSH-2.0-OpenSSH\r\n"),
    "broken compression": reply(b"not gzip", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_passing_fault_is_asked_again_and_the_next_answer_counts(
    fault: str, server: ScriptedServer, client: WebClient, waits: list[float]
) -> None:
    server.will_answer(PASSING_FAULTS[fault], reply('{"a": 1}'))
    assert client.json("/v1", {}) == {"a": 1}
    assert len(server.asked) == 2
    assert waits == [0.5]


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_fault_that_stays_is_given_up_by_name_after_the_last_try(
    fault: str, server: ScriptedServer, client: WebClient, waits: list[float]
) -> None:
    server.will_answer(*[PASSING_FAULTS[fault]] * (TRIES + 1))
    with pytest.raises(SourceError, match=r"^Test .*/v1.*3 tries: try again later"):
        client.json("/v1", {})
    assert len(server.asked) == TRIES
    assert waits == [0.5, 1.0]


def test_status_of_a_server_that_stays_down_is_in_the_message(
    server: ScriptedServer, client: WebClient
) -> None:
    server.will_answer(*[reply("back  at\nnoon", status=503)] * TRIES)
    with pytest.raises(SourceError, match=r"status 503 \(back at noon\)"):
        client.json("/v1", {})


def test_server_that_is_not_there_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(SourceError, match=r"did not answer /v1 \(ConnectError\)"):
        web_client(f"http://127.0.0.1:{port}", waits).json("/v1", {})
    assert len(waits) == TRIES - 1


@pytest.mark.parametrize("silent", [SILENCE, reply('{"a": 1}', lost=4, holds=True)], ids=["at once", "later"])
def test_half_open_connection_ends_by_the_time_out(
    silent: Reply, server: ScriptedServer, waits: list[float]
) -> None:
    server.will_answer(silent, reply('{"a": 2}'))
    client = web_client(server.url, waits, timeout_seconds=PROMPT, stopwatch=time.monotonic)
    assert client.json("/v1", {}) == {"a": 2}
    assert len(waits) == 1


def test_answer_that_trickles_is_given_up_as_a_whole(server: ScriptedServer, waits: list[float]) -> None:
    # Each look at the watch is a second later; the answer is one piece, which comes after the deadline.
    server.will_answer(*[reply("{}")] * TRIES)
    client = web_client(server.url, waits, timeout_seconds=0.9)
    with pytest.raises(SourceError, match=r"did not end its answer to /v1 within 0.9 s"):
        client.json("/v1", {})
    assert len(server.asked) == TRIES


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Sun, 01 Mar 2026 12:00:42 GMT", 42.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", 0.5),
        ("", 0.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_wait_that_the_server_asks_for_is_kept(
    asked: str, waited: float, status: int, server: ScriptedServer, client: WebClient, waits: list[float]
) -> None:
    server.will_answer(reply(status=status, headers={"Retry-After": asked}))
    assert client.json("/v1", {}) == {}
    assert waits == [waited]


@pytest.mark.parametrize("asked", ["3600", "1e999", "Sun, 01 Mar 2026 18:00:00 GMT"])
def test_wait_beyond_the_longest_is_not_sat_out(
    asked: str, server: ScriptedServer, client: WebClient, waits: list[float]
) -> None:
    server.will_answer(reply(status=429, headers={"Retry-After": asked}))
    with pytest.raises(SourceError, match="status 429"):
        client.json("/v1", {})
    assert waits == []


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "check the key"),
        (403, "check the key"),
        (451, "check the key"),
        (400, "not offered"),
        (404, "not offered"),
        (418, "not offered"),
        (204, "not offered"),
    ],
)
def test_refusal_is_not_asked_again(
    status: int, cure: str, server: ScriptedServer, client: WebClient, waits: list[float]
) -> None:
    server.will_answer(reply(status=status))
    with pytest.raises(SourceRefusedError, match=rf"Test answered /v1 with status {status}: .*{cure}"):
        client.json("/v1", {})
    assert len(server.asked) == 1
    assert waits == []


def test_secret_goes_with_the_question_and_is_never_shown(server: ScriptedServer, waits: list[float]) -> None:
    client = web_client(server.url, waits, secrets={"api_key": "hush hush"})
    server.will_answer(reply("api_key hush hush is unknown", status=400))
    with pytest.raises(SourceRefusedError, match=r"\(api_key … is unknown\)") as refused:
        client.json("/v1", {})
    assert server.asked == ["/v1?api_key=hush+hush"]
    assert "hush" not in f"{refused.value}{client!r}"


def test_body_beyond_the_bound_is_refused(server: ScriptedServer, waits: list[float]) -> None:
    client = web_client(server.url, waits, max_body_bytes=1000)
    server.will_answer(reply(b" " * 998 + b"{}"), reply(b" " * 999 + b"{}"))
    assert client.json("/v1", {}) == {}
    with pytest.raises(SourceRefusedError, match="more than 1,000 bytes: ask for less"):
        client.json("/v1", {})
    assert len(server.asked) == 2


def test_redirect_is_followed_on_the_same_server_only(server: ScriptedServer, client: WebClient) -> None:
    server.will_answer(reply(status=301, headers={"Location": "/v2"}), reply('{"a": 2}'))
    assert client.json("/v1", {}) == {"a": 2}
    with scripted_server() as other:
        server.will_answer(reply(status=302, headers={"Location": f"{other.url}/v1"}))
        with pytest.raises(SourceRefusedError, match=r"redirects to 127.0.0.1:\d+, which is another server"):
            client.json("/v1", {})
        assert other.asked == []
    assert server.asked == ["/v1", "/v2", "/v1"]


def test_redirects_in_a_circle_come_to_an_end(server: ScriptedServer, client: WebClient) -> None:
    server.will_answer(*[reply(status=301, headers={"Location": "/v1"})] * 20)
    with pytest.raises(SourceError, match="TooManyRedirects"):
        client.json("/v1", {})


def test_rate_is_kept_over_questions_and_tries(server: ScriptedServer) -> None:
    seconds = 0.0
    starts = []

    def sleep(wait: float) -> None:
        nonlocal seconds
        seconds += wait

    def stopwatch() -> float:
        starts.append(seconds)
        return seconds

    patience = Patience(TRIES, first_seconds=0.1, longest_seconds=60, sleep=sleep, jitter=lambda: 0.0)
    client = WebClient(
        "Test",
        server.url,
        requests_per_second=0.5,
        timeout_seconds=5,
        patience=patience,
        clock=lambda: NOW,
        stopwatch=stopwatch,
    )
    server.will_answer(reply("{}"), reply(status=500))
    client.json("/v1", {})
    client.json("/v1", {})
    assert len(server.asked) == 3
    assert sorted(set(starts))[-1] == pytest.approx(4.0)  # three questions, two seconds apart
    seconds += 60
    before = seconds
    client.json("/v1", {})
    assert seconds == before  # a pause is no credit, and no debt


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=200), st.text(max_size=50).map(str.encode)))
def test_any_bytes_are_json_or_an_error_of_ours(
    body: bytes, server: ScriptedServer, client: WebClient
) -> None:
    server.will_answer(*[reply(body)] * TRIES)
    try:
        answer = client.json("/v1", {})
    except SourceError:
        pass
    else:
        assert answer == json.loads(body)
    server.script.clear()


def test_date_without_a_zone_is_read_as_utc(
    server: ScriptedServer, client: WebClient, waits: list[float]
) -> None:
    when = f"{NOW + timedelta(seconds=5):%a, %d %b %Y %H:%M:%S} -0000"
    server.will_answer(reply(status=429, headers={"Retry-After": when}))
    assert client.json("/v1", {}) == {}
    assert waits == [5.0]
