"""`make up` with toy servers: what is started is announced, watched and ended, and nothing else is."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.releases import release_tiny_bundle
from fakes.scripted_server import reply, scripted_server
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.up import (
    HOST,
    Program,
    Task,
    is_simulated,
    newest_close,
    programs,
    supervise,
    tasks_beside,
)
from cryptoai_serving.bars import BarStore

SERVER = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
# Ignores both requests, as does its child, which serves in its place and holds a pipe open while it lives.
STUBBORN = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = open(sys.argv[2], "wb")
subprocess.run([sys.executable, "-c", {SERVER!r}, sys.argv[1]], stdout=held)
"""
FAILING = "import sys; sys.exit('no such database')"
LAUNCHER = """
import sys
from cryptoai_assets.up import Program, run
command = (sys.executable, "-c", sys.argv[2], sys.argv[1])
sys.exit(run([Program("toy", "Toy", int(sys.argv[1]), command)]))
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def toy(name: str, port: int, code: str = SERVER) -> Program:
    return Program(name, name.title(), port, (sys.executable, "-c", code, str(port)))


class Console:
    """Keeps what it is told, and asks to stop after a line that holds `last_word`."""

    def __init__(self, last_word: str) -> None:
        self.lines: list[str] = []
        self.last_word = last_word
        self.stop = threading.Event()

    def tell(self, text: str) -> None:
        self.lines.append(text)
        if self.last_word in text:
            self.stop.set()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that was there before, run by the same command as the toys."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_task_that_ends_is_told_and_one_that_fails_shows_why_and_both_leave_the_servers(
    tmp_path: Path,
) -> None:
    [port] = free_ports(1)
    tasks = [
        Task("well", "Well", (sys.executable, "-c", "")),
        Task("ill", "Ill", (sys.executable, "-c", FAILING)),
    ]
    told = Console("never")

    def tell(text: str) -> None:
        told.tell(text)
        if sum(title in line for line in told.lines for title in ("Well is done", "no such", "Ctrl-C")) == 3:
            told.stop.set()

    assert supervise([toy("one", port)], tasks, logs=tmp_path, stop=told.stop, tell=tell) == 0
    assert "Well is done" in told.lines
    assert any("Ill ended with status 1" in line and "no such database" in line for line in told.lines)


def test_sandbox_is_among_the_servers_only_where_it_has_a_port() -> None:
    ports = {"dagster_port": 3001, "mlflow_port": 5001, "serving_port": 3601}
    assert [program.name for program in programs(**ports)] == ["dagster", "mlflow", "serving"]
    assert programs(**ports, sandbox_port=3801)[0].address == f"http://{HOST}:3801"


def test_simulated_venues_that_run_already_are_told_from_what_else_listens() -> None:
    with scripted_server() as server:
        server.will_answer(reply("{}", headers={"X-CryptoAI-Simulated": "1"}), reply("{}"))
        assert is_simulated(server.url)
        assert not is_simulated(server.url)
    assert not is_simulated(f"http://{HOST}:{free_ports(1)[0]}")


def test_simulated_market_goes_on_after_the_newest_bar_that_the_service_has(tmp_path: Path) -> None:
    home = Home(tmp_path, market_preset("sandbox"))
    assert newest_close(home) is None
    bars = walk_candles(home.market.symbols, bars=3, interval="1m", seed=1)
    with BarStore(home.bars_database) as store:
        store.write_bars(bars)
    start = newest_close(home)
    assert start == bars["open_time"].max() + timedelta(minutes=1)
    ports = {"dagster_port": 3001, "mlflow_port": 5001, "serving_port": 3601, "sandbox_port": 3801}
    assert programs(**ports, sandbox_start=start)[0].command[-2:] == ("--start", "2019-01-01T00:03:00")


def test_market_that_grows_is_streamed_and_trained_first_until_something_is_released(tmp_path: Path) -> None:
    def tasks(name: str) -> list[str]:
        return [task.title for task in tasks_beside(Home(tmp_path, market_preset(name)))]

    streams = ["Stream of bars", "Recorder of books"]
    assert tasks("sample") == ["Watchdog"]
    assert tasks("sandbox") == ["Watchdog", *streams, "First training"]
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1, market="sandbox")
    assert tasks("sandbox") == ["Watchdog", *streams]


def test_books_are_recorded_where_the_venue_can_be(tmp_path: Path) -> None:
    for venue, recorded in (("Kraken", True), ("bigone", False)):
        elsewhere = replace(market_preset("live"), venue=venue)
        names = [task.name for task in tasks_beside(Home(tmp_path, elsewhere))]
        assert ("record" in names) == recorded


def test_three_servers_are_announced_and_ended_and_a_bystander_lives(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    wanted = [toy(name, port) for name, port in zip(("one", "two", "three"), free_ports(3), strict=True)]
    console = Console("Ctrl-C")
    assert supervise(wanted, logs=tmp_path, stop=console.stop, tell=console.tell) == 0
    for program in wanted:
        assert any(program.address in line and program.title in line for line in console.lines)
        assert not program.listens()
    assert bystander.poll() is None


def test_taken_port_is_named_with_its_option_and_nothing_is_started(tmp_path: Path) -> None:
    port, other = free_ports(2)
    console = Console("never")
    with socket.create_server((HOST, port)):
        status = supervise(
            [toy("one", other), toy("two", port)], logs=tmp_path, stop=console.stop, tell=console.tell
        )
    assert status == 1
    assert len(console.lines) == 1
    assert f"port {port} for the Two is taken" in console.lines[0]
    assert f"--two-port {port + 1}" in console.lines[0]
    assert not list(tmp_path.iterdir())


def test_program_that_ends_by_itself_is_named_with_its_last_words_and_the_others_end(tmp_path: Path) -> None:
    port, other = free_ports(2)
    console = Console("never")
    server = toy("server", port)
    status = supervise(
        [server, toy("failing", other, FAILING)], logs=tmp_path, stop=console.stop, tell=console.tell
    )
    assert status == 1
    assert "Failing ended with status 1" in console.lines[-1]
    assert "no such database" in console.lines[-1]
    assert not server.listens()


def test_program_deaf_to_requests_is_killed_with_its_child(tmp_path: Path) -> None:
    pipe, port = tmp_path / "held", free_ports(1)[0]
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    program = Program("deaf", "Deaf", port, (sys.executable, "-c", STUBBORN, str(port), str(pipe)))
    console = Console("Ctrl-C")
    status = supervise([program], logs=tmp_path, stop=console.stop, tell=console.tell, grace_seconds=0.2)
    assert status == 0
    with os.fdopen(reader, "rb") as held:
        held.read()  # ends when no process that holds the pipe is left
    assert not program.listens()


def test_interrupt_ends_the_whole_command(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    command = [sys.executable, "-c", LAUNCHER, str(port), SERVER]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as up:
        assert up.stdout is not None
        announced = up.stdout.readline()
        assert f"http://{HOST}:{port}" in announced
        up.send_signal(signal.SIGINT)
        assert "ending" in up.stdout.read()
    assert up.returncode == 0
    assert not toy("toy", port).listens()


def test_command_outside_the_project_says_where_to_start_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cryptoai_assets.up"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "workspace.yaml" in done.stderr


def test_each_server_gets_its_own_port() -> None:
    dagster, mlflow, serving = programs(dagster_port=3001, mlflow_port=5001, serving_port=3601)
    assert (dagster.port, mlflow.port, serving.port) == (3001, 5001, 3601)
    for program in (dagster, mlflow, serving):
        assert program.command[-1] == str(program.port)
