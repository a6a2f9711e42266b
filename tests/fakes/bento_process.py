"""The real service: a BentoML process on a loopback port, as a person starts it by hand."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import httpx
from fakes.waiting import SECONDS, wait_until

PROJECT = Path(__file__).parents[2]
BENTOML = ("bentoml", "serve", "cryptoai_serving.service:CryptoAI")
UVICORN = ("uvicorn", "--factory", "cryptoai_serving.app:application", "--no-access-log")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def bento_service(
    folder: Path,
    *,
    command: tuple[str, ...] = BENTOML,
    settings: Mapping[str, str] = MappingProxyType({}),
    ended_by: signal.Signals = signal.SIGINT,
) -> Iterator[httpx.Client]:
    """Serve in `folder`, with nothing set but where the code is; ended with SIGINT like by Ctrl-C."""
    port = free_port()
    places = {"PYTHONPATH": str(PROJECT), "BENTOML_HOME": str(folder / "bentoml")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOAI_")}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", *command, "--port", str(port)),
            cwd=folder,
            env={**kept, **places, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until(lambda: answers(client) or process.poll() is not None, "the service answers")
            assert process.poll() is None, (folder / "service.log").read_text()
            yield client
        process.send_signal(ended_by)
        process.wait(SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
