"""`make up`: the three servers of the platform, started together and ended together.

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
from pathlib import Path
from time import monotonic

HOST = "127.0.0.1"
LOGS = Path("build/up")
POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
LAST_LINES = 15


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
class Started:
    """A program that this process started, leader of a process group of its own."""

    program: Program
    process: subprocess.Popen[bytes]
    log: Path


def programs(*, dagster_port: int, mlflow_port: int, serving_port: int) -> tuple[Program, ...]:
    """Return the three servers, run by the Python that runs this."""
    python = (sys.executable, "-m")
    return (
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


def supervise(
    wanted: Sequence[Program],
    *,
    logs: Path,
    stop: threading.Event,
    tell: Callable[[str], None],
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run the programs until `stop` is set or one of them ends; then end all that were started here.

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
        for program in wanted:
            started.append(_start(program, logs))  # noqa: PERF401 — ended below when a later one fails
        return _watch(started, stop, tell)
    finally:
        _end([one.process for one in started], grace_seconds)


def _start(program: Program, logs: Path) -> Started:
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
    waiting = list(started)
    while not stop.is_set():
        for one in started:
            if one.process.poll() is not None:
                status = one.process.returncode
                tell(f"{one.program.title} ended with status {status}:\n{_tail(one.log)}")
                return 1
        for ready in [one for one in waiting if one.program.listens()]:
            waiting.remove(ready)
            tell(f"{ready.program.title:<18} {ready.program.address}   log: {ready.log}")
            if not waiting:
                tell("Ctrl-C ends all of them.")
        stop.wait(POLL_SECONDS)
    tell("ending …")
    return 0


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
    options = parser.parse_args(arguments)
    if not Path("workspace.yaml").is_file():
        parser.error("start it in the project's root, where workspace.yaml is")
    return run(programs(**vars(options)))


def run(wanted: Sequence[Program]) -> int:
    """Supervise the programs on this terminal until a signal asks to stop."""
    stop = threading.Event()
    for request in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(request, lambda *_: stop.set())
    return supervise(wanted, logs=LOGS, stop=stop, tell=_tell)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
