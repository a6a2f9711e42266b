"""`make sandbox` as its user starts it: addresses are told, every server answers there, Ctrl-C ends it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fakes.project_root import PROJECT

COMMAND = (sys.executable, "-m", "cryptoai_assets.sandbox", "--port", "0")


@contextmanager
def sandbox(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """What it tells on its first lines, and the running program."""
    with subprocess.Popen((*COMMAND, *options), cwd=PROJECT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        lines: list[str] = []
        try:
            while not lines or "Ctrl-C" not in lines[-1]:
                lines.append(program.stdout.readline())
                assert lines[-1], lines
            yield "".join(lines), program
        finally:
            program.kill()


@pytest.fixture(scope="module")
def told() -> Iterator[str]:
    with sandbox("--speed", "0", "--start", "2019-03-01T12:30") as (text, _):
        yield text


def address(told: str) -> str:
    found = re.search(r"(http://127\.0\.0\.1:[0-9]+)/binance", told)
    assert found
    return found[1]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/binance/api/v3/klines?symbol=BTCUSDT&interval=1m",
        "/coingecko/api/v3/coins/bitcoin/ohlc?vs_currency=usd&days=1",
        "/coin-metrics/v4/timeseries/asset-metrics?assets=btc&metrics=AdrActCnt",
        "/mempool/api/v1/mining/hashrate/all",
        "/fear-greed/fng/?limit=1",
        "/fred/fred/series/observations?series_id=VIXCLS&file_type=json&api_key=" + "a" * 32,
    ],
)
def test_every_server_answers_and_says_that_it_is_simulated(told: str, path: str) -> None:
    answer = httpx.get(f"{address(told)}{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-cryptoai-simulated"] == "1"
    assert answer.json()


def test_market_stands_where_it_was_started_and_faults_are_steered(told: str) -> None:
    url = f"{address(told)}/binance/api/v3/time"
    assert httpx.get(url).json() == {"serverTime": 1_551_443_400_000}
    assert httpx.get(f"{address(told)}/sandbox/faults?server_error=1").status_code == 200
    assert httpx.get(url).status_code >= 500
    httpx.get(f"{address(told)}/sandbox/faults?server_error=0")
    assert httpx.get(url).status_code == 200


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_program_ends_when_it_is_asked_to(request_to_end: signal.Signals) -> None:
    with sandbox() as (text, program):
        assert httpx.get(address(text)).json()["market_time"].startswith("2019-09-01T")
        program.send_signal(request_to_end)
        assert program.wait(60) == 0


def test_port_that_is_taken_is_named() -> None:
    with sandbox() as (text, _):
        port = address(text).rsplit(":", 1)[1]
        second = subprocess.run(
            (*COMMAND, "--port", port), cwd=PROJECT, capture_output=True, text=True, check=False
        )
    assert second.returncode == 2
    assert f"port {port} cannot be had" in second.stderr
