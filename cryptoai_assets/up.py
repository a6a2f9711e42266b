"""`make up`: the servers of the platform, started together and ended together.

It knows nothing about what they serve: a command, an address, a log file each.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import httpx

from cryptoai_assets.defs.resources import configured_resource, links_lead_to
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.sources.exchange import SIMULATED_HEADER
from cryptoai_assets.record import is_recorded
from cryptoai_serving.bars import BarStore
from edge_bundle.releases import read_channel

HOST = "127.0.0.1"
LOGS = Path("build/up")
POLL_SECONDS = 0.2
ANSWER_SECONDS = 2.0
GRACE_SECONDS = 15.0
LAST_LINES = 15
# Raw messages of books and trades, from which bars can be made again.
KEPT_DAYS = 2
WATCHDOG_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Program:
    """A server to run: `name` is also its log file's and its port option's."""

    name: str
    title: str
    port: int
    command: tuple[str, ...]

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.port}"

    def listens(self) -> bool:
        """Whether something accepts connections at the address."""
        with socket.socket() as connection:
            connection.settimeout(1.0)
            return connection.connect_ex((HOST, self.port)) == 0


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do beside the servers, which go on whatever becomes of it."""

    name: str
    title: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """What this process started, leader of a process group of its own."""

    program: Program | Task
    process: subprocess.Popen[bytes]
    log: Path


def programs(
    *,
    dagster_port: int,
    mlflow_port: int,
    serving_port: int,
    sandbox_port: int | None = None,
    sandbox_start: datetime | None = None,
) -> tuple[Program, ...]:
    """Return the servers, run by the Python that runs this; the simulated venues where they have a port."""
    python = (sys.executable, "-m")
    venues = () if sandbox_port is None else (_sandbox(python, sandbox_port, sandbox_start),)
    return (
        *venues,
        Program(
            "dagster",
            "Dagster UI",
            dagster_port,
            (*python, "dagster", "dev", "--host", HOST, "--port", str(dagster_port)),
        ),
        Program(
            "mlflow",
            "MLflow UI",
            mlflow_port,
            (*python, "mlflow", "ui", "--workers", "1", "--host", HOST, "--port", str(mlflow_port)),
        ),
        Program(
            "serving",
            "Forecast endpoint",
            serving_port,
            (
                *python,
                "bentoml",
                "serve",
                "cryptoai_serving.service:CryptoAI",
                "--host",
                HOST,
                "--port",
                str(serving_port),
            ),
        ),
    )


def _sandbox(python: tuple[str, ...], port: int, start: datetime | None) -> Program:
    begun = () if start is None else ("--start", start.replace(tzinfo=None).isoformat())
    command = (*python, "cryptoai_assets.sandbox", "--port", str(port), *begun)
    return Program("sandbox", "Simulated venues", port, command)


def supervise(
    wanted: Sequence[Program],
    tasks: Sequence[Task] = (),
    *,
    logs: Path,
    stop: threading.Event,
    tell: Callable[[str], None],
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run the servers until `stop` is set or one of them ends; then end all that were started here.

    Returns
    -------
    int
        Exit status: 0 after `stop`, 1 when a port was taken or a program ended by itself.
    """
    if taken := [program for program in wanted if program.listens()]:
        for program in taken:
            tell(
                f"port {program.port} for the {program.title} is taken: end what listens there, "
                f"or choose another with make up FLAGS='--{program.name}-port {program.port + 1}'"
            )
        return 1
    logs.mkdir(parents=True, exist_ok=True)
    started: list[Started] = []
    try:
        everything: list[Program | Task] = [*wanted, *tasks]
        for one in everything:
            started.append(_start(one, logs))  # noqa: PERF401 — ended below when a later one fails
        return _watch(started, stop, tell)
    finally:
        _end([one.process for one in started], grace_seconds)


def _start(program: Program | Task, logs: Path) -> Started:
    path = logs / f"{program.name}.log"
    with path.open("wb") as log:
        # A group of its own: a Ctrl-C in the terminal reaches this process alone, which ends the others.
        process = subprocess.Popen(  # noqa: S603 — the commands are this module's own
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(program, process, path)


def _watch(started: Sequence[Started], stop: threading.Event, tell: Callable[[str], None]) -> int:
    running, waiting = list(started), [one for one in started if isinstance(one.program, Program)]
    while not stop.is_set():
        for one in [one for one in running if one.process.poll() is not None]:
            status = one.process.returncode
            if status or isinstance(one.program, Program):
                tell(f"{one.program.title} ended with status {status}:\n{_tail(one.log)}")
            if isinstance(one.program, Program):
                return 1
            running.remove(one)
            if not status:
                tell(f"{one.program.title} is done")
        for ready in [one for one in waiting if isinstance(one.program, Program) and one.program.listens()]:
            waiting.remove(ready)
            tell(_announcement(ready))
            if not waiting:
                tell("Ctrl-C ends all of them.")
        stop.wait(POLL_SECONDS)
    tell("ending …")
    return 0


def _announcement(one: Started) -> str:
    address = one.program.address if isinstance(one.program, Program) else ""
    return f"{one.program.title:<18} {address}   log: {one.log}"


def _end(processes: Sequence[subprocess.Popen[bytes]], grace_seconds: float) -> None:
    """End processes and what they started: asked with SIGINT, then SIGTERM, at last the groups killed."""
    for request in (signal.SIGINT, signal.SIGTERM):
        asked = [process for process in processes if process.poll() is None]
        for process in asked:
            os.killpg(process.pid, request)
        deadline = monotonic() + grace_seconds
        for process in asked:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - monotonic()))
    for process in processes:
        with suppress(ProcessLookupError):  # the whole group has ended, as it should
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (nothing was logged)"


def main(arguments: list[str] | None = None) -> int:
    """Parse, build, hand over."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.up", description=__doc__)
    parser.add_argument("--dagster-port", type=int, default=3000)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--serving-port", type=int, default=3600)
    parser.add_argument(
        "--sandbox-port",
        type=int,
        default=urlsplit(configured_resource().sandbox).port,
        help="of the market sandbox",
    )
    options = parser.parse_args(arguments)
    if not Path("workspace.yaml").is_file():
        parser.error("start it in the project's root, where workspace.yaml is")
    home = configured_resource().home
    if home.market.source != "sandbox":
        options.sandbox_port = None
    else:
        os.environ["CRYPTOAI_SANDBOX"] = address = f"http://{HOST}:{options.sandbox_port}"
        if is_simulated(address):
            _tell(f"{'Simulated venues':<18} {address}   (running already)")
            options.sandbox_port = None
    links_lead_to(
        dagster=f"http://{HOST}:{options.dagster_port}",
        mlflow=f"http://{HOST}:{options.mlflow_port}",
        serving=f"http://{HOST}:{options.serving_port}",
    )
    return run(programs(**vars(options), sandbox_start=newest_close(home)), tasks_beside(home))


def is_simulated(address: str) -> bool:
    """Whether simulated venues answer there already, such as those of `make sandbox`."""
    try:
        return SIMULATED_HEADER in httpx.get(address, timeout=ANSWER_SECONDS).headers
    except httpx.HTTPError:
        return False


def newest_close(home: Home) -> datetime | None:
    """Return when the newest bar closed that the service has: a simulated market goes on from there."""
    place = home.bars_database
    if isinstance(place, Path) and not place.is_file():
        return None
    with BarStore(place) as store:
        opened = store.latest(home.market.symbols, 1)["open_time"].to_list()
    return max(opened) + home.market.bar if opened else None


def tasks_beside(home: Home) -> tuple[Task, ...]:
    """Return the watchdog; of a market that grows its streams, and a first training until one is released."""
    python = (sys.executable, "-m")
    watchdog = (*python, "cryptoai_assets.watchdog", "--every", str(WATCHDOG_SECONDS))
    tasks = [Task("watchdog", "Watchdog", watchdog)]
    if not home.market.grows:
        return tuple(tasks)
    tasks.append(Task("stream", "Stream of bars", (*python, "cryptoai_assets.stream")))
    if is_recorded(home.market.venue):
        keep = ("--keep-days", str(KEPT_DAYS))
        tasks.append(Task("record", "Recorder of books", (*python, "cryptoai_assets.record", *keep)))
    if read_channel(home.releases, home.market.model) is None:
        tasks.append(Task("demo", "First training", (*python, "cryptoai_assets.demo")))
    return tuple(tasks)


def run(wanted: Sequence[Program], tasks: Sequence[Task] = ()) -> int:
    """Supervise the programs on this terminal until a signal asks to stop."""
    stop = threading.Event()
    for request in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(request, lambda *_: stop.set())
    return supervise(wanted, tasks, logs=LOGS, stop=stop, tell=_tell)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
